"""Helpers of the tests of commands: a trained project, and what its runs hold."""

import os
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import DIGITS, run_warm, succeed
from helpers.run_files import load

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


SHORT = "--trainer.max_epochs=1 --trainer.limit_train_batches=2"


ONE_CYCLE = "--model.lr_scheduler OneCycleLR --model.lr_scheduler.max_lr 0.01"


VERBS = ("fit", "validate", "test", "predict")


def start(command: list[str | Path], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run any command in a process of its own, on the CPU."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def started(command: list[str | Path], cwd: Path, **env: str) -> str:
    """Run the command, see it succeed, and return all that it prints."""
    done = start(command, cwd, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def go(project: Path, line: str) -> str:
    """Run a sub-command with options on the digits, see it succeed, and return all that it prints."""
    verb, *options = shlex.split(line)
    return succeed(project, verb, *DIGITS, *QUIET, *options)


def told(output: str, what: str) -> str:
    """Return what the output says of this: the rest of its one line."""
    (found,) = re.findall(rf"^{what}: (.*)$", output, re.M)
    return str(found)


def fit(project: Path, options: str) -> Path:
    """Train and return the run's directory."""
    directory = project / told(go(project, f"fit {options}"), "Run directory")
    assert directory.parent.parent == project / "logs"
    return directory


def refuse(project: Path, *args: str) -> str:
    """Run the command, see it refused in one line without leaving anything behind, and return that line."""
    before = sorted(project.glob("logs/**/*"))
    done = run_warm(project, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    usual = ("Seed set to", "GPU available:", "TPU available:", "Checkpoint:")
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(usual)
    ]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert sorted(project.glob("logs/**/*")) == before
    return lines[0].removeprefix("error: ")


def refuse_digits(project: Path, line: str) -> str:
    """Do so with options on the digits."""
    verb, *options = shlex.split(line)
    return refuse(project, verb, *DIGITS, *QUIET, *options)


def saved(directory: Path) -> Any:
    """Return the configuration in a run's directory."""
    return yaml.safe_load((directory / "config.yaml").read_text())


def only(folder: Path) -> Path:
    """Return the only entry of a folder."""
    (entry,) = folder.iterdir()
    return entry


def best(directory: Path) -> Path:
    return directory / "checkpoints" / "best.ckpt"


def last(directory: Path) -> Path:
    return directory / "checkpoints" / "last.ckpt"


def metric(output: str, name: str) -> float:
    """Return the value of this metric from the table that the output ends with."""
    return float(re.findall(rf"{name}\W+([\d.e-]+|nan)", output)[-1])


def write(project: Path, name: str, code: str) -> None:
    """Write a module of the user's own into the project's package."""
    (project / "src" / "my_project" / name).write_text(textwrap.dedent(code))


WIDE = "--model.net my_project.models.wide.WideNet"  # a network that has an argument


@pytest.fixture(scope="module")
def fitted(default_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run, exp1. Tests add runs of other names, and change nothing else."""
    project = shutil.copytree(default_project, tmp_path_factory.mktemp("fitted") / "my-project")
    fit(project, "--name exp1 --trainer.max_epochs 2")
    write(
        project,
        "models/wide.py",
        """
        from collections.abc import Sequence

        from .simplenet import SimpleNet


        class WideNet(SimpleNet):
            def __init__(self, num_classes: int, input_shape: Sequence[int], in_channels: int = 1) -> None:
                super().__init__(num_classes, (in_channels, *input_shape[1:]))
        """,
    )
    return project


@pytest.fixture(scope="module")
def exp1(fitted: Path) -> Path:
    """The directory of that run."""
    return next(fitted.glob("logs/exp1/*/checkpoints")).parent


# The learning rate of the second epoch is so large that the first epoch's checkpoint is the best.
DIVERGE = (
    "--trainer.max_epochs 2 --model.lr_scheduler StepLR"
    " --model.lr_scheduler.step_size 1 --model.lr_scheduler.gamma 3e3"
)


def scheduler(directory: Path) -> dict[str, Any]:
    """Return the state of the scheduler at the end of a run."""
    (state,) = load(last(directory))["lr_schedulers"]
    assert isinstance(state, dict)
    return state
