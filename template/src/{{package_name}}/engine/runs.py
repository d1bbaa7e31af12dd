"""Finds runs on disk, reads their records, and locks a run while it trains.

Read this when `--run` finds another run than you expect. It imports no PyTorch, to keep a list of runs fast.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout

from ..utils.project import UserError, shown

# An id of an earlier release, whose time is local, such as 20261123-182344-518074a3
LOCAL_ID = re.compile(r"(?P<time>\d{8}-\d{6})-(?P<rest>\w+)")

SECONDS_OF_AN_UPDATE = 10  # the most that another process takes to update run.json


def new_id() -> str:
    """Return the id of a run that starts now: the time in UTC, to the microsecond, and two random digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%SZ-%f}{token_hex(1)}"


def by_start(run: Path) -> str:
    """Return a sort key for the directories of runs, by the time in their ids.

    The time of an id of an earlier release is taken as the local time of this machine.
    """
    local = LOCAL_ID.fullmatch(run.name)
    if not local:
        return run.name
    with suppress(ValueError, OverflowError):  # the digits may be no valid time
        start = datetime.strptime(local["time"], "%Y%m%d-%H%M%S").astimezone(UTC)
        return f"{start:%Y%m%d-%H%M%SZ}-{local['rest']}"
    return run.name


def read_run(directory: Path) -> dict[str, Any]:
    """Return the content of a run's `run.json`; an empty dictionary if it is missing or damaged."""
    with suppress(OSError, ValueError):
        return dict(json.loads((directory / "run.json").read_text(encoding="utf-8")))
    return {}


def find_run(wanted: str, logs: Path, finished: bool = False, option: str = "--run") -> Path:
    """Return the directory of a run.

    Args:
        wanted: A run's path or id, a name (for its newest run), or `last` (for the newest run of all).
        logs: The folder of all runs.
        finished: Whether to consider only finished runs.
        option: The option that names the run, for messages.

    Raises:
        UserError: There is no such run.
    """
    is_path = Path(wanted).name != wanted
    if is_path and (Path(wanted) / "config.yaml").exists():
        return Path(wanted).absolute()
    runs = runs_named(wanted, logs)
    for run in runs:
        if not finished or read_run(run).get("status") == "finished":
            return run
    missing = f"run {wanted}"
    if runs:
        missing = f"finished run of {wanted}"
    raise UserError(
        f"there is no {missing} in {shown(logs)}: train one with fit, or name another with "
        f"{option} <directory|id|name|last>"
    )


def runs_named(wanted: str, logs: Path) -> list[Path]:
    """Return the runs with a name or id, newest first. `last` gives all runs."""
    runs = [path.parent for path in logs.glob("*/*/config.yaml")]
    if wanted != "last":
        runs = [run for run in runs if wanted in (run.name, run.parent.name)]
    return sorted(runs, key=by_start, reverse=True)


def check_writable(run: Path) -> None:
    """Raise UserError if a run's directory is read-only, because loggers would fail with a traceback."""
    if run.exists() and not os.access(run, os.W_OK):
        raise UserError(
            f"{shown(run)} is read-only. Copy it to a place that you can write to, "
            "and name the copy with --run."
        )


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock a run, so that no other process trains in it until this one ends, in whatever way.

    Raises:
        UserError: Another process is training in the run.
    """
    lock = FileLock(run / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=1)  # because a list of runs holds the lock for a moment
    except Timeout:
        raise UserError(
            f"{shown(run)} is training in another process: wait for its end, or stop that one, "
            "or leave out --run for a new run"
        ) from None
    except OSError:  # the file system has no locks
        pass
    try:
        yield
    finally:
        remove_lock(lock)


@contextmanager
def record_locked(run: Path) -> Iterator[None]:
    """Let one process at a time update run.json, because several commands may work on one run.

    Where the file system has no locks, the last one to write wins.
    """
    lock = FileLock(run / ".record.lock", fallback_to_soft=False)
    is_held_elsewhere = False
    try:
        lock.acquire(timeout=SECONDS_OF_AN_UPDATE)
    except Timeout:
        is_held_elsewhere = True
    except OSError:  # the file system has no locks
        pass
    try:
        yield
    finally:
        if not is_held_elsewhere:
            remove_lock(lock)


def remove_lock(lock: FileLock) -> None:
    """Release a lock, and remove its file."""
    with suppress(OSError):  # on Windows, releasing the lock deletes it
        Path(lock.lock_file).unlink()
    lock.release()
