"""SwanLab, which `make test` installs to .venv/swanlab, because it wants an older protobuf than the other loggers."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.loggers import Metrics, leveldb_records
from helpers.template import ROOT

FOLDER = ROOT / ".venv" / "swanlab"

needs_swanlab = pytest.mark.skipif(
    not FOLDER.exists(), reason="`make test` installs SwanLab to .venv/swanlab"
)


@pytest.fixture(scope="module")
def record_type() -> Iterator[Any]:
    """The class of a record in SwanLab's files."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("swanlab.proto.swanlab.record.v1.record_pb2").Record
    for name in set(sys.modules) - before:
        del sys.modules[name]


def records(directory: Path, record_type: Any) -> list[list[Any]]:
    """Return the records of each command of a run, in the order of the commands."""
    paths = sorted(directory.glob("swanlab/run-*/*.swanlab"))
    return [[record_type.FromString(data) for data in leveldb_records(path)] for path in paths]


def metrics_in(commands: list[list[Any]]) -> Metrics:
    """Return each metric's steps and values."""
    metrics: Metrics = {}
    for record in [record for command in commands for record in command]:
        if record.HasField("scalar"):
            point = record.scalar.step, record.scalar.value.number
            metrics.setdefault(record.scalar.key, []).append(point)
    return metrics


def end_of(command: list[Any]) -> str:
    """Return how a command ended."""
    states = command[-1].finish.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
    return str(states[command[-1].finish.state].name).removeprefix("RUN_STATE_")
