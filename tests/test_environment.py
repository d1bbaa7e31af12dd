"""`.env`, warnings, overfitting and precision."""

import os
import re
import sys
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.server import Server
from helpers.trained_project import QUIET, go, started, told, write


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores, or torch takes one thread anyway")
@pytest.mark.parametrize("variable", ["", "2"], ids=["without the variable", "with the variable"])
def test_the_env_file_limits_threads_where_the_environment_does_not(
    project: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        project,
        "callbacks/threads.py",
        """
        import torch
        from lightning.pytorch import Callback, LightningModule, Trainer


        class Threads(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                print(f"Threads: {torch.get_num_threads()}")
        """,
    )
    monkeypatch.delenv("OMP_NUM_THREADS")
    (project / ".env").write_text("OMP_NUM_THREADS=1  # of several\n")
    options = [
        "--trainer.fast_dev_run=true",
        "--trainer.callbacks+=my_project.callbacks.threads.Threads",
    ]
    command: list[str | Path] = [sys.executable, "src/main.py", "fit", *DIGITS, *QUIET, *options]
    output = started(command, project, **({"OMP_NUM_THREADS": variable} if variable else {}))
    assert told(output, "Threads") == (variable or "1")


def test_a_default_run_prints_no_warning(project: Path) -> None:
    output = succeed(project, "fit", *DIGITS, "--trainer.max_epochs=2", "--test_after_fit=true")
    output += succeed(project, "test", *DIGITS) + succeed(project, "predict", *DIGITS)
    assert not re.findall(".*(?:warn|deprecat).*", output, re.I)
    assert "stepping batches" not in output, "nobody can do anything about it"


def test_overfitting_takes_the_same_mixed_batches_in_every_epoch_and_warns_of_nothing(
    project: Path,
) -> None:
    write(
        project,
        "callbacks/labels.py",
        """
        from typing import Any

        from lightning.pytorch import Callback, LightningModule, Trainer


        class Labels(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
                print("Labels:", *batch[1].tolist())

            def on_validation_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
                print("Held out:", *batch[1].tolist())
        """,
    )
    own = "--trainer.callbacks+=my_project.callbacks.labels.Labels"
    options = (
        "--trainer.max_epochs=3",
        "--trainer.overfit_batches=2",
        "--trainer.log_every_n_steps=1",
    )
    output = succeed(project, "fit", *DIGITS, *QUIET, own, *options)
    assert not re.findall(".*(?:warn|shuffl).*", output, re.I)
    for what, times in (("Labels", 3), ("Held out", 4)):  # once more, before the training
        seen = re.findall(f"^{what}: (.*)$", output, re.M)
        assert len(seen) == 2 * times and seen == seen[:2] * times
        assert len(set(seen[0].split())) > 5, "not the first label alone"


@pytest.mark.parametrize("where", ["when it is built", "in training"])
def test_a_warning_of_a_module_of_the_users_own_can_be_ignored(project: Path, where: str) -> None:
    write(
        project,
        "callbacks/warns.py",
        f"""
        import warnings
        from lightning.pytorch import Callback, LightningModule, Trainer


        def warn(here: str) -> None:
            if here == "{where}":
                warnings.warn("Look out")


        class Warns(Callback):
            def __init__(self) -> None:
                warn("when it is built")

            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                warn("in training")
        """,
    )
    options = "--trainer.fast_dev_run true --trainer.callbacks+=my_project.callbacks.warns.Warns"
    assert "UserWarning: Look out" in go(project, f"fit {options}")
    assert "Look out" not in go(project, f"fit {options} --ignore_warnings true")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_images_have_the_precision_of_the_weights(
    project: Path, warm: Server, precision: str
) -> None:
    done = warm.run(
        project, "fit", *DIGITS, f"--trainer.precision={precision}", "--trainer.fast_dev_run=2"
    )
    assert done.returncode == 0, done.stderr
