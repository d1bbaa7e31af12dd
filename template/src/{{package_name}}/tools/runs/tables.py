"""Tables of runs, in a terminal, in Markdown and in LaTeX."""

import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from ..run_files import number, text

LATEX = str.maketrans({character: "\\" + character for character in "&%$#_{}"} | {"±": r"$\pm$"})


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], fold: bool = True) -> None:
    """Print a table, as wide as need be; on a terminal, its cells can be folded to fit."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows or [["no difference"]]:
        table.add_row(*row)
    width = None if fold and sys.stdout.isatty() else 1_000_000
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its first column aligned to the left and the others to the right."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (columns, *rows)]
    cells.insert(1, ["---", *["---:"] * (len(columns) - 1)])
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def latex(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in LaTeX, for the package booktabs."""
    head, *body = [
        " & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in (columns, *rows)
    ]
    start, end = r"\begin{tabular}{l" + "r" * (len(columns) - 1) + "}", r"\end{tabular}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", end])


def different(one: dict[str, Any], other: dict[str, Any]) -> list[list[str]]:
    """Return the keys whose values are not equal, each with both."""
    return [
        side_by_side(key, one, other) for key in {**one, **other} if one.get(key) != other.get(key)
    ]


def side_by_side(key: str, *values: dict[str, Any]) -> list[str]:
    """Return a key and its value in each dictionary."""
    return [key, *(text(one[key]) if key in one else "-" for one in values)]


def distance(one: Any, other: Any) -> float:
    """Return how far two metrics are apart; infinity if only one of them is there, or finite."""
    if one == other:
        return 0.0
    return math.inf if number(one) is None or number(other) is None else abs(one - other)


def rank(value: Any) -> tuple[bool, Any]:
    """Return what puts numbers in order, and text behind them."""
    return (False, value) if isinstance(value, int | float) else (True, text(value))


def cell(column: str, value: Any) -> str:
    """Return a value as the list shows it."""
    if value is None:
        return "-"
    if column == "start":
        return text(value)[:16].replace("T", " ")
    if column == "duration":
        return str(timedelta(seconds=round(value)))
    return f"{value:.6g}" if isinstance(value, float) else text(value)
