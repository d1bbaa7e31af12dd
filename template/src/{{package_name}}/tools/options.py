"""The options of the tools, such as `python -m <package>.runs`: a mistake in them ends in one line, too."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

from ..utils.project import UserError

PACKAGE = __name__.partition(".")[0]


class Parser(ArgumentParser):
    """A parser whose errors are UserErrors, instead of the usage and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help says more)")


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text or 'an empty text'} is no whole number of at least 1")
    return int(text)


def tolerance(text: str) -> float:
    """Return a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0:  # nor is NaN
        raise ArgumentTypeError(f"{text or 'an empty text'} is no number of at least 0")
    return number


def svg_file(text: str) -> Path:
    """Return the path of a picture in SVG, the one kind that is written."""
    path = Path(text)
    if path.suffix.lower() not in (".svg", ""):
        raise ArgumentTypeError(
            f"{text} is no SVG, which the picture is: name it {path.with_suffix('.svg')}"
        )
    return path
