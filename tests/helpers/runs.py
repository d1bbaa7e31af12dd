"""Helpers of the tests of runs: a noisy dataset, and runs that are killed."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.commands import succeed
from helpers.template import Render, git

DATA = (
    "--data=my_project.data_modules.noisy.NoisyDataModule",
    "-c",
    "configs/model/simplenet.yaml",
)


QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


SHORT = ("--trainer.limit_train_batches=3", "--trainer.log_every_n_steps=1", *QUIET)


STEPS = ("--model.lr_scheduler=null",)  # so that the training may be prolonged


# Digits with noise that every random number generator has a part in. The environment says where the process is stopped:
# KILL_AT="last.ckpt 2" kills it before a file gets this name for the second time, SIGNAL_AT="15 7" sends it signal 15
# in its seventh batch.
NOISY = """
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .digits import DigitsDataModule

renamed: list[str] = []


def kill(event: str, args: Any) -> None:
    if event == "os.rename":
        renamed.append(Path(str(args[1])).name)
        name, number = os.environ["KILL_AT"].split()
        if renamed[-1] == name and renamed.count(name) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)


if "KILL_AT" in os.environ:
    sys.addaudithook(kill)


class NoisyDataModule(DigitsDataModule):
    batches = 0

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        signum, batch = os.environ.get("SIGNAL_AT", "0 0").split()
        if self.batches == int(batch):
            os.kill(os.getpid(), int(signum))
        return images + 0.5 * torch.rand_like(images) * random.random() * float(np.random.rand())
"""


@pytest.fixture(scope="module")
def noisy_original(render: Render) -> Path:
    """A project, committed, with noisy digits."""
    project = render(datasets=["digits"])
    (project / "src" / "my_project" / "data_modules" / "noisy.py").write_text(NOISY)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Start")
    return project


@pytest.fixture
def noisy_project(noisy_original: Path, tmp_path: Path) -> Path:
    """A copy of it for one test to work in."""
    return shutil.copytree(noisy_original, tmp_path / "my-project")


def runs(project: Path, name: str) -> list[Path]:
    """Return the directories of the runs of a name, the oldest first."""
    return sorted((project / "logs" / name).iterdir())


def fit(project: Path, *options: str) -> Path:
    """Train and return the run's directory."""
    output = succeed(project, "fit", *DATA, *SHORT, *options)
    (line,) = [line for line in output.splitlines() if line.startswith("Run directory: ")]
    return project / line.removeprefix("Run directory: ")


def load(directory: Path, which: str = "last") -> Any:
    """Load a checkpoint without running any code that may be in it."""
    return torch.load(directory / "checkpoints" / f"{which}.ckpt", weights_only=True)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
