"""The runs of a project, and what their files hold."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
import yaml


def run_of(project: Path, name: str) -> Path:
    """Return the directory of the only run of a name."""
    (directory,) = project.glob(f"logs/{name}/*")
    return directory


def record(directory: Path) -> Any:
    """Return what a run's `run.json` says."""
    return json.loads((directory / "run.json").read_text())


def config(directory: Path) -> Any:
    """Return what a run's `config.yaml` says."""
    return yaml.safe_load((directory / "config.yaml").read_text())


def load(path: Path) -> Any:
    """Load a checkpoint without running any code that may be in it."""
    return torch.load(path, weights_only=True)


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, such as metrics.csv or predictions.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
