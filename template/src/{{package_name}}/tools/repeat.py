"""Train with several seeds, folds or both, and sum the runs up: `python -m <package>.repeat --seeds 1..5 …`."""

import itertools
import re
import signal
import sys
from collections.abc import Sequence

from ..engine.import_path import forget_working_directory
from ..engine.run_directory import OPTION, logs_folder
from ..utils.project import UserError, project_root
from .fit_process import FitProcess
from .options import PACKAGE, Parser, count
from .runs.command import main as runs

USAGE = "%(prog)s [--seeds 1..5] [--folds 5] [--name NAME] [arguments of fit]"


def numbers(text: str) -> list[int]:
    """Return the numbers of `1..5` or `3,7`; raise UserError if it is neither."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found and int(found[1]) <= int(found[2]):
        return list(range(int(found[1]), int(found[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(number) for number in text.split(",")]
    raise UserError(f"--seeds is {text}, but must be such as 1..5 or 3,7")


def fit(arguments: Sequence[str]) -> None:
    """Train in a process of its own; raise UserError if that ends with one, and end as it does if it fails."""
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


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    parser = Parser(
        f"python -m {PACKAGE}.repeat", usage=USAGE, allow_abbrev=False, description=__doc__
    )
    parser.add_argument("--seeds", metavar="1..5", help="seeds of the runs, or a list such as 3,7")
    parser.add_argument(
        "--folds", type=count, metavar="K", help="hold out each of K parts of the training set once"
    )
    parser.add_argument("--name", default="default", help="name of the runs")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as for Ctrl-C
    repeats: list[tuple[list[str], list[str]]] = []
    finished = 0
    try:
        given, rest = parser.parse_known_args(args)
        if not given.seeds and not given.folds:
            raise UserError("--seeds or --folds is missing: what is to differ between the runs?")
        seeds = (
            [[f"--seed_everything={seed}"] for seed in numbers(given.seeds)]
            if given.seeds
            else [[]]
        )
        folds = [[f"--data.fold={fold + 1}/{given.folds}"] for fold in range(given.folds or 0)] or [
            []
        ]
        project_root()  # loads .env
        repeats = list(itertools.product(seeds, folds))
        for seed, fold in repeats:
            fit([*rest, f"--name={given.name}", *seed, *fold])
            finished += 1
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(f"Interrupted: {finished} of {len(repeats)} runs are finished", file=sys.stderr)
        sys.exit(130)
    runs(["summary", f"--name={given.name}", f"{OPTION}={logs_folder(rest)}"])
