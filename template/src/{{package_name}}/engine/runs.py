"""The runs on disk: finds one, reads its record, and locks it while it trains.

It imports no PyTorch, so that a list of runs does not wait for it.
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

# Such as 20261123-182344-518074a3, an id of an earlier release, whose time is local
LOCAL_ID = re.compile(r"(?P<time>\d{8}-\d{6})-(?P<rest>\w+)")


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
    with suppress(ValueError, OverflowError):  # digits that are no time
        start = datetime.strptime(local["time"], "%Y%m%d-%H%M%S").astimezone(UTC)
        return f"{start:%Y%m%d-%H%M%SZ}-{local['rest']}"
    return run.name


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run's `run.json` says, an empty dictionary if it has none."""
    with suppress(OSError, ValueError):
        return dict(json.loads((directory / "run.json").read_text(encoding="utf-8")))
    return {}


def find_run(wanted: str, logs: Path, finished: bool = False) -> Path:
    """Return the directory of a run.

    Args:
        wanted: A run's path or id, the name of runs, of which the newest is taken, or `last` for the newest of all.
        logs: The folder of all runs.
        finished: Whether only runs count that have finished.

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
        "--run <directory|id|name|last>"
    )


def runs_named(wanted: str, logs: Path) -> list[Path]:
    """Return the runs that have a name or an id, all of them for `last`, the newest first."""
    runs = [path.parent for path in logs.glob("*/*/config.yaml")]
    if wanted != "last":
        runs = [run for run in runs if wanted in (run.name, run.parent.name)]
    return sorted(runs, key=by_start, reverse=True)


def check_writable(run: Path) -> None:
    """Raise UserError if a run's directory is read-only, before loggers end in tracebacks."""
    if run.exists() and not os.access(run, os.W_OK):
        raise UserError(
            f"{shown(run)} is read-only. Copy it to a place that you can write to, "
            "and name the copy with --run."
        )


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training in a run until this one ends, in whatever way.

    Raises:
        UserError: Another process is training in the run.
    """
    lock = FileLock(run / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=1)  # the list of runs holds it for a moment
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
        with suppress(OSError):  # on Windows, releasing the lock deletes it
            Path(lock.lock_file).unlink()
        lock.release()
