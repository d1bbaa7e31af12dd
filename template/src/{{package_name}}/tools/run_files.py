"""What the files of a run's directory say."""

import csv
import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

KINDS = {
    "status": str,
    "metrics": dict,
    "git": dict,
    "commands": list,
}  # of run.json, if it is whole
OTHERS = {
    "schema",
    "name",
    "id",
    "start",
    "end",
    "commands",
    "metrics",
    "samples_per_second",
}  # than a run's origin
OF_THE_DIRECTORY = ("id", "name")  # which takes no file
HELD_OR_WITHOUT_LOCKS = (
    OSError,
    NotImplementedError,
)  # another process has the lock, or the file system has none
LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the first is several times faster, but not everywhere


class Run:
    """A run by its directory, `logs/<name>/<run id>`; what is missing or damaged in there is empty."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def record(self) -> dict[str, Any]:
        """What run.json says."""
        with suppress(AttributeError, OSError, TypeError, ValueError):
            record = dict(json.loads((self.directory / "run.json").read_text(encoding="utf-8")))
            commands = [command.get("command") for command in record.get("commands", [])]
            fits = [isinstance(record.get(key, kind()), kind) for key, kind in KINDS.items()]
            if (
                "status" in record
                and all(fits)
                and all(isinstance(command, str) for command in commands)
            ):
                return record
        return {}

    @property
    def status(self) -> str:
        """What run.json says; killed if it says that the run is running, but no process trains there."""
        there = (self.directory / "run.json").exists()
        status = str(self.record.get("status", "damaged" if there else "missing"))
        return "killed" if status == "running" and not self.is_training else status

    @property
    def is_training(self) -> bool:
        """Whether a process may be training there: it has a lock, which it removes at its end."""
        lock = self.directory / ".lock"
        if not lock.exists():  # it ended, but could not write that, such as on a full disk
            return False
        try:
            with FileLock(lock, timeout=0, fallback_to_soft=False):
                return False
        except HELD_OR_WITHOUT_LOCKS:
            return True

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.yaml says, with dotted keys."""
        with suppress(OSError, TypeError, ValueError, yaml.YAMLError):
            return flat(
                dict(
                    yaml.load((self.directory / "config.yaml").read_text(encoding="utf-8"), LOADER)
                )
            )
        return {}

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, with the cells that hold a finite number."""
        with suppress(OSError, ValueError, csv.Error):
            lines = (self.directory / "metrics.csv").read_text(encoding="utf-8").splitlines()
            rows = [
                {name: number(cell) for name, cell in row.items()} for row in csv.DictReader(lines)
            ]
            return [
                {name: value for name, value in row.items() if value is not None} for row in rows
            ]
        return []

    @property
    def monitor(self) -> str:
        """The metric that says which checkpoint is best, empty if none does."""
        return str(self.config.get("checkpoint.monitor") or "")

    @cached_property
    def best(self) -> dict[str, float]:
        """The row of metrics.csv that best.ckpt belongs to: the first with the best value of the monitored metric."""
        choose = max if self.config.get("checkpoint.mode") == "max" else min
        rows = [row for row in self.history if self.monitor in row]
        return choose(rows, key=lambda row: row[self.monitor], default={})

    @cached_property
    def last(self) -> dict[str, Any]:
        """The last value of each metric, step and epoch; the metrics of run.json, which a command writes at its end."""
        logged = {name: value for row in self.history for name, value in row.items()}
        return {**logged, **self.record.get("metrics", {})}

    @property
    def duration(self) -> float | None:
        """Seconds that its fit commands took; of one that has not ended, until metrics.csv was last written."""
        total: float | None = None
        with suppress(KeyError, OSError, TypeError, ValueError):
            fits = [
                command
                for command in self.record["commands"]
                if sub_command(command["command"]) == "fit"
            ]
            for command in fits:
                start, end = datetime.fromisoformat(command["start"]), command["end"]
                if not end and command is fits[-1]:
                    end = datetime.fromtimestamp(
                        (self.directory / "metrics.csv").stat().st_mtime, UTC
                    ).isoformat()
                if end:
                    total = (total or 0) + max(
                        (datetime.fromisoformat(end) - start).total_seconds(), 0
                    )
        return total

    def has(self, key: str) -> bool:
        """Return whether it has a value of this key, with a look at no more files than that takes."""
        return key in OF_THE_DIRECTORY or key == "status" or key in self.values

    def value(self, key: str) -> Any:
        """Return the value of a key, None if it has none, with a look at no more files than that takes."""
        if key in OF_THE_DIRECTORY:
            return self.directory.name if key == "id" else self.directory.parent.name
        return self.status if key == "status" else self.values.get(key)

    @cached_property
    def values(self) -> dict[str, Any]:
        """What runs can be filtered and sorted by: the list's columns, metrics, and all keys of both files."""
        git, commit = self.record.get("git", {}), None
        if git.get("commit"):
            commit = str(git["commit"])[:7] + ("*" if git.get("dirty") else "")
        epoch, step = (number(self.last.get(name)) for name in ("epoch", "step"))
        return {
            **{
                key.replace(".init_args", ""): value for key, value in self.config.items()
            },  # as on the command line
            **self.config,
            **flat(self.record),
            **self.last,
            **{f"best.{name}": value for name, value in self.best.items()},
            "name": self.directory.parent.name,
            "id": self.directory.name,
            "status": self.status,
            "duration": self.duration,
            "epochs": None if epoch is None else int(epoch) + 1,
            "steps": None if step is None else int(step) + 1,
            "commit": commit,
        }

    @property
    def origin(self) -> dict[str, Any]:
        """What it came from: command, code, data, packages, hardware and so on."""
        commands, patch = self.record.get("commands", []), self.directory / "code.patch"
        return {
            "command": commands[0]["command"] if commands else None,
            "code.patch": f"sha256 {sha256(patch.read_bytes()).hexdigest()[:12]}"
            if patch.exists()
            else None,
            **flat({key: value for key, value in self.record.items() if key not in OTHERS}),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """All of it, as JSON can hold it: infinity and dates become text."""
        columns = ("name", "id", "status", "duration", "epochs", "steps", "commit")
        files = {"best": self.best, "last": self.last, "run": self.record, "config": self.config}
        whole = {
            "directory": str(self.directory),
            **{name: self.values[name] for name in columns},
            **files,
        }
        return dict(json.loads(json.dumps(whole, default=str), parse_constant=str))


def sub_command(command: str) -> str:
    """Return which sub-command a command of run.json is."""
    return next(
        (word for word in command.split() if word in ("fit", "validate", "test", "predict")), ""
    )


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return nested dictionaries, and lists of them, as one with dotted keys."""
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {path: value}
    parts = [flat(part, f"{path}.{key}".removeprefix(".")) for key, part in value.items()]
    return {key: leaf for part in parts for key, leaf in part.items()}


def number(value: Any) -> float | None:
    """Return a finite number, None if it is none."""
    with suppress(TypeError, ValueError):
        return float(value) if math.isfinite(float(value)) else None
    return None


def text(value: Any) -> str:
    """Return a value as the user would write it: as in YAML, and text as it is."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def matches(value: Any, wanted: str) -> bool:
    """Return whether a value is what the user wrote, be it 0.01 or 1e-2."""
    return text(value) == wanted or (
        number(wanted) is not None and number(text(value)) == number(wanted)
    )
