"""Helpers of the tests of models: a project with all of them."""

import csv
import importlib
import math
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.template import QUESTIONS, Render

MODELS = ("simplenet", "mlp", "resnet", "vit", "blank", "autoencoder", "regression", "segmentation")


DATASETS = tuple(QUESTIONS["datasets"]["choices"].values())


QUIET = (
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@pytest.fixture(scope="module")
def models_project(render: Render) -> Path:
    """A project with all models, and a table to learn from: a price that depends on x0 to x4, and its size."""
    project = render(package_name="zoo", datasets=list(DATASETS), models=list(MODELS))
    if "MNIST_DIR" in os.environ:
        shutil.copytree(os.environ["MNIST_DIR"], project / "data" / "mnist")
    numbers = random.Random(0)
    with (project / "data" / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(10)), "price", "size"])
        for _ in range(2000):
            x = [numbers.random() for _ in range(10)]
            y = friedman(x) + numbers.gauss(0, 1)
            writer.writerow([*x, 200_000 + 10_000 * y, "large" if y > 14 else "small"])
    return project


def friedman(x: list[float]) -> float:
    """Return Friedman's (1991) first function: of its values, a noise of 1 leaves at most R2 = 0.96 to explain."""
    return 10 * math.sin(math.pi * x[0] * x[1]) + 20 * (x[2] - 0.5) ** 2 + 10 * x[3] + 5 * x[4]


@pytest.fixture(scope="module")
def zoo(models_project: Path) -> Iterator[Any]:
    """A function that imports from that project's package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(models_project / "src"))
        yield lambda module, name: getattr(importlib.import_module(f"zoo.{module}"), name)
    for name in [name for name in sys.modules if name.split(".")[0] == "zoo"]:
        del sys.modules[name]


def options(dataset: str, model: str) -> list[str]:
    """Return the options that choose a dataset and a model, and what to learn from the table."""
    configs = ["-c", f"configs/data/{dataset}.yaml", "-c", f"configs/model/{model}.yaml"]
    if dataset != "csv_table":
        return configs
    task = (
        ["--data.target=price", "--data.task=regression"]
        if model == "regression"
        else ["--data.target=size"]
    )
    return [*configs, f"--data.features={[f'x{i}' for i in range(10)]}", *task]
