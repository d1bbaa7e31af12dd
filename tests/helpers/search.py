"""Helpers of the tests of searches."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import succeed
from helpers.template import Render

MLP = (
    "-c",
    "configs/data/digits.yaml",
    "-c",
    "configs/model/mlp.yaml",
    "--trainer.enable_progress_bar=false",
)


SEARCH: dict[str, Any] = {
    "metric": "val/acc",
    "trials": 3,
    "space": {"model.optimizer.lr": {"low": 0.001, "high": 0.01, "log": True}},
    "pruner": {"class_path": "optuna.pruners.NopPruner"},
    "heartbeat": 1,
}


# One learning rate learns, the other one does not: it is below 0.5 at the third epoch
GRID = {"model.optimizer.lr": [0.01, 1e-9], "data.batch_size": [64]}


@pytest.fixture(scope="module")
def search_original(render: Render) -> Path:
    return render(
        package_name="my_project", models=["mlp"], loggers=["csv"], tooling=["optuna", "sweep"]
    )


@pytest.fixture
def search_project(search_original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(search_original, tmp_path / "my-project")


def write(project: Path, study: str = "lr", **search: Any) -> None:
    (project / "configs" / "search" / f"{study}.yaml").write_text(
        yaml.safe_dump({**SEARCH, **search})
    )


def search(project: Path, *args: str, study: str = "lr") -> str:
    """Run a worker, see it succeed, and return what it prints."""
    return succeed(project, *worker(project, *MLP, *args, study=study), PYTHONPATH=source(project))


def worker(project: Path, *args: str, study: str) -> list[str]:
    return ["-m", "my_project.search", f"configs/search/{study}.yaml", *args]


def source(project: Path) -> str:
    return str(project / "src")
