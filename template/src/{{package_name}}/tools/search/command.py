"""Search for the best values of any keys, with Optuna: `python -m <package>.search configs/search/<study>.yaml …`.

A trial is a run like any other: `fit` with the arguments that follow, in a process of its own, in `logs/<study>/`.
"""

import json
import os
import signal
import sys
import time
import warnings
from argparse import ArgumentError
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import optuna
import yaml
from filelock import FileLock
from jsonargparse import ArgumentParser
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ...engine import configs
from ...engine.import_path import forget_working_directory
from ...engine.run_directory import logs_folder
from ...utils.project import UserError, mask, project_root, shown, write
from ..fit_process import FitProcess
from ..options import PACKAGE, Parser
from ..run_files import Run

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
FAILURES = 3  # in a row, after which a worker gives up
MARK = "# Written by a search"

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings(
    "ignore", category=ExperimentalWarning
)  # of the heartbeat and what goes with it
hand_on = RetryHeartbeatStaleTrialCallback(max_retry=5)


@dataclass
class Range:
    """Numbers to choose from, whole ones if both ends are.

    Args:
        low: The least.
        high: The most.
        log: Whether small ones are as likely as large ones: 0.001 to 0.01 as 0.01 to 0.1.
        step: Distance between them, if only some are wanted.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


@dataclass
class Search:
    """What a config in configs/search/ says.

    Args:
        metric: Metric to optimise. The value of a trial is the best that it reaches.
        space: A range, or a list of choices, for each key.
        direction: Whether more of the metric is better, or less.
        trials: How many trials the study has, those of all workers together.
        study: Name of the study and of its runs.
        storage: URL of the database that all workers share; logs/search.db if None.
        sampler: Chooses the values; Optuna's usual one if None.
        pruner: Says which trials to stop early; Optuna's usual one if None.
        heartbeat: Seconds between signs of life; after twice as many without one, another worker takes up a trial.
    """

    metric: str
    space: dict[str, Range | list[Any]]
    direction: Literal["maximize", "minimize"] = "maximize"
    trials: int = 30
    study: str = "search"
    storage: str | None = None
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    heartbeat: int = 60


class Worker:
    """Runs trials of a study, one after the other, until the study has as many as it should have.

    Args:
        search: What to search for.
        arguments: Those of `fit`, the same for all trials.

    Raises:
        UserError: The storage cannot be used, or the study there is another one.
    """

    def __init__(self, search: Search, arguments: Sequence[str]) -> None:
        self.search, self.arguments = search, arguments
        logs = logs_folder(arguments)
        # from the count of the trials until one more runs, or two workers would both begin the last one
        self.begins = FileLock(logs / ".search.lock", fallback_to_soft=False)
        self.study = optuna.create_study(
            storage=connect(search, logs),
            sampler=search.sampler,
            pruner=search.pruner,
            study_name=search.study,
            direction=search.direction,
            load_if_exists=True,
        )
        there = self.study.direction.name.lower()
        if there != search.direction:
            asked = f"direction is {search.direction}, but the study {search.study} is to {there}"
            raise UserError(f"{asked}: name another one with --study")

    def work(self) -> None:
        """Run trials; raise UserError if one fails before any has worked, or if several fail in a row."""
        failures = 0
        while True:
            with suppress(OSError):  # the file system has no locks
                self.begins.acquire()
            fail_stale_trials(self.study)  # and hand them on
            states = Counter(trial.state for trial in self.study.get_trials(deepcopy=False))
            done = sum(states[state] for state in DONE)
            if done >= self.search.trials:
                self.begins.release()
                return
            if (
                done + states[TrialState.RUNNING] >= self.search.trials
                and not states[TrialState.WAITING]
            ):
                self.begins.release()
                time.sleep(1)  # other workers have the last ones, and may die
                continue
            try:
                self.study.optimize(self.run, n_trials=1)
                failures = 0
            except UserError as error:
                failures += 1
                if not done or failures == FAILURES:
                    raise
                print(f"The trial failed: {error}", file=sys.stderr)

    def run(self, trial: Trial) -> float:
        """Train with a trial's values, going on where it had got to before; return the best that it reaches."""
        self.begins.release()
        search, root, pruned = self.search, project_root(), False
        values, reported = list[float](), set[int]()
        options, begun = (
            list(suggest(trial, search.space)),
            root / trial.user_attrs.get("run", "none"),
        )
        new = [
            f"--name={search.study}",
            "--trainer.enable_model_summary=false",
            *self.arguments,
            *options,
        ]
        process = FitProcess(
            ["fit", *([f"--run={begun}"] if (begun / "config.yaml").exists() else new)]
        )
        try:
            process.listen()
            if process.directory:
                trial.set_user_attr("run", os.path.relpath(process.directory, root))
            for epoch, value in process.epochs(search.metric):
                values.append(value)
                if epoch not in reported:  # Optuna takes one for each
                    reported.add(epoch)
                    trial.report(value, epoch)
                if not pruned and trial.should_prune():
                    pruned = True
                    process.terminate()
        except KeyboardInterrupt:  # it goes on when the search does
            hand_on(self.study, self.study.trials[trial.number])
            raise
        finally:
            process.stop()
        failure = process.error if pruned else process.failure  # a pruned one was told to stop
        if failure:
            raise UserError(failure)
        if process.status and not pruned:
            raise UserError(f"its process ended with status {process.status}")
        if not values:
            raise UserError(f"it ended before {search.metric} was measured")
        best = (max if search.direction == "maximize" else min)(values)
        record = {"study": search.study, "number": trial.number, "pruned": pruned}
        path = (process.directory or root) / "run.json"
        write(
            path,
            json.dumps(Run(path.parent).record | {"trial": record}, indent=2, ensure_ascii=False)
            + "\n",
        )
        result = f"Trial {trial.number}: {search.metric} {best:.6g}{', pruned' * pruned}"
        print(result, *options, file=sys.stderr)
        if pruned:
            raise optuna.TrialPruned
        return best


def connect(search: Search, logs: Path) -> RDBStorage:
    """Return the storage that the workers share, with its tables."""
    url = search.storage or f"sqlite:///{logs / 'search.db'}"
    beat: dict[str, Any] = {
        "heartbeat_interval": search.heartbeat,
        "grace_period": 2 * search.heartbeat,
    }
    for _ in range(
        2
    ):  # workers that begin at once are in each other's way when they make the tables
        with suppress(SQLAlchemyError):
            return RDBStorage(url, **beat, heartbeat_stale_trial_callback=hand_on)
        time.sleep(1)
    return RDBStorage(url, **beat, heartbeat_stale_trial_callback=hand_on)


def suggest(trial: Trial, space: dict[str, Range | list[Any]]) -> Iterator[str]:
    """Yield the options with a trial's values; raise UserError if they cannot be chosen so."""
    for key, among in space.items():
        try:
            chosen: Any
            if isinstance(among, list):  # Optuna keeps plain values alone
                plain = [
                    json.dumps(value) if isinstance(value, list | dict) else value
                    for value in among
                ]
                chosen = trial.suggest_categorical(key, plain)
            elif isinstance(among.low, int) and isinstance(among.high, int):
                chosen = trial.suggest_int(
                    key, among.low, among.high, step=int(among.step or 1), log=among.log
                )
            else:
                chosen = trial.suggest_float(
                    key, among.low, among.high, step=among.step, log=among.log
                )
        except ValueError as error:
            raise UserError(
                f"space.{key}: {error} (if the study has begun, name another one with --study)"
            ) from error
        yield f"--{key}={chosen if isinstance(chosen, str) else json.dumps(chosen)}"


def write_best(study: optuna.Study, metric: str) -> None:
    """Write the configuration of the best trial as a config of its own, and say where."""
    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        raise UserError(
            f"all trials of {study.study_name} were stopped early: the pruner is too strict"
        )
    best, root = study.best_trial, project_root()
    run, path = root / best.user_attrs["run"], experiment(study.study_name)
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for key, section in {
        "name": config,
        "enable_model_summary": config["trainer"],
        "default_root_dir": config["trainer"],
    }.items():  # of a trial alone
        section.pop(key, None)
    head = f"{MARK}: trial {best.number} of {study.study_name}, {metric} {best.value:.6g} in {best.user_attrs['run']}\n"
    path.parent.mkdir(exist_ok=True)
    write(path, head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    done = len(study.get_trials(deepcopy=False, states=DONE))
    print(f"Best of {done}: trial {best.number}, {metric} {best.value:.6g}, fit -c {shown(path)}")


def experiment(study: str) -> Path:
    """Return where the best trial's configuration goes; raise UserError if something else is there."""
    path = project_root() / "configs" / "experiment" / f"{study}.yaml"
    if path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
        raise UserError(
            f"{shown(path)} was not written by a search: rename it, or name another study with --study"
        )
    return path


@contextmanager
def explained(storage: str | None) -> Iterator[None]:
    """Turn the errors of the storage into UserErrors."""
    try:
        yield
    except (ImportError, SQLAlchemyError, StorageInternalError) as error:
        reason = (
            getattr(error if isinstance(error, SQLAlchemyError) else error.__cause__, "orig", None)
            or error
        )
        place = mask(storage or "logs/search.db")
        raise UserError(
            f"storage {place} cannot be used: {' '.join(str(reason).split())[:200]}"
        ) from error


def check_config(path: str) -> None:
    """Raise UserError if a config has a key that a search has not, or lacks one that it needs."""
    known = Search.__dataclass_fields__
    config = configs.read_config(path)
    for one in configs.given(["--config", path]):
        name = one.key.split(".")[0]
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UserError(
                f"{one.place}: {name} is not a known key{f': did you mean {near[0]}?' if near else ''}"
            )
    for name in ("metric", "space"):
        if Path(path).is_file() and config.get(name) is None:
            raise UserError(f"{shown(path)}: {name} is missing")


def parse(arguments: Sequence[str]) -> tuple[Search, list[str]]:
    """Return the search, and the arguments that are for `fit`."""
    usage = "%(prog)s configs/search/<study>.yaml [--study NAME] [--trials N] [--storage URL] [arguments of fit]"
    known = Parser(
        f"python -m {PACKAGE}.search", usage=usage, allow_abbrev=False, description=__doc__
    )
    known.add_argument(
        "config", metavar="configs/search/<study>.yaml", help="what to search for, and among what"
    )
    known.add_argument(
        "--study", metavar="NAME", help="of the study and its runs, instead of the config's"
    )
    known.add_argument(
        "--trials", metavar="N", help="how many the study has in the end, of all workers together"
    )
    known.add_argument("--storage", metavar="URL", help="the database, instead of logs/search.db")
    given, fit = known.parse_known_args(arguments)
    if wrong := [arg for arg in fit if arg.split("=")[0] in ("--run", "--ckpt_path")]:
        raise UserError(f"{wrong[0]} is of one run, but a search starts many")
    check_config(given.config)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Search)
    words = [f"--study={Path(given.config).stem}"]
    words += [
        f"--{key}={value}" for key, value in vars(given).items() if value is not None
    ]  # config comes first
    try:
        values = vars(parser.instantiate(parser.parse_args(words)))
    except ArgumentError as error:
        # takes seconds to import
        from ...engine.messages import (
            explain_parse_error,
        )  # only here, as it takes seconds to import

        typed = configs.given(["--config", given.config, *words])
        raise UserError(
            explain_parse_error(str(error), Search.__dataclass_fields__, typed)
        ) from error
    for name in ("trials", "heartbeat"):
        if values[name] < 1:
            raise UserError(f"{name} is {values[name]}, but must be at least 1")
    return Search(**{key: value for key, value in values.items() if key != "config"}), fit


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    arguments = list(sys.argv[1:] if args is None else args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as for Ctrl-C
    try:
        search, fit = parse(arguments)
        logs_folder(fit).mkdir(parents=True, exist_ok=True)
        experiment(search.study)
        with explained(search.storage):
            worker = Worker(search, fit)
            worker.work()
            write_best(worker.study, search.metric)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
