"""Chooses runs: by `--filter`, `--name`, `--status`, `--sort` and `--limit`, or a single run."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.runs import by_start, find_run
from ...utils.project import UserError
from ..run_files import Run, matches
from .tables import rank

RUN_FILES = ("config.yaml", "run.json")  # a folder with one of them is a run


class Condition(NamedTuple):
    """A value that a key must have."""

    key: str
    value: str

    def is_met(self, run: Run) -> bool:
        """Return whether a run has this value."""
        if not run.has(self.key):
            return False
        return matches(run.value(self.key), self.value)


def select(options: Namespace, keys: Sequence[str] = ()) -> list[Run]:
    """Return the runs that meet all conditions, sorted. Raise UserError if no run has one of the keys.

    A file is read only if a condition or the order needs it. So the newest of thousands of runs are listed at once.
    """
    conditions = [condition(text) for text in options.filter]
    order = options.sort.removeprefix("-")
    downwards = options.sort.startswith("-")

    runs = all_runs(options.logs)
    named = runs
    if options.name:
        named = [run for run in runs if run.name in options.name]
    conditional = [condition.key for condition in conditions]
    check_keys([order, *keys, *conditional], named or runs, runs)

    chosen = meeting(named, conditions)
    if order == "id" and downwards:  # already in this order
        return list(islice(chosen, options.limit))
    ordered = in_order(chosen, order, downwards)
    return ordered[: options.limit]


def condition(text: str) -> Condition:
    """Parse a condition of `--filter`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        example = "data.batch_size=64"
        raise UserError(f"--filter is {text}, but must be key=value, such as {example}")
    return Condition(key, value)


def meeting(runs: Iterable[Run], conditions: Sequence[Condition]) -> Iterator[Run]:
    """Yield the runs that meet all conditions. It is lazy, because the caller may need only a few."""
    for run in runs:
        if all(condition.is_met(run) for condition in conditions):
            yield run


def all_runs(logs: Path) -> list[Run]:
    """Return the runs below a folder, the newest first, without reading their files."""
    directories: set[Path] = set()
    for name in RUN_FILES:
        for path in logs.glob(f"*/*/{name}"):
            directories.add(path.parent)
    newest_first = sorted(directories, key=by_start, reverse=True)
    return [Run(path) for path in newest_first]


def in_order(runs: Iterable[Run], key: str, downwards: bool) -> list[Run]:
    """Return the runs sorted by a key. Runs without a value come last."""
    sortable = []
    others = []
    for run in runs:
        if run.value(key) is None:
            others.append(run)
        else:
            sortable.append(run)

    def by_value(run: Run) -> tuple[bool, Any]:
        return rank(run.value(key))

    sortable.sort(key=by_value, reverse=downwards)
    return sortable + others


def check_keys(keys: Iterable[str], first: Sequence[Run], runs: Sequence[Run]) -> None:
    """Raise UserError if a key is in none of the runs. The runs in `first` are searched first."""
    if not runs:
        return
    for key in keys:
        if any_has(first, key) or any_has(runs, key):
            continue
        known: set[str] = set()
        for run in runs:
            known.update(run.values)
        message = f"no run has {key}"
        for near in get_close_matches(key, known, n=1):
            message += f": did you mean {near}?"
        raise UserError(message)


def any_has(runs: Sequence[Run], key: str) -> bool:
    """Return whether one of the runs has a value of this key."""
    return any(run.has(key) for run in runs)


def find(wanted: str, logs: Path) -> Run:
    """Return the run that an argument names; raise UserError if there is none."""
    try:
        return Run(find_run(wanted, logs))
    except UserError as error:  # the message names --run, but this command has an argument
        raise UserError(str(error).replace(" with --run ", ": ")) from None
