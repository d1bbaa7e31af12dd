"""Several commands at once, and folders that cannot be written."""

import errno
import os
import shutil
import signal
import subprocess
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.commands import fail, python, succeed
from helpers.run_files import record
from helpers.runs import DATA, QUIET, SHORT, STEPS, load, runs


def begin(project: Path, *options: str) -> subprocess.Popen[str]:
    """Start a long training, `long`, in a process of its own, and wait for its first checkpoint."""
    command = [
        python(),
        "src/main.py",
        "fit",
        *DATA,
        *QUIET,
        "--name=long",
        "--trainer.max_epochs=1000",
        *options,
    ]
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not list(project.glob("logs/long/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def test_a_run_in_training_is_tested_but_not_trained_by_another_process(
    noisy_project: Path,
) -> None:
    """Meanwhile, the training writes signs of life into run.json, as often as this test can see."""
    path = noisy_project / "src" / "my_project" / "engine" / "record.py"
    code = path.read_text()
    path.write_text(code.replace("SIGNS_OF_LIFE = 10.0", "SIGNS_OF_LIFE = 0.02"))
    assert path.read_text() != code
    process = begin(noisy_project, *STEPS)
    (directory,) = runs(noisy_project, "long")
    before = sorted(directory.rglob("*.tfevents*"))
    line = fail(noisy_project, "fit", "--run=long", *QUIET)
    assert (
        line.startswith(f"{directory.relative_to(noisy_project)} is training in another process")
        and "wait" in line
    )
    assert sorted(directory.rglob("*.tfevents*")) == before, "nor has a logger begun"
    for verb in ("test", "validate", "predict"):
        succeed(noisy_project, verb, "--run=long", *QUIET)
    assert record(directory)["status"] == "running"

    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    after = record(directory)
    assert after["status"] == "interrupted" and "test/acc" in after["metrics"]
    commands = [(entry["command"].split()[0], entry["status"]) for entry in after["commands"]]
    others = [(verb, "finished") for verb in ("test", "validate", "predict")]
    assert commands == [("fit", "interrupted"), *others], (
        "neither has overwritten what the other wrote"
    )


def test_after_a_kill_a_run_goes_on_even_if_workers_outlive_it(noisy_project: Path) -> None:
    process = begin(noisy_project, *STEPS, "--data.num_workers=2")
    process.kill()
    process.wait()
    (directory,) = runs(noisy_project, "long")
    assert (directory / ".lock").exists()
    epoch = load(directory)["epoch"]
    succeed(noisy_project, "fit", "--run=long", f"--trainer.max_epochs={epoch + 2}", *QUIET)
    assert not (directory / ".lock").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_runs_are_trained_without(
    noisy_project: Path, code: int
) -> None:
    lockless = f"""
        import fcntl, runpy
        def flock(*_):
            raise OSError({code}, "no locks")
        fcntl.flock = flock
        runpy.run_path("src/main.py", run_name="__main__")
    """
    (noisy_project / "src" / "lockless.py").write_text(textwrap.dedent(lockless))
    for epochs, options in enumerate(
        [(*DATA, *SHORT, *STEPS, "--name=free"), ("--run=free",)], start=1
    ):
        module = ("-m", "lockless", "fit", *options, f"--trainer.max_epochs={epochs}")
        output = succeed(noisy_project, *module, PYTHONPATH="src")
        assert "lock" not in output.replace("lockless", "")
    (directory,) = runs(noisy_project, "free")
    assert load(directory)["epoch"] == 1
    assert not list(directory.glob(".*lock"))


def test_the_processes_of_one_run_are_not_others_to_each_other(noisy_project: Path) -> None:
    two = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp", *STEPS)
    for options in (
        (*DATA, *SHORT, "--name=ddp", "--trainer.max_epochs=1"),
        ("--run=ddp", "--trainer.max_epochs=2"),
    ):
        succeed(noisy_project, "fit", *options, *two)
    assert load(runs(noisy_project, "ddp")[0])["epoch"] == 1


def test_runs_that_start_at_once_have_directories_of_their_own(noisy_project: Path) -> None:
    command = [
        python(),
        "src/main.py",
        "fit",
        *DATA,
        *SHORT,
        "--name=same",
        "--trainer.max_epochs=1",
    ]

    def start(_: int) -> int:
        return subprocess.run(command, cwd=noisy_project, capture_output=True).returncode

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, range(2))) == [0, 0]
    directories = runs(noisy_project, "same")
    assert len(directories) == 2
    for directory in directories:
        assert (
            record(directory)["status"] == "finished" and record(directory)["id"] == directory.name
        )
        assert load(directory)["epoch"] == 0


def test_logs_that_cannot_be_written_are_named(noisy_project: Path) -> None:
    shutil.rmtree(noisy_project / "logs")
    (noisy_project / "logs").write_text("a file where a folder should be")
    line = fail(noisy_project, "fit", *DATA, *SHORT)
    assert "logs" in line and "Not a directory" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_logs_are_named(noisy_project: Path) -> None:
    (noisy_project / "logs").chmod(0o500)
    line = fail(noisy_project, "fit", *DATA, *SHORT)
    assert "logs" in line and "Permission denied" in line
