"""Search for the best values of any keys, with Optuna: `python -m <package>.search configs/search/<study>.yaml …`.

A trial is a run like any other: `fit` with the arguments that follow, in a process of its own, in `logs/<study>/`.
"""

from argparse import ArgumentError, Namespace
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

from jsonargparse import ArgumentParser

from ...engine import configs
from ...engine.import_path import forget_working_directory
from ...engine.run_directory import logs_folder
from ...utils.project import UserError, shown
from ..fit_process import with_fixed_source
from ..options import command_parser, mistakes_end_in_a_line, stop_like_ctrl_c
from .best import experiment, write_best
from .settings import Search
from .storage import explained
from .worker import Worker

CONFIG = "configs/search/<study>.yaml"
USAGE = f"%(prog)s {CONFIG} [--study NAME] [--trials N] [--storage URL] [arguments of fit]"
KEYS = [field.name for field in fields(Search)]
OF_ONE_RUN = ("--run", "--ckpt_path")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    stop_like_ctrl_c()
    with mistakes_end_in_a_line():
        options, fit = parse(args)
        search = read_search(options)
        logs_folder(fit).mkdir(parents=True, exist_ok=True)
        experiment(search.study)  # raises UserError before the search instead of after it
        with explained(search.storage):
            worker = Worker(search, with_fixed_source(fit))
            worker.work()
            write_best(worker.study, search.metric)


def parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    """Return the options of the search, and the arguments of `fit`."""
    parser = command_parser("search", usage=USAGE, description=__doc__)
    parser.add_argument("config", metavar=CONFIG, help="config of the search")
    parser.add_argument(
        "--study", metavar="NAME", help="name of the study and its runs, instead of the config's"
    )
    parser.add_argument(
        "--trials", metavar="N", help="number of trials of the study, counted over all workers"
    )
    parser.add_argument("--storage", metavar="URL", help="the database, instead of logs/search.db")
    options, fit = parser.parse_known_args(args)
    for argument in fit:
        option = argument.split("=")[0]
        if option == "--name":
            raise UserError("--name is of single runs: --study names a search and its runs")
        if option in OF_ONE_RUN:
            raise UserError(f"{argument} names one run, but a search starts many: leave it out")
    return options, fit


def read_search(options: Namespace) -> Search:
    """Return the settings of the config, overridden by those of the command line."""
    check_config(options.config)
    study = Path(options.config).stem
    words = [f"--study={study}", f"--config={options.config}"]
    for name in ("study", "trials", "storage"):
        value = getattr(options, name)
        if value is not None:
            words.append(f"--{name}={value}")

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Search)
    try:
        values = vars(parser.instantiate(parser.parse_args(words)))
    except ArgumentError as error:
        # Imported only here, because it takes seconds.
        from ...engine.messages import explain_parse_error

        message = explain_parse_error(str(error), KEYS, configs.given(words))
        raise UserError(message) from error

    for name in ("trials", "heartbeat"):
        if values[name] < 1:
            raise UserError(f"{name} is {values[name]}, but must be at least 1")
    return Search(**{name: values[name] for name in KEYS})


def check_config(path: str) -> None:
    """Raise UserError if a config has an unknown key, or lacks a required one."""
    config = configs.read_config(path)
    for value in configs.given(["--config", path]):
        name = value.key.split(".")[0]
        if name not in KEYS:
            message = f"{value.place}: {name} is not a known key"
            for near in get_close_matches(name, KEYS, n=1):
                message += f": did you mean {near}?"
            raise UserError(message)
    if not Path(path).is_file():
        return
    for name in ("metric", "space"):
        if config.get(name) is None:
            raise UserError(f"{shown(path)}: {name} is missing")
