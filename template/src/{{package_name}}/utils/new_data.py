"""Reads what a run has kept of its training data, so that new data are prepared alike without them."""

import json
from pathlib import Path
from typing import Any

from .project import UserError, shown

FILE = "data.json"  # in the run's directory


def read_learned(run: str | Path | None) -> dict[str, Any]:
    """Return what the data module's `learned` returned when the run was trained.

    Args:
        run: The run's directory. The command line passes it as the data module's argument `run`.

    Raises:
        UserError: There is no run, or an older version of the project has trained it.
    """
    if run is None:
        raise UserError("run is missing: new data need the directory of a run that was trained")
    path = Path(run) / FILE
    if not path.exists():
        raise UserError(
            f"{shown(run)} has no {FILE}, so its classes or its encoding are unknown: "
            "name a run with --run that this version of the project has trained"
        )
    learned: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return learned
