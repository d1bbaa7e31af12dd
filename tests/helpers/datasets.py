"""Helpers of the tests of datasets: a project with all of them, and the digits as files."""

import gzip
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers.commands import succeed
from helpers.template import Render

DATASETS = [
    "mnist",
    "fashion_mnist",
    "cifar10",
    "digits",
    "image_folder",
    "digit_masks",
    "mask_folder",
    "csv_table",
    "huggingface",
    "blank",
]


MODELS = ["simplenet", "mlp", "regression"]


QUIET = ("--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1")


Row = list[int]


@pytest.fixture(scope="module")
def datasets_project(render: Render) -> Path:
    """A project with all datasets, which tests train in."""
    return render(datasets=DATASETS, models=MODELS, loggers=["csv"])


@pytest.fixture(scope="module")
def datasets_package(
    datasets_project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Let tests import the project's package; return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        patch.syspath_prepend(str(datasets_project / "src"))
        yield datasets_project / "src" / "my_project"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def without_hub(datasets_package: Path) -> None:
    """All commands see the Hub's settings that the package sees."""


@pytest.fixture(scope="module")
def digit_rows(datasets_project: Path) -> list[Row]:
    """The bundled digits: 64 pixels from 0 to 16, and the label; every fifth one is for testing."""
    text = gzip.decompress(
        (datasets_project / "src" / "my_project" / "data_modules" / "digits.csv.gz").read_bytes()
    ).decode()
    return [[int(value) for value in line.split(",")] for line in text.splitlines()]


def picture(row: Row) -> Image.Image:
    return Image.frombytes("L", (8, 8), bytes(value * 255 // 16 for value in row[:64]))


def data_module(name: str, class_name: str, *args: Any, **kwargs: Any) -> Any:
    """Return a data module of the project."""
    return getattr(import_module(f"my_project.data_modules.{name}"), class_name)(*args, **kwargs)


def refused(name: str, class_name: str, *args: Any, **kwargs: Any) -> str:
    """See a data module refused, and return the one line that says why."""
    with pytest.raises(ValueError) as caught:
        data_module(name, class_name, *args, **kwargs)
    assert type(caught.value).__name__ == "UserError", repr(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def train(project: Path, data: str, model: str, *options: str) -> dict[str, float]:
    """Fit and test on the command line without a warning, and return the test metrics."""
    configs = ("-c", f"configs/data/{data}.yaml", "-c", f"configs/model/{model}.yaml")
    output = succeed(project, "fit", *configs, *QUIET, "--test_after_fit=true", *options)
    assert "Warning" not in output and "warn" not in output, output
    return {name: float(value) for name, value in re.findall(r"(test/\w+)\W+?(-?[\d.]+)", output)}


def everything(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all inputs and targets of a dataset."""
    inputs, targets = dataset.__getitems__(range(len(dataset)))
    return inputs, targets


@pytest.fixture(scope="module")
def picture_folder(digit_rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as PNG files in a folder per class."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, row in enumerate(digit_rows):
        path = folder / ("train" if i % 5 else "test") / f"digit {row[64]}" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(row).save(path)
    return folder


@pytest.fixture(scope="module")
def parquet_folder(
    datasets_package: Path, digit_rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The digits as Parquet files in the Hub's format."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("parquet")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    for split in ("train", "test"):
        rows = [row for i, row in enumerate(digit_rows) if (i % 5 == 0) == (split == "test")]
        columns = {"image": [picture(row) for row in rows], "label": [row[64] for row in rows]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(
            folder / f"{split}.parquet"
        )
    return folder
