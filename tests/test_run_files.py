"""What a command leaves in a run's directory: only what the command is for changes, and whole or not at all."""

import csv
import json
import os
import shutil
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import DIGITS, fail, python, run_warm, succeed
from helpers.template import Render

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)

# A callback that fails, interrupts or kills its process in a hook that the environment names
TROUBLE = """
import os
import signal

from lightning.pytorch import Callback


def trouble(*_):
    if os.environ["TROUBLE"] == "error":
        raise RuntimeError("planted")
    os.kill(os.getpid(), getattr(signal, os.environ["TROUBLE"]))


class Trouble(Callback):
    def __init__(self):
        setattr(self, os.environ.get("HOOK", "nothing"), trouble)
"""


@pytest.fixture(scope="module")
def trained(render: Render) -> Path:
    project = render(datasets=["digits"], package_name="my_project")
    (project / "src" / "my_project" / "callbacks" / "trouble.py").write_text(TROUBLE)
    succeed(project, "fit", *DIGITS, *QUICK, "--name=e", "--test_after_fit=true")
    return project


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "my-project")


def directory(project: Path) -> Path:
    (found,) = project.glob("logs/e/*")
    return found


def contents(project: Path) -> dict[str, bytes]:
    run_directory = directory(project)
    paths = [path for path in run_directory.rglob("*") if path.is_file()]
    return {path.relative_to(run_directory).as_posix(): path.read_bytes() for path in paths}


EVENTS = ["error", "SIGINT", "SIGTERM", "SIGKILL"]
HOOKS = {
    "validate": ["on_validation_start", "on_validation_batch_end", "on_validation_end"],
    "test": ["setup", "on_test_start", "on_test_batch_end", "on_test_end"],
    "predict": ["on_predict_start", "on_predict_batch_end"],
}
TROUBLES = [
    (command, hook, event) for command, hooks in HOOKS.items() for hook in hooks for event in EVENTS
]


@pytest.mark.parametrize(("command", "hook", "event"), TROUBLES)
def test_an_evaluation_that_ends_badly_changes_its_entry_in_the_record_alone(
    project: Path, command: str, hook: str, event: str
) -> None:
    before = contents(project)
    trouble = "--trainer.callbacks+=my_project.callbacks.trouble.Trouble"
    done = run_warm(project, command, "--run=e", trouble, HOOK=hook, TROUBLE=event)
    assert (
        done.returncode != 0 or event == "SIGTERM"
    )  # after which an evaluation may still be finished
    after = contents(project)
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"run.json"}
    added = after.keys() - before.keys()
    assert all(name.startswith(("lightning_logs", "events.", "predictions")) for name in added), (
        added
    )
    record, old = json.loads(after["run.json"]), json.loads(before["run.json"])
    assert record["status"] == old["status"] == "finished"
    assert record["metrics"] == old["metrics"]


def test_a_refused_evaluation_changes_nothing(project: Path) -> None:
    before = contents(project)
    for args in (
        ("predict", "--run=e", "--trainer.limit_predict_batches=0.0001"),
        ("test", "--run=e", "--data.batch_size=0"),
        ("validate", "--run=e", "--model.nothing=1"),
    ):
        assert run_warm(project, *args).returncode == 1
        after = contents(project)
        assert {name for name in before if after.get(name) != before[name]} <= {"run.json"}
        assert json.loads(after["run.json"])["metrics"] == json.loads(before["run.json"])["metrics"]


OF_SOMETHING_ELSE = {
    "test": ["--ckpt_path=last"],
    "validate": ["--data.split_seed=3"],
    "predict": ["--trainer.limit_predict_batches=1"],
}


def test_the_results_of_something_else_do_not_replace_those_of_the_run(project: Path) -> None:
    """Of another checkpoint, other data, or a part of the data."""
    succeed(project, "predict", "--run=e")
    before = contents(project)
    for command, options in OF_SOMETHING_ELSE.items():
        output = succeed(project, command, "--run=e", "--trainer.logger=false", *options)
        assert "Not the run's own results, which stay as they are: " in output
    after = contents(project)
    assert {name for name in before if after[name] != before[name]} == {"run.json"}
    (predictions,) = [name for name in after.keys() - before.keys() if name.endswith(".csv")]

    own, record = json.loads(before["run.json"]), json.loads(after["run.json"])
    assert record["metrics"] == own["metrics"]
    tested, validated, predicted = record["commands"][-3:]
    assert (tested["checkpoint"], tested["changes"]) == ("checkpoints/last.ckpt", {})
    assert tested["metrics"].keys() == {"test/acc", "test/f1", "test/loss"}
    assert validated["checkpoint"] == "checkpoints/best.ckpt"
    assert validated["changes"] == {"data.split_seed": 3}
    assert validated["metrics"]["val/loss"] != own["metrics"]["val/loss"]
    assert predicted["changes"] == {"trainer.limit_predict_batches": 1}
    assert predictions == f"{predicted['directory']}/predictions.csv"

    output = succeed(project, "test", "--run=e", "--data.batch_size=7", "--trainer.logger=false")
    assert "Not the run's own" not in output, "the size of a batch does not matter"


def test_the_files_of_a_csv_logger_survive_every_later_command(project: Path) -> None:
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs")
    succeed(project, "fit", *DIGITS, *QUICK, *logger, "--name=c", "--trainer.log_every_n_steps=1")
    (directory,) = project.glob("logs/c/*")
    before = (directory / "csv" / "metrics.csv").read_bytes()
    assert len(list(csv.DictReader(before.decode().splitlines()))) > 1
    succeed(project, "test", "--run=c")
    succeed(project, "fit", "--run=c", "--trainer.max_epochs=2", "--model.lr_scheduler=null")
    assert (directory / "csv" / "metrics.csv").read_bytes() == before
    rows = (directory / "csv_2" / "metrics.csv").read_text()
    assert "test/acc" in rows


def test_a_line_says_that_a_run_has_no_provenance(project: Path) -> None:
    origin = project / "src" / "my_project" / "engine" / "origin.py"
    origin.write_text("import nothing_of_this_name\n")
    output = succeed(project, "fit", *DIGITS, *QUICK, "--name=nowhere", "--trainer.logger=false")
    assert "engine/origin.py failed: run.json will not say where the run comes from" in output


def test_a_checkpoint_that_cannot_be_continued_from_is_refused_in_a_line(project: Path) -> None:
    checkpoint: dict[str, Any] = torch.load(directory(project) / "checkpoints" / "last.ckpt")
    weights = {key: checkpoint[key] for key in ("state_dict", "pytorch-lightning_version")}
    torch.save(weights | {"epoch": 1, "global_step": 3}, project / "weights.ckpt")
    lines = {
        "weights.ckpt": "weights.ckpt holds weights alone",
        f"file://{project}/weights.ckpt": "the checkpoint holds weights alone",
        f"file://{project}/none.ckpt": f"there is no checkpoint file://{project}/none.ckpt",
        "s4://bucket/x.ckpt": "checkpoint s4://bucket/x.ckpt cannot be read: Protocol not known",
    }
    for path, line in lines.items():
        options = (f"--ckpt_path={path}", "--name=refused", "--trainer.logger=false")
        assert fail(project, "fit", *DIGITS, *QUICK, *options).startswith(line)
    succeed(project, "test", *DIGITS, "--ckpt_path=weights.ckpt", "--trainer.logger=false")


def is_mounted(folder: Path, size: str) -> bool:
    """Mount a small file system of memory on a folder, and return whether that is permitted here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None
        and subprocess.run(command, capture_output=True).returncode == 0
    )


def test_a_full_disk_ends_in_a_line_and_leaves_no_half_checkpoint(
    project: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "small"
    logs.mkdir()
    if not is_mounted(logs, "250k"):
        pytest.skip("file systems cannot be mounted here")
    try:
        options = (
            "--trainer.max_epochs=3",
            "--trainer.logger=false",
            f"--trainer.default_root_dir={logs}",
        )
        done = run_warm(project, "fit", *DIGITS, *QUICK, *options, "--name=full")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr, done.stderr
        assert "No space left" in done.stderr
        for checkpoint in logs.rglob("*.ckpt"):
            torch.load(checkpoint, weights_only=True)
        assert not list(logs.rglob("*.part"))
    finally:
        subprocess.run(["umount", str(logs)], check=True)


def test_a_read_only_run_is_refused_in_a_line(project: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    if not is_mounted(logs, "2m"):
        pytest.skip("file systems cannot be mounted here")
    advice = "is read-only. Copy it to a place that you can write to, and name the copy with --run."
    try:
        shutil.copytree(project / "logs", logs, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(logs)], check=True)
        for command in ("fit", "test"):
            line = fail(project, command, "--run=e", f"--trainer.default_root_dir={logs}")
            assert line.endswith(advice)
    finally:
        subprocess.run(["umount", str(logs)], check=True)


THREAD = """
import threading

from lightning.pytorch import Callback


def write():
    raise OSError(28, "No space left on device")


class Thread(Callback):
    def on_train_start(self, *args):
        thread = threading.Thread(target=write, name="writer")
        thread.start()
        thread.join()
        raise OSError(28, "No space left on device")
"""


def test_a_full_disk_for_the_thread_of_a_logger_is_no_traceback(project: Path) -> None:
    (project / "src" / "my_project" / "callbacks" / "thread.py").write_text(THREAD)
    callback = "--trainer.callbacks+=my_project.callbacks.thread.Thread"
    line = fail(project, "fit", *DIGITS, *QUICK, callback, "--name=thread")
    assert line == "[Errno 28] No space left on device"


def test_a_full_temporary_folder_does_not_end_training(project: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    if not is_mounted(temporary, "4k"):
        pytest.skip("file systems cannot be mounted here")
    try:
        (temporary / "full").write_bytes(b"0" * 4096)
        command = [
            python(),
            "src/main.py",
            "fit",
            *DIGITS,
            *QUICK,
            "--name=t",
            "--trainer.logger=false",
        ]
        env = {**os.environ, "TMPDIR": str(temporary), "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)
    finally:
        subprocess.run(["umount", str(temporary)], check=True)
    (best,) = project.glob("logs/t/*/checkpoints/best.ckpt")
    torch.load(best, weights_only=True)


KILLED = """
import os
import signal

import torch

save = torch.save


def half(checkpoint, file, *args, **kwargs):
    save(checkpoint, file, *args, **kwargs)
    if "best" in str(getattr(file, "name", file)) and os.environ.get("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)


torch.save = half
"""


def test_a_checkpoint_is_complete_or_not_there(project: Path) -> None:
    """The process is killed when the content is written, and the file does not have its name yet."""
    (project / "src" / "my_project" / "callbacks" / "killed.py").write_text(
        f"{KILLED}\nfrom lightning.pytorch import Callback\n\n\nclass Killed(Callback):\n    pass\n"
    )
    killer = "--trainer.callbacks+=my_project.callbacks.killed.Killed"
    done = run_warm(project, "fit", *DIGITS, *QUICK, "--name=k", killer, KILL="1")
    assert done.returncode == -signal.SIGKILL
    assert not list(project.glob("logs/k/*/checkpoints/best.ckpt"))
    succeed(project, "fit", "--run=k")
    (best,) = project.glob("logs/k/*/checkpoints/best.ckpt")
    state: dict[str, Any] = torch.load(best, weights_only=True)
    assert state["state_dict"]


IDIOMS = """
from pathlib import Path

import torch
from lightning.pytorch import Callback


class Idioms(Callback):
    def on_train_end(self, trainer, pl_module):
        for logger in pl_module.loggers:
            logger.experiment.add_image("first", torch.zeros(1, 8, 8), trainer.global_step)
            (Path(logger.save_dir) / "picture.txt").write_text("")
        (Path(trainer.log_dir) / "note.txt").write_text("")
"""


@pytest.mark.parametrize("logger", ["false", "TensorBoardLogger"])
def test_what_one_writes_for_lightnings_loggers_works_with_the_metrics_file(
    project: Path, logger: str
) -> None:
    (project / "src" / "my_project" / "callbacks" / "idioms.py").write_text(IDIOMS)
    callback = "--trainer.callbacks+=my_project.callbacks.idioms.Idioms"
    save_dir = ["--trainer.logger.save_dir=logs"] if logger != "false" else []
    options = (callback, f"--trainer.logger={logger}", *save_dir, "--name=idioms")
    succeed(project, "fit", *DIGITS, *QUICK, *options)
    (found,) = project.glob("logs/idioms/*")
    assert {"picture.txt", "note.txt"} <= {path.name for path in found.iterdir()}


@pytest.mark.parametrize("event", ["error", "SIGINT"])
def test_a_test_after_fit_that_ends_badly_leaves_a_finished_training(
    project: Path, event: str
) -> None:
    trouble = "--trainer.callbacks+=my_project.callbacks.trouble.Trouble"
    options = (trouble, "--test_after_fit=true", "--name=t", "--trainer.logger=false")
    done = run_warm(
        project, "fit", *DIGITS, *QUICK, *options, HOOK="on_test_batch_end", TROUBLE=event
    )
    assert done.returncode != 0
    (found,) = project.glob("logs/t/*")
    assert f"The training is finished: test --run {found.name} repeats its test.\n" in done.stderr
    assert "Interrupted" not in done.stderr
    record = json.loads((found / "run.json").read_text())
    assert (record["status"], record["error"]) == ("finished", None)
    (command,) = record["commands"]
    if event == "error":
        assert (command["status"], command["error"]) == ("failed", "test: RuntimeError: planted")
    else:
        assert command["status"] == "interrupted"
    succeed(project, "test", "--run=t", TROUBLE="")
    record = json.loads((found / "run.json").read_text())
    assert [command["status"] for command in record["commands"]][1:] == ["finished"]


EAST = "AAA-14"  # as POSIX has it: 14 hours before UTC
WEST = "BBB+11"  # 11 hours after it
LAST = """
from pathlib import Path

from my_project.engine.runs import find_run

print(find_run("last", Path("logs")))
"""


def in_zone(project: Path, zone: str, *args: str) -> str:
    """Run a command in a time zone, see it succeed, and return what it prints."""
    done = run_warm(project, *args, TZ=zone, PYTHONPATH="src")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_newest_run_is_the_last_one_in_every_time_zone(project: Path) -> None:
    """Also beside a run of an earlier release, whose id has the local time."""
    shutil.rmtree(project / "logs" / "e")
    for name, zone in (("first", EAST), ("second", WEST)):
        options = (*DIGITS, *QUICK, f"--name={name}", "--trainer.logger=false")
        in_zone(project, zone, "fit", *options)
    (first,) = project.glob("logs/first/*")
    (second,) = project.glob("logs/second/*")
    newest = str(second.relative_to(project))
    assert in_zone(project, WEST, "-c", LAST) == in_zone(project, EAST, "-c", LAST) == newest

    start = datetime.strptime(first.name[:15], "%Y%m%d-%H%M%S") + timedelta(hours=14)
    old = first.rename(first.with_name(f"{start:%Y%m%d-%H%M%S}-518074a3"))
    assert old.name > second.name
    assert in_zone(project, EAST, "-c", LAST) == newest


def test_a_resumed_run_without_its_last_checkpoint_takes_the_best_or_is_refused(
    project: Path,
) -> None:
    longer = ("--trainer.max_epochs=2", "--model.lr_scheduler=null")
    checkpoints = directory(project) / "checkpoints"
    (checkpoints / "last.ckpt").unlink()
    output = succeed(project, "fit", "--run=e", *longer)
    assert "last.ckpt is missing: best.ckpt takes its place" in output
    rows = list(csv.DictReader((directory(project) / "metrics.csv").read_text().splitlines()))
    assert {row["epoch"] for row in rows} == {"0", "1"}
    for checkpoint in checkpoints.iterdir():
        checkpoint.unlink()
    before = contents(project)
    message = fail(project, "fit", "--run=e", *longer)
    assert message.endswith("its checkpoints are gone: leave out --run for a new run")
    assert contents(project) == before
