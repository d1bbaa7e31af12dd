"""Helpers of the tests of distributed training."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.commands import python, succeed
from helpers.run_files import run_of
from helpers.template import Render

MLP = ("-c", "configs/data/digits.yaml", "-c", "configs/model/mlp.yaml")


# 1,280 samples for training, so that all have as many; 157 for validation, which do not divide
ALL = (
    *MLP,
    "--data.val_size=157",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.logger=false",
)


# Seconds after which a process is taken to hang. A busy machine needs several times what a quiet one does.
HANGS = 300


QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


# What befalls the process of this rank; to the shell, that one is $PPID.
CALLBACK = """
import os
import subprocess

from lightning.pytorch import Callback


class Event(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 25 and trainer.global_rank == int(os.environ["EVENT_RANK"]):
            subprocess.run(os.environ["EVENT"], shell=True, check=True)
"""


EVENT = "--trainer.callbacks+=my_project.callbacks.own.Event"


@pytest.fixture(scope="module")
def distributed_original(render: Render) -> Path:
    return render(package_name="my_project", models=["mlp"], tooling=["distributed"])


@pytest.fixture
def distributed_project(distributed_original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(distributed_original, tmp_path / "my-project")


def options(strategy: str, processes: int) -> list[str]:
    """Return those of `fit` with the batches of one process, divided among so many."""
    several = [
        "-c",
        f"configs/trainer/{strategy}.yaml",
        "--trainer.accelerator=cpu",
        f"--trainer.devices={processes}",
    ]
    several += [f"--trainer.strategy.processes={processes}"] * (strategy == "fsdp")
    return [*ALL, *QUIET, *several, f"--data.batch_size={64 // processes}"]


def start(
    project: Path, command: list[str], prefix: tuple[str, ...] = (), /, **env: str
) -> subprocess.Popen[str]:
    """Start Python with these arguments, in a group of processes of its own; in another network after a prefix."""
    interpreter = sys.executable if prefix else python()
    return subprocess.Popen(
        [*prefix, interpreter, *command],
        cwd=project,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait until no process is left that could print; return the exit status and the output."""
    try:
        output = process.communicate(timeout=HANGS)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def mistakes(output: str) -> list[str]:
    assert "Traceback" not in output, output
    return [line for line in output.splitlines() if line.startswith("error: ")]


def metrics(project: Path, name: str) -> list[dict[str, float]]:
    with (run_of(project, name) / "metrics.csv").open() as file:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def accuracy(output: str) -> list[str]:
    return [line.split()[3] for line in output.splitlines() if "test/acc" in line]


@pytest.fixture(scope="module")
def trained_alone(
    distributed_original: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, float]], list[str]]:
    """The metrics of one process, and its accuracy in the test."""
    project = shutil.copytree(distributed_original, tmp_path_factory.mktemp("alone") / "my-project")
    output = succeed(
        project,
        "fit",
        *ALL,
        *QUIET,
        "--data.batch_size=64",
        "--name=alone",
        "--test_after_fit=true",
    )
    return metrics(project, "alone"), accuracy(output)
