"""Options that several commands share, and the handling of mistakes in them."""

import math
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ..engine.run_directory import OPTION, OPTION_HELP
from ..engine.start import hide_traceback
from ..utils.project import UserError, printable

PACKAGE = __name__.partition(".")[0]
RUN_HELP = "<directory|id|name|last>, as --run of the other commands"


class Parser(ArgumentParser):
    """A parser that raises UserError, instead of printing the usage and exiting with status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help says more)")


def command_parser(command: str, **settings: Any) -> Parser:
    """Return the parser of `python -m <package>.<command>`."""
    return Parser(f"python -m {PACKAGE}.{command}", allow_abbrev=False, **settings)


def add_logs_option(parser: ArgumentParser) -> None:
    """Add the option for the folder of the runs."""
    parser.add_argument(OPTION, dest="logs", metavar="FOLDER", help=OPTION_HELP)


@contextmanager
def mistakes_end_in_a_line() -> Iterator[None]:
    """Exit with one line and status 1 after a mistake of the user, and without a traceback after Ctrl-C."""
    try:
        yield
    except (UserError, OSError) as error:
        sys.exit(f"error: {printable(str(error))}")
    except KeyboardInterrupt:
        hide_traceback()
        raise


def stop_like_ctrl_c() -> None:
    """Let SIGTERM raise KeyboardInterrupt, so that the command can stop its child processes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def count(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text or 'an empty text'} is no whole number of at least 1")
    return int(text)


def tolerance(text: str) -> float:
    """Parse a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number) or number < 0:
        raise ArgumentTypeError(f"{text or 'an empty text'} is no number of at least 0")
    return number


def svg_file(text: str) -> Path:
    """Parse the path of an SVG file. Other suffixes are refused, because the picture is always SVG."""
    path = Path(text)
    if path.suffix.lower() not in (".svg", ""):
        svg = path.with_suffix(".svg")
        raise ArgumentTypeError(f"{text} is no SVG, but the picture is one: name it {svg}")
    return path
