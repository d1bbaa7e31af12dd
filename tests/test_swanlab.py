"""SwanLab: what it records without an account and without a network, and mistakes with it."""

import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from helpers.commands import DIGITS, fail, run_warm, succeed
from helpers.loggers import (
    EPOCH,
    NAMES,
    ONCE,
    QUIET,
    SHORT,
    TESTED,
    check_parts,
    files,
    flat,
    read_csv,
    shown,
    table,
)
from helpers.swanlab import FOLDER, end_of, metrics_in, needs_swanlab, record_type, records
from helpers.template import Render, git
from PIL import Image

__all__ = ["record_type"]
pytestmark = [needs_swanlab, pytest.mark.usefixtures("logger_accounts")]

ENVIRONMENT = {"PYTHONPATH": str(FOLDER)}

# Without a network, and with hyperparameters as modules log them. STOP says by which signal the training ends.
CALLBACK = """
import os
import signal
import socket

from lightning.fabric.utilities.data import AttributeDict
from lightning.pytorch import Callback


def refuse(*args):
    os._exit(99)


class Watch(Callback):
    def __init__(self):
        socket.socket.connect = refuse

    def on_fit_start(self, trainer, module):
        trainer.logger.log_hyperparams(AttributeDict(mine=7))

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 22 and "STOP" in os.environ:
            os.kill(os.getpid(), getattr(signal, os.environ["STOP"]))
"""
WATCH = "--trainer.callbacks+=my_project.callbacks.watch.Watch"


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with SwanLab and TensorBoard, and a remote with a password. Tests add runs of other names."""
    rendered = render(loggers=["swanlab", "tensorboard"], tooling=["report"])
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("swanlab") / "my-project")
    (project / "src" / "my_project" / "callbacks" / "watch.py").write_text(CALLBACK)
    git(project, "init", "--quiet")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    git(project, "remote", "add", "origin", "https://ada:s3cr3t@example.org/x.git")
    return project


class Recorded(NamedTuple):
    """A run that was stopped in its second epoch, resumed and tested, with SwanLab and TensorBoard at once."""

    directory: Path
    commands: list[list[Any]]  # SwanLab's records of each
    tested: dict[str, float]
    new: set[Path]  # files and folders


@pytest.fixture(scope="module")
def recorded(project: Path, record_type: Any) -> Recorded:
    configs = [project / "configs" / name for name in ("default.yaml", "logger/tensorboard.yaml")]
    both = [yaml.safe_load(path.read_text())["trainer"]["logger"] for path in configs]
    (project / "both.yaml").write_text(yaml.safe_dump({"trainer": {"logger": both}}))
    before = files(project)
    options = ("-c", "both.yaml", "--name=exp1", "--trainer.max_epochs=2", WATCH)
    done = run_warm(
        project, "fit", *DIGITS, *EPOCH, *options, cwd=None, STOP="SIGTERM", **ENVIRONMENT
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    directory = project / shown(done.stdout + done.stderr)
    for command in ("fit", "test"):
        output = succeed(project, command, "--run=last", cwd=None, **ENVIRONMENT)
        assert project / shown(output) == directory
    commands = records(directory, record_type)
    return Recorded(directory, commands, table(output), files(project) - before)


def test_three_commands_are_one_swanlab_run(recorded: Recorded) -> None:
    starts = [command[0].start for command in recorded.commands]
    assert [start.id for start in starts] == [recorded.directory.name] * 3
    assert {start.name for start in starts} == {f"exp1/{recorded.directory.name}"}
    assert {start.project for start in starts} == {"my_project"}
    ends = [end_of(command) for command in recorded.commands]
    assert ends == ["CRASHED", "FINISHED", "FINISHED"]


def test_every_metric_is_there_once(recorded: Recorded) -> None:
    metrics = metrics_in(recorded.commands)
    plain, _ = read_csv(recorded.directory)
    assert {name: [step for step, _ in metrics[name]] for name in NAMES} == ONCE
    for name in NAMES:
        assert dict(metrics[name]) == pytest.approx(dict(plain[name]), rel=1e-6), name
    tested = {name: metrics[name][-1][1] for name in TESTED}
    assert tested == pytest.approx(recorded.tested)
    check_parts("tensorboard", recorded.directory, ONCE)


def test_the_configuration_is_there(recorded: Recorded) -> None:
    first = min(recorded.directory.glob("swanlab/run-*"))
    config = yaml.safe_load((first / "files" / "config.yaml").read_text())
    parameters = dict(flat({key: item["value"] for key, item in config.items()}))
    assert parameters["data/init_args/batch_size"] == "32"
    assert parameters["model/init_args/optimizer/init_args/lr"] == "0.01"
    assert parameters["mine"] == "7"


def test_the_pictures_of_the_report_are_there(recorded: Recorded) -> None:
    last = max(recorded.directory.glob("swanlab/run-*"))
    media = [record.media for record in recorded.commands[-1] if record.HasField("media")]
    assert {picture.key for picture in media} == {"test/confusion", "test/most_wrong"}
    for picture in media:
        with (
            Image.open(last / "media" / "image" / picture.value.items[0].filename) as one,
            Image.open(recorded.directory / "report" / f"{picture.key[5:]}.png") as other,
        ):
            assert one.tobytes() == other.tobytes()


def test_all_of_it_lies_in_the_runs_directory_without_the_password_of_a_remote(
    recorded: Recorded,
) -> None:
    assert all(path.is_relative_to(recorded.directory) for path in recorded.new)
    written = [path for path in recorded.new if path.is_file()]
    assert "swanlab-metadata.json" in {path.name for path in written}
    assert not [path for path in written if b"s3cr3t" in path.read_bytes()]


def test_two_commands_of_a_notebook_have_a_swanlab_run_each(
    project: Path, record_type: Any
) -> None:
    code = """
from my_project.cli import CLI

for name in ("first", "second"):
    CLI(["fit", *{options}, f"--name={{name}}"])
"""
    options = [*DIGITS, *SHORT, "--trainer.limit_val_batches=1"]
    module = project / "src" / "my_project" / "twice.py"
    module.write_text(code.format(options=options))
    path = f"{project / 'src'}:{FOLDER}"
    done = run_warm(project, "-m", "my_project.twice", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("first", "second"):
        (directory,) = (project / "logs" / name).iterdir()
        (command,) = records(directory, record_type)
        assert command[0].start.id == directory.name
        assert [step for step, _ in metrics_in([command])["val/loss"]] == [11]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (
            "online",
            "SwanLab has no API key: run swanlab login, or set --trainer.logger.mode offline",
        ),
        ("of", "trainer.logger.mode is of, but must be 'offline' or 'online'"),
    ],
)
def test_a_mode_that_is_impossible_is_said_in_one_line(
    project: Path, mode: str, message: str
) -> None:
    before = files(project)
    options = (*DIGITS, *QUIET, f"--trainer.logger.mode={mode}")
    assert fail(project, "fit", *options, cwd=None, **ENVIRONMENT) == message
    assert files(project) == before


def test_a_missing_swanlab_is_said_in_one_line(project: Path) -> None:
    before = files(project)
    line = fail(project, "fit", *DIGITS, *QUIET)
    assert "No module named 'swanlab'" in line
    assert line.endswith("(is it installed? pip install -e .)")
    assert files(project) == before
