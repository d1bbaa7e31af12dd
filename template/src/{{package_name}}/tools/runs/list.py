"""`runs list`: a table of runs, or all their data as JSON."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from shutil import get_terminal_size

from rich.cells import cell_len

from ...utils.project import shown
from ..run_files import Run
from .select import select
from .summary import varied
from .tables import cell, show

SHOWN = 100  # rows on a terminal
FIRST = ("name", "id", "status", "start", "duration", "epochs", "steps")  # columns
LAST = "commit"
# Columns that a narrow terminal does without; the first one goes first
LESS_IMPORTANT = ("commit", "start", "steps", "duration", "epochs")
SPACE = 2  # between columns


def list_runs(options: Namespace) -> None:
    """Print the runs as a table or as JSON. On a terminal, the table ends after 100 runs unless --limit is given."""
    if options.json:
        summaries = [run.summary for run in select(options, options.metric)]
        print(json.dumps(summaries, indent=2, ensure_ascii=False))
        return

    shorten = options.limit is None and sys.stdout.isatty()
    if shorten:
        options.limit = SHOWN + 1
    runs = select(options, options.metric)
    if not runs:
        print(f"There is no such run in {shown(options.logs)}")
        return

    listed = runs[:SHOWN] if shorten else runs
    columns = [*FIRST, *metric_columns(listed, options.metric)]
    if options.varied:
        columns += varied(listed)
    if any(run.parent for run in listed):
        columns.append("parent")
    columns.append(LAST)
    if sys.stdout.isatty():
        columns = fitting_columns(columns, listed, get_terminal_size().columns)
    show(columns, [cells(run, columns) for run in listed], fold=False)
    if len(listed) < len(runs):
        print(f"These are the first {SHOWN}, and there are more: --limit says how many to list")


def fitting_columns(columns: Sequence[str], runs: Sequence[Run], width: int) -> list[str]:
    """Return the columns for a terminal: without the less important ones, as far as the others then fit.

    Args:
        columns: All columns.
        runs: The runs that are listed.
        width: The width of the terminal, in characters.
    """
    kept = list(columns)
    for column in LESS_IMPORTANT:
        if width_of(kept, runs) <= width:
            break
        if column in kept:
            kept.remove(column)
    return kept


def width_of(columns: Sequence[str], runs: Sequence[Run]) -> int:
    """Return the width of the table, in characters."""
    rows = [columns, *(cells(run, columns) for run in runs)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + SPACE * (len(columns) - 1)


def cells(run: Run, columns: Sequence[str]) -> list[str]:
    """Return a run's row of the table."""
    row = []
    for column in columns:
        value = run.values.get(column)
        row.append(cell(column, value))
    return row


def metric_columns(runs: Sequence[Run], metrics: Sequence[str]) -> list[str]:
    """Return the columns of monitored and requested metrics, best and last value, that at least one run has."""
    columns = []
    monitored = [run.monitor for run in runs if run.monitor]
    for metric in unique([*monitored, *metrics]):
        for column in (f"best.{metric}", metric):
            if any(column in run.values for run in runs):
                columns.append(column)
    return columns


def unique(names: Sequence[str]) -> list[str]:
    """Return the names without repetitions, in their order."""
    return list(dict.fromkeys(names))
