"""Why a training has ended is printed in one line, and stands in run.json."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, run_warm, succeed
from helpers.template import Render

QUICK = (
    "--trainer.limit_train_batches=10",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
CALLBACK = '''
"""Sends a signal to the training, or ends it, after the third batch."""

import os
from typing import Any

from lightning.pytorch import Callback


class Ending(Callback):
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step < 3:
            return
        if self.kind == "stop":
            trainer.should_stop = True
        elif self.kind == "error":
            raise ValueError("wrong")
        else:
            os.kill(os.getpid(), int(self.kind))
'''
ENDING = "--trainer.callbacks+=my_project.callbacks.ending.Ending"
EARLY = (
    "--trainer.callbacks+=EarlyStopping",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.patience=1",
    "--trainer.callbacks.min_delta=100",  # nothing improves so much
    "--trainer.max_epochs=9",
)


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = render(datasets=["digits"], package_name="my_project")
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("end") / "my-project")
    (folder / "src" / "my_project" / "callbacks" / "ending.py").write_text(CALLBACK)
    return folder


def recorded(project: Path, name: str) -> str:
    (file,) = project.glob(f"logs/{name}/*/run.json")
    return str(json.loads(file.read_text())["stopped"])


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("epochs", ["--trainer.max_epochs=2"], "2 of 2 epochs"),
        ("steps", ["--trainer.max_steps=15"], "15 of 15 steps"),
        ("time", ["--trainer.max_time=00:00:00:00"], "max_time, after 0 steps"),
        (
            "early",
            EARLY,
            "EarlyStopping (Monitored metric val/loss did not improve in the last 1 records. ",
        ),
        (
            "stop",
            [ENDING, "--trainer.callbacks.kind=stop"],
            "trainer.should_stop, which a callback or the module has set, after 3 steps",
        ),
    ],
)
def test_end_of_training_has_its_reason(
    project: Path, name: str, options: list[str], reason: str
) -> None:
    output = succeed(project, "fit", *DIGITS, *QUICK, f"--name={name}", *options)
    lines = [line for line in output.splitlines() if "ended" in line or "stopped" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"The training has ended: {reason}")
    assert lines[0] == f"The training has ended: {recorded(project, name)}"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("2", "Ctrl-C"), ("15", "SIGTERM"), ("1", "a closed terminal"), ("error", "error")],
)
def test_interrupted_and_failed_training_has_its_reason(
    project: Path, kind: str, reason: str
) -> None:
    name = f"signal{kind}"
    options = (f"--name={name}", ENDING, f"--trainer.callbacks.kind={kind}")
    assert run_warm(project, "fit", *DIGITS, *QUICK, *options).returncode != 0
    assert recorded(project, name) == reason


def test_test_keeps_the_reason_and_a_resumed_training_replaces_it(project: Path) -> None:
    options = ("--trainer.max_epochs=1", "--test_after_fit=true", "--model.lr_scheduler=null")
    succeed(project, "fit", *DIGITS, *QUICK, "--name=on", *options)
    assert recorded(project, "on") == "1 of 1 epochs"
    succeed(project, "test", "--run=on")
    assert recorded(project, "on") == "1 of 1 epochs"
    succeed(project, "fit", "--run=on", "--trainer.max_epochs=2")
    assert recorded(project, "on") == "2 of 2 epochs"


def test_reason_of_an_earlier_stop_is_not_that_of_a_resumed_training(project: Path) -> None:
    succeed(project, "fit", *DIGITS, *QUICK, "--name=later", "--model.lr_scheduler=null", *EARLY)
    callbacks = [
        {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 99}},
        {"class_path": "my_project.callbacks.ending.Ending", "init_args": {"kind": "stop"}},
    ]
    config = json.dumps({"trainer": {"callbacks": callbacks}})
    succeed(project, "fit", "--run=later", "-c", config)
    assert recorded(project, "later").startswith("trainer.should_stop, which a callback")
