"""A run that goes on, was stopped or killed, is one run in each logger."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from helpers.commands import DIGITS, run_warm, succeed
from helpers.loggers import (
    EPOCH,
    LOGGERS,
    ONCE,
    QUIET,
    READ,
    SHORT,
    TESTED,
    check_parts,
    fit,
    fit_and_test,
    mlflow_runs,
    shown,
    table,
)
from helpers.template import sweep

pytestmark = pytest.mark.usefixtures("logger_accounts")


# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


@pytest.mark.parametrize("logger", ["wandb", *sweep("comet", "mlflow", "tensorboard", "csv")])
def test_a_run_goes_on_in_the_loggers_run(all_loggers: Path, logger: str) -> None:
    config = "default.yaml" if logger == LOGGERS[0] else f"logger/{logger}.yaml"
    options = (
        "-c",
        f"configs/{config}",
        "--model.lr_scheduler=null",
        f"--name=on-{logger}",
    )  # OneCycleLR has an end
    directory = fit(all_loggers, *options, *SHORT)
    assert fit(all_loggers, f"--run={directory.name}", "--trainer.max_epochs=2") == directory
    output = succeed(all_loggers, "test", f"--run={directory.name}")
    assert (all_loggers / shown(output)).resolve() == directory

    assert [path for path in directory.parent.iterdir() if path.name != "mlflow"] == [directory]
    check_parts(logger, directory, ONCE)
    check_parts("csv", directory, ONCE)
    metrics, parameters = READ[logger](directory)
    assert {name: metrics[name][-1][1] for name in TESTED} == pytest.approx(table(output))
    assert {name: len(metrics[name]) for name in TESTED} == dict.fromkeys(TESTED, 1)
    assert parameters["model/init_args/optimizer/class_path"] == "torch.optim.AdamW"
    record = json.loads((directory / "run.json").read_text())
    assert [command["status"] for command in record["commands"]] == ["finished"] * 3
    assert {name: record["metrics"][name] for name in TESTED} == pytest.approx(table(output))
    if logger == "mlflow":
        assert mlflow_runs(all_loggers, "on-mlflow").keys() == {directory.name}


@pytest.fixture
def stopping(all_loggers: Path, several_loggers: Path, tmp_path: Path) -> Path:
    """A project whose two short epochs are stopped in the second one, after step 21, by the signal in STOP."""
    project = shutil.copytree(
        all_loggers, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs")
    )
    code = """
import os
import signal

from lightning.pytorch import Callback


class Stop(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 22 and "STOP" in os.environ:
            os.kill(os.getpid(), getattr(signal, os.environ["STOP"]))
"""
    (project / "src" / "my_project" / "callbacks" / "stop.py").write_text(code)
    return project


STOP = "--trainer.callbacks+=my_project.callbacks.stop.Stop"


STOPPING = (*DIGITS, *EPOCH, "-c", "several.yaml", "--name=exp1", "--trainer.max_epochs=2", STOP)


def test_a_run_that_was_stopped_goes_on_in_every_logger(stopping: Path) -> None:
    done = run_warm(stopping, "fit", *STOPPING, STOP="SIGTERM")
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    directory = fit(stopping, "--run=last")
    for logger in LOGGERS:
        check_parts(logger, directory, ONCE)


def test_a_run_that_was_killed_goes_on_in_every_logger(stopping: Path) -> None:
    """What had not been written is lost; what was logged since the last checkpoint is logged again, and is the same."""
    done = run_warm(stopping, "fit", *STOPPING, STOP="SIGKILL")
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    directory = fit(stopping, "--run=last")
    check_parts("csv", directory, ONCE)
    for logger in ("mlflow", "tensorboard"):
        check_parts(logger, directory, ONCE | {"train/loss": [9, 19, 19]})
    assert mlflow_runs(stopping, "exp1").keys() == {directory.name}
    folders = list(directory.glob("wandb/offline-run-*"))
    assert [folder.name.endswith(f"-{directory.name}") for folder in folders] == [True, True]
    keys = [
        path.name.partition("-")[0] for path in directory.glob("comet/*/*.zip")
    ]  # the first is empty
    assert keys == [keys[0]] * 2


def test_a_test_of_a_checkpoint_is_recorded_with_its_run(
    all_loggers: Path, several_loggers: Path
) -> None:
    directory, tested = fit_and_test(all_loggers, "-c", str(several_loggers), "--name=later")
    best = directory / "checkpoints" / "best.ckpt"
    output = succeed(
        all_loggers, "test", *DIGITS, *QUIET, "-c", str(several_loggers), f"--ckpt_path={best}"
    )  # without --name
    assert (all_loggers / shown(output)).resolve() == directory
    assert table(output) == tested
    for logger in LOGGERS:
        metrics, _ = READ[logger](directory)
        assert {name: metrics[name][-1][1] for name in TESTED} == pytest.approx(tested), logger
        assert {len(metrics[name]) for name in TESTED} == {1 if logger == "csv" else 2}, logger
    assert mlflow_runs(all_loggers, "later").keys() == {directory.name}
