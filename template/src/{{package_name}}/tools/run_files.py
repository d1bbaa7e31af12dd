"""Reads the files of a run's directory, for all commands that use the records of runs."""

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

VERBS = ("fit", "validate", "test", "predict")
COLUMNS = ("name", "id", "status", "duration", "epochs", "steps", "commit")
NEED_NO_VALUES = ("id", "name", "status")  # keys that do not need all files of a run

# Types of values in a run.json that is not damaged
KINDS = {"status": str, "metrics": dict, "git": dict, "commands": list, "parent": dict}
# Keys of run.json that are no provenance
NOT_ORIGIN = {"schema", "name", "id", "start", "end", "commands", "metrics", "samples_per_second"}

# Errors if another process holds a lock, or the file system has no locks
LOCK_ERRORS = (OSError, NotImplementedError)
# Errors of missing or damaged files
FILE_ERRORS = (AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError, csv.Error)
# The loader in C is several times faster, but not every installation has it
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Values = dict[str, Any]


class Run:
    """A run in a directory `logs/<name>/<run id>`. Missing or damaged files count as empty."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def file(self, name: str) -> Path:
        """Return the path of a file in the run's directory."""
        return self.directory / name

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.parent.name

    @cached_property
    def record(self) -> Values:
        """The content of run.json."""
        with suppress(*FILE_ERRORS):
            text = self.file("run.json").read_text(encoding="utf-8")
            record = dict(json.loads(text))
            if is_whole(record):
                return record
        return {}

    @property
    def metrics(self) -> Values:
        """The metrics of run.json."""
        return dict(self.record.get("metrics", {}))

    @property
    def status(self) -> str:
        """The status of run.json. It is "killed" if run.json says "running", but no process trains."""
        default = "damaged" if self.file("run.json").exists() else "missing"
        status = str(self.record.get("status", default))
        if status == "running" and not self.is_training:
            return "killed"
        return status

    @property
    def is_training(self) -> bool:
        """Whether a process may be training in the run. It holds a lock file, and deletes it at its end."""
        lock = self.file(".lock")
        if not lock.exists():
            return False  # the process has ended, even if it could not write its status
        try:
            with FileLock(lock, timeout=0, fallback_to_soft=False):
                return False
        except LOCK_ERRORS:
            return True

    @cached_property
    def config(self) -> Values:
        """The content of config.yaml, with dotted keys."""
        with suppress(*FILE_ERRORS):
            text = self.file("config.yaml").read_text(encoding="utf-8")
            return flat(dict(yaml.load(text, LOADER)))
        return {}

    @property
    def plain_config(self) -> Values:
        """The content of config.yaml with keys as on the command line, without `.init_args`."""
        plain = {}
        for key, value in self.config.items():
            plain[key.replace(".init_args", "")] = value
        return plain

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, with only the cells that are finite numbers."""
        with suppress(*FILE_ERRORS):
            lines = self.file("metrics.csv").read_text(encoding="utf-8").splitlines()
            return [finite(row) for row in csv.DictReader(lines)]
        return []

    @property
    def monitor(self) -> str:
        """The metric that decides which checkpoint is best; empty if there is none."""
        return str(self.config.get("checkpoint.monitor") or "")

    @cached_property
    def best(self) -> dict[str, float]:
        """The row of metrics.csv that belongs to best.ckpt: the first with the best value of the monitored metric."""
        rows = [row for row in self.history if self.monitor in row]
        if not rows:
            return {}
        if self.config.get("checkpoint.mode") == "max":
            return max(rows, key=lambda row: row[self.monitor])
        return min(rows, key=lambda row: row[self.monitor])

    @cached_property
    def last(self) -> Values:
        """The last value of each metric, step and epoch in metrics.csv, and the metrics of run.json."""
        last: Values = {}
        for row in self.history:
            last.update(row)
        return last | self.metrics

    @property
    def duration(self) -> float | None:
        """Total seconds of the run's fit commands. A killed one counts up to its last sign of life."""
        fits = []
        for command in self.record.get("commands", []):
            if sub_command(command["command"]) == "fit":
                fits.append(command)

        durations = []
        for command in fits:
            is_last = command is fits[-1]
            with suppress(*FILE_ERRORS):
                durations.append(self.seconds(command, is_last))
        known = [seconds for seconds in durations if seconds is not None]
        if not known:
            return None
        return sum(known)

    def seconds(self, command: Values, is_last: bool) -> float | None:
        """Return the duration of a command in seconds; None if its end is unknown.

        Without an end, it is up to the last sign of life. Records of earlier releases have none: then the last command
        counts up to the last write of metrics.csv.
        """
        start = datetime.fromisoformat(command["start"])
        end_or_sign_of_life = command["end"] or command.get("seen")
        if end_or_sign_of_life:
            end = datetime.fromisoformat(end_or_sign_of_life)
        elif is_last:
            written = self.file("metrics.csv").stat().st_mtime
            end = datetime.fromtimestamp(written, UTC)
        else:
            return None
        duration = end - start
        return max(duration.total_seconds(), 0.0)

    def has(self, key: str) -> bool:
        """Return whether the run has a value for a key. It reads no more files than necessary."""
        if key in NEED_NO_VALUES:
            return True
        return key in self.values

    def value(self, key: str) -> Any:
        """Return the value of a key; None if there is none. It reads no more files than necessary."""
        if key == "id":
            return self.directory.name
        if key == "name":
            return self.name
        if key == "status":
            return self.status
        return self.values.get(key)

    @cached_property
    def values(self) -> Values:
        """All values for filters and sorting: columns of the list, metrics, and keys of config.yaml and run.json."""
        values = self.plain_config | self.config
        values |= flat(self.record)
        values |= self.last
        for name, value in self.best.items():
            values[f"best.{name}"] = value
        values["name"] = self.name
        values["id"] = self.directory.name
        values["status"] = self.status
        values["duration"] = self.duration
        values["epochs"] = one_more(self.last.get("epoch"))
        values["steps"] = one_more(self.last.get("step"))
        values["commit"] = self.commit
        values["parent"] = self.parent
        return values

    @property
    def commit(self) -> str | None:
        """The short commit, with a star if the code had changes."""
        git = self.record.get("git", {})
        if not git.get("commit"):
            return None
        star = "*" if git.get("dirty") else ""
        return str(git["commit"])[:7] + star

    @property
    def parent(self) -> str | None:
        """The run, or else the file, whose weights the run started from; None if it started from random ones."""
        parent = self.record.get("parent") or {}
        return parent.get("run") or parent.get("checkpoint")

    @property
    def origin(self) -> Values:
        """The provenance of the run: command, code, data, packages, hardware and so on."""
        origin: Values = {"command": None, "code.patch": None}
        commands = self.record.get("commands", [])
        if commands:
            origin["command"] = commands[0]["command"]
        patch = self.file("code.patch")
        if patch.exists():
            digest = sha256(patch.read_bytes()).hexdigest()
            origin["code.patch"] = f"sha256 {digest[:12]}"
        for key, value in self.record.items():
            if key not in NOT_ORIGIN:
                origin |= flat(value, key)
        return origin

    @property
    def summary(self) -> Values:
        """All data of the run as JSON values. Infinity and dates become text."""
        summary: Values = {"directory": str(self.directory)}
        for name in COLUMNS:
            summary[name] = self.values[name]
        summary["best"] = self.best
        summary["last"] = self.last
        summary["run"] = self.record
        summary["config"] = self.config
        text = json.dumps(summary, default=str)
        return dict(json.loads(text, parse_constant=str))


def is_whole(record: Values) -> bool:
    """Return whether the content of run.json has a status, and the right types of values."""
    if "status" not in record:
        return False
    for key, kind in KINDS.items():
        if not isinstance(record.get(key, kind()), kind):
            return False
    commands = record.get("commands", [])
    return all(isinstance(command.get("command"), str) for command in commands)


def sub_command(command: str) -> str:
    """Return the sub-command of a command in run.json."""
    for word in command.split():
        if word in VERBS:
            return word
    return ""


def flat(value: Any, path: str = "") -> Values:
    """Return nested dictionaries, and lists of them, as one dictionary with dotted keys."""
    if isinstance(value, list):
        has_dictionaries = any(isinstance(item, dict) for item in value)
        if has_dictionaries:
            value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {path: value}

    leaves: Values = {}
    for key, item in value.items():
        place = f"{path}.{key}" if path else str(key)
        leaves |= flat(item, place)
    return leaves


def finite(row: Values) -> dict[str, float]:
    """Return the cells of a row that are finite numbers."""
    found = {}
    for name, cell in row.items():
        value = number(cell)
        if value is not None:
            found[name] = value
    return found


def number(value: Any) -> float | None:
    """Return a value as a float; None if it is not a finite number."""
    with suppress(TypeError, ValueError):
        if math.isfinite(float(value)):
            return float(value)
    return None


def one_more(value: Any) -> int | None:
    """Return the count of epochs or steps from the index of the last one; None without an index."""
    last = number(value)
    if last is None:
        return None
    return int(last) + 1


def text(value: Any) -> str:
    """Return a value as the user would write it: text unchanged, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def matches(value: Any, wanted: str) -> bool:
    """Return whether a value equals the user's text. Numbers are compared by value: 1e-2 matches 0.01."""
    if text(value) == wanted:
        return True
    wanted_number = number(wanted)
    if wanted_number is None:
        return False
    return number(text(value)) == wanted_number
