"""Formats tables of runs for a terminal, as Markdown and as LaTeX."""

import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from ...utils.project import printable
from ..run_files import number, text

Values = dict[str, Any]
Row = Sequence[str]

UNLIMITED = 1_000_000  # columns
LATEX_ESCAPES = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "±": r"$\pm$",
}


def show(columns: Row, rows: Sequence[Row], fold: bool = True) -> None:
    """Print a table. On a terminal, `fold` wraps the text of its cells so that rows fit."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(printable(column), overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    if not rows:
        table.add_row("no difference")

    fits = fold and sys.stdout.isatty()
    width = None if fits else UNLIMITED
    console = Console(markup=False, emoji=False, highlight=False, width=width)
    console.print(table)


def markdown(columns: Row, rows: Sequence[Row]) -> str:
    """Return a table in Markdown. The first column is aligned to the left, the others to the right."""
    numbers = len(columns) - 1
    alignment = ["---"] + ["---:"] * numbers
    lines = [markdown_row(row) for row in (columns, alignment, *rows)]
    return "\n".join(lines)


def markdown_row(cells: Row) -> str:
    """Return a row of a table in Markdown."""
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def latex(columns: Row, rows: Sequence[Row]) -> str:
    """Return a table in LaTeX, for the package booktabs."""
    numbers = len(columns) - 1
    alignment = "l" + "r" * numbers
    lines = [
        r"\begin{tabular}{" + alignment + "}",
        r"\toprule",
        latex_row(columns),
        r"\midrule",
        *(latex_row(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def latex_row(cells: Row) -> str:
    """Return a row of a table in LaTeX."""
    escapes = str.maketrans(LATEX_ESCAPES)
    escaped = [cell.translate(escapes) for cell in cells]
    return " & ".join(escaped) + r" \\"


def different(one: Values, other: Values) -> list[list[str]]:
    """Return a row for each key whose values are not equal."""
    rows = []
    for key in one | other:
        if one.get(key) != other.get(key):
            rows.append(side_by_side(key, one, other))
    return rows


def side_by_side(key: str, *values: Values) -> list[str]:
    """Return a row with a key and its value in each dictionary; "-" where it is missing."""
    row = [key]
    for dictionary in values:
        if key in dictionary:
            row.append(text(dictionary[key]))
        else:
            row.append("-")
    return row


def distance(one: Any, other: Any) -> float:
    """Return the absolute difference of two metrics; infinity if they differ and one is missing or not finite."""
    if one == other:
        return 0.0
    first = number(one)
    second = number(other)
    if first is None or second is None:
        return math.inf
    return abs(first - second)


def rank(value: Any) -> tuple[bool, Any]:
    """Return a sort key that orders numbers by value, and puts text after them."""
    if isinstance(value, int | float):
        return False, value
    return True, text(value)


def cell(column: str, value: Any) -> str:
    """Return a value as text for the list of runs."""
    if value is None:
        return "-"
    if column == "start":  # such as 2026-11-23T18:23:44.123456+00:00
        return text(value)[:16].replace("T", " ")
    if column == "duration":
        return str(timedelta(seconds=round(value)))
    if isinstance(value, float):
        return f"{value:.6g}"
    return text(value)
