"""Train with several seeds, folds or both, and sum the runs up: `python -m <package>.repeat --seeds 1..5 …`."""

import re
import sys
from collections.abc import Sequence

from ..engine.import_path import forget_working_directory
from ..engine.run_directory import OPTION, logs_folder
from ..engine.start import hide_traceback
from ..utils.project import UserError, printable, project_root
from .fit_process import FitProcess, with_fixed_source
from .options import Parser, command_parser, count, stop_like_ctrl_c
from .runs.command import main as runs

USAGE = "%(prog)s [--seeds 1..5] [--folds 5] [--name NAME] [arguments of fit]"
RANGE = re.compile(r"(\d+)\.\.(\d+)")  # such as 1..5
LIST = re.compile(r"\d+(,\d+)*")  # such as 3,7

Options = list[str]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    stop_like_ctrl_c()
    repeats: list[Options] = []
    finished = 0
    try:
        options, fit_arguments = new_parser().parse_known_args(args)
        repeats = repeated_options(options.seeds, options.folds)
        project_root()  # loads .env
        fit_arguments = with_fixed_source(fit_arguments)
        for own in repeats:
            fit([*fit_arguments, f"--name={options.name}", *own])
            finished += 1
    except UserError as error:
        sys.exit(f"error: {printable(str(error))}")
    except KeyboardInterrupt:
        share = f"{finished} of {len(repeats)} runs"
        print(f"Interrupted: {share} are finished", file=sys.stderr)
        hide_traceback()
        raise
    logs = logs_folder(fit_arguments)
    runs(["summary", f"--name={options.name}", f"{OPTION}={logs}"])


def new_parser() -> Parser:
    """Return the parser of the command's own options, without those of `fit`."""
    parser = command_parser("repeat", usage=USAGE, description=__doc__)
    parser.add_argument("--seeds", metavar="1..5", help="seeds of the runs, or a list such as 3,7")
    parser.add_argument(
        "--folds", type=count, metavar="K", help="hold out each of K parts of the training set once"
    )
    parser.add_argument("--name", default="default", help="name of the runs")
    return parser


def repeated_options(seeds: str | None, folds: int | None) -> list[Options]:
    """Return the options of each run: every fold of every seed."""
    if not seeds and not folds:
        raise UserError("--seeds or --folds is missing: say what differs between the runs")
    repeats: list[Options] = [[]]
    if seeds:
        repeats = [[f"--seed_everything={seed}"] for seed in numbers(seeds)]
    if not folds:
        return repeats

    with_folds = []
    for seed in repeats:
        for fold in range(1, folds + 1):
            with_folds.append([*seed, f"--data.fold={fold}/{folds}"])
    return with_folds


def numbers(text: str) -> list[int]:
    """Return the numbers of `1..5` or `3,7`; raise UserError if it is neither."""
    if LIST.fullmatch(text):
        return [int(number) for number in text.split(",")]
    ends = RANGE.fullmatch(text)
    if ends:
        first = int(ends[1])
        last = int(ends[2])
        if first <= last:
            return list(range(first, last + 1))
    raise UserError(f"--seeds is {text}, but must be such as 1..5 or 3,7")


def fit(arguments: Sequence[str]) -> None:
    """Train in a separate process.

    Raises:
        UserError: The process ended with a mistake of the user.
        SystemExit: The process failed otherwise. The exit status is the same.
    """
    process = FitProcess(["fit", *arguments])
    try:
        process.wait()
    except KeyboardInterrupt:
        process.stop()
        raise
    if process.failure:
        raise UserError(process.failure)
    if process.status:
        sys.exit(process.status)
