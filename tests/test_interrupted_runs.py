"""Killed, stopped and cut short: a run goes on and ends with the same weights."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import fail, run_warm, succeed
from helpers.run_files import record
from helpers.runs import DATA, NOISY, QUIET, SHORT, fit, load, rows, runs
from helpers.server import Server

KILLS = 20


def assert_same(one: Path, other: Path) -> None:
    """Assert that two runs ended with the same weights, to the bit, and with the same metrics."""
    for which in ("best", "last"):
        first, second = (load(directory, which)["state_dict"] for directory in (one, other))
        assert first.keys() == second.keys()
        different = [key for key, value in first.items() if not torch.equal(value, second[key])]
        assert not different, which
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


LONG = (
    *DATA,
    *QUIET,
    "--trainer.max_epochs=5",
    "--trainer.limit_train_batches=12",
    "--trainer.log_every_n_steps=7",
)


# Before each file that a run replaces, in its first epoch and in a later one
MOMENTS = [
    *(f"{name} 1" for name in ("config.yaml", "code.patch", "run.json")),
    *(f"{name} 1" for name in ("best.ckpt", "next.ckpt", "metrics.csv", "last.ckpt")),
    *(f"{name} 2" for name in ("best.ckpt", "next.ckpt", "metrics.csv", "last.ckpt")),
]


@pytest.fixture(scope="module")
def whole(noisy_original: Path) -> Path:
    """The directory of a run that was never stopped."""
    succeed(noisy_original, "fit", *LONG, "--name=whole")
    (directory,) = runs(noisy_original, "whole")
    return directory


def begun(project: Path, name: str) -> list[Path]:
    """Return the directories of the runs of a name that have begun."""
    return [path.parent for path in project.glob(f"logs/{name}/*/config.yaml")]


def test_killed_before_each_file_that_it_writes_a_run_ends_with_the_same_weights(
    noisy_original: Path, whole: Path
) -> None:
    command = ["fit", *LONG, "--name=killed"]
    for moment in MOMENTS:
        done = run_warm(noisy_original, *command, KILL_AT=moment)
        assert done.returncode == -signal.SIGKILL, f"{moment}: {done.stderr}"
        if begun(noisy_original, "killed"):
            command = ["fit", "--run=killed", *QUIET]
    succeed(noisy_original, *command)
    (directory,) = begun(noisy_original, "killed")
    assert_same(whole, directory)
    assert record(directory)["status"] == "finished"
    assert [entry["status"] for entry in record(directory)["commands"]].count("running") <= len(
        MOMENTS
    )


def ended_by(signum: int) -> int:
    """Return the exit status of a training that a signal ended: by SIGINT itself, as Python ends by it."""
    return -signum if signum == signal.SIGINT else 128 + signum


def stop(
    warm: Server, project: Path, wait: float, signum: signal.Signals, *args: str
) -> subprocess.CompletedProcess[str]:
    """Start a command, and send it a signal after some seconds."""
    process = warm.start(project, *args)
    time.sleep(wait)
    process.send_signal(signum)  # does nothing where it has ended
    output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def test_a_killed_run_whose_checkpoints_are_gone_is_not_trained_anew(noisy_project: Path) -> None:
    """Not even by a record of an earlier release, which does not count epochs."""
    run_warm(noisy_project, "fit", *LONG, "--name=gone", KILL_AT="next.ckpt 3")
    (directory,) = runs(noisy_project, "gone")
    (entry,) = record(directory)["commands"]
    assert (entry["status"], entry["end"], entry["epochs"]) == ("running", None, 1)
    assert entry["seen"] >= entry["start"]

    checkpoints = directory / "checkpoints"
    (checkpoints / "last.ckpt").unlink()
    resumed = shutil.copytree(directory, directory.parent / "resumed")
    output = succeed(noisy_project, "fit", "--run=resumed", *QUIET)
    assert "last.ckpt is missing: best.ckpt takes its place" in output
    assert rows(resumed)[: len(rows(directory))] == rows(directory)

    shutil.rmtree(checkpoints)
    metrics = (directory / "metrics.csv").read_bytes()
    of_earlier_release = record(directory)
    del of_earlier_release["commands"][0]["epochs"]
    for said in (record(directory), of_earlier_release):
        (directory / "run.json").write_text(json.dumps(said))
        line = fail(noisy_project, "fit", f"--run={directory.name}", *QUIET)
        assert line.endswith("its checkpoints are gone: leave out --run for a new run")
        assert (directory / "metrics.csv").read_bytes() == metrics


@pytest.mark.sweep  # of the moments of the test before the last one
def test_killed_at_random_moments_a_run_ends_with_the_same_weights(
    warm: Server, noisy_original: Path
) -> None:
    longer = (*LONG, "--trainer.max_epochs=15", "--trainer.limit_train_batches=40")
    succeed(noisy_original, "fit", *longer, "--name=longer")
    (whole,) = runs(noisy_original, "longer")
    moments, kills, number = random.Random(0), 0, 0
    while kills < KILLS:
        number += 1
        name = f"random{number}"
        command = ["fit", *longer, f"--name={name}"]
        while True:
            wait = moments.uniform(0.2, 2.5) if kills < KILLS else 1000
            done = (
                stop(warm, noisy_original, wait, signal.SIGKILL, *command)
                if wait < 1000
                else run_warm(noisy_original, *command)
            )
            if done.returncode != -signal.SIGKILL:
                break
            kills += 1
            if begun(noisy_original, name):
                command = ["fit", f"--run={name}", *QUIET]
        assert done.returncode == 0, done.stderr
        (directory,) = begun(noisy_original, name)
        assert_same(whole, directory)
        assert record(directory)["status"] == "finished"
    print(f"{kills} kills of {number} runs")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_marks_the_run_which_goes_on_within_the_epoch(
    noisy_original: Path, whole: Path, signum: signal.Signals
) -> None:
    name = f"stopped{int(signum)}"
    command = ["fit", *LONG, f"--name={name}"]
    for batch, total in ((17, 17), (8, 25), (18, 43)):  # each amidst an epoch
        done = run_warm(noisy_original, *command, SIGNAL_AT=f"{int(signum)} {batch}")
        assert done.returncode == ended_by(signum), done.stderr
        (directory,) = runs(noisy_original, name)
        assert (
            f"The training is interrupted. fit --run {directory.name} continues it."
            in done.stderr + done.stdout
        )
        assert "Traceback" not in done.stderr
        assert record(directory)["status"] == "interrupted"
        assert load(directory)["global_step"] == total
        command = ["fit", f"--run={name}", *QUIET]
    succeed(noisy_original, *command)
    assert_same(whole, directory)
    assert record(directory)["status"] == "finished"


GROUP = (
    *DATA,
    *QUIET,
    "--trainer.accumulate_grad_batches=3",
    "--trainer.limit_train_batches=10",
    "--trainer.log_every_n_steps=1",
    "--trainer.max_epochs=3",
)


@pytest.fixture(scope="module")
def accumulated(noisy_original: Path) -> Path:
    """The directory of a run that accumulates gradients, and was never stopped."""
    succeed(noisy_original, "fit", *GROUP, "--name=never")
    (directory,) = runs(noisy_original, "never")
    return directory


@pytest.mark.parametrize(
    ("signum", "step", "saved"),
    [(15, 3, 6), (15, 9, 10), (2, 5, 6)],  # the one of the last batch: that epoch again
)
def test_no_gradients_of_a_group_that_is_accumulated_are_lost(
    noisy_original: Path, accumulated: Path, signum: int, step: int, saved: int
) -> None:
    name = f"part{step}"
    done = run_warm(
        noisy_original, "fit", *GROUP, f"--name={name}", SIGNAL_AT=f"{signum} {11 + step}"
    )
    assert done.returncode == ended_by(signum), done.stderr
    (part,) = runs(noisy_original, name)
    progress = load(part)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    assert progress == saved
    output = succeed(noisy_original, "fit", f"--run={name}", *QUIET)
    assert "Warning" not in output and "resumable" not in output
    assert_same(accumulated, part)


def test_ctrl_c_before_the_training_ends_without_a_traceback(noisy_project: Path) -> None:
    module = noisy_project / "src" / "my_project" / "data_modules" / "noisy.py"
    module.write_text(
        NOISY + "\n    def __init__(self) -> None:\n        raise KeyboardInterrupt\n"
    )
    done = run_warm(noisy_project, "fit", *DATA, *SHORT, "--name=not-begun")
    assert done.returncode == ended_by(signal.SIGINT) and "Traceback" not in done.stderr
    assert not (noisy_project / "logs" / "not-begun").exists()


@pytest.mark.parametrize("command", ["fit", "test"])
def test_ctrl_c_outside_of_the_batches_of_a_training_ends_by_its_signal(
    noisy_project: Path, command: str
) -> None:
    module = noisy_project / "src" / "my_project" / "data_modules" / "noisy.py"
    module.write_text(
        f"{NOISY}\n    def setup(self, stage: str) -> None:\n        raise KeyboardInterrupt\n"
    )
    options = ("--allow_untrained=true",) if command == "test" else ()
    done = run_warm(noisy_project, command, *DATA, *QUIET, *options, "--name=set-up")
    assert done.returncode == ended_by(signal.SIGINT), done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_loop_of_the_shell_too(noisy_project: Path) -> None:
    """A shell ends a loop with a command that the signal itself has ended, but not with one of status 130."""
    words = shlex.join([*DATA, *QUIET, "--trainer.max_epochs=500", "--name=looped"])
    python = shlex.quote(sys.executable)
    loop = f"for i in 1 2; do {python} src/main.py fit {words}; echo after $?; done"
    shell = subprocess.Popen(
        ["bash", "-c", loop],
        cwd=noisy_project,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(noisy_project.glob("logs/looped/*/checkpoints/last.ckpt")):
        assert shell.poll() is None, shell.communicate()
        time.sleep(0.1)
    os.killpg(shell.pid, signal.SIGINT)  # as a terminal does it
    output, errors = shell.communicate()
    assert "after" not in output, output
    assert "Traceback" not in errors, errors
    (directory,) = runs(noisy_project, "looped")
    assert record(directory)["status"] == "interrupted"


@pytest.mark.parametrize("schedule", ["epoch", "plateau"])
def test_schedules_go_on_as_if_never_stopped(noisy_project: Path, schedule: str) -> None:
    schedulers = {
        "epoch": ("torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size=1"),
        "plateau": (
            "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "--model.lr_scheduler.patience=0",
        ),
    }
    name, argument = schedulers[schedule]
    options = (
        f"--model.lr_scheduler={name}",
        argument,
        "--checkpoint.monitor=val/loss",
        "--checkpoint.mode=max",
    )
    never = fit(noisy_project, "--name=never", "--trainer.max_epochs=4", *options)
    part = fit(noisy_project, "--name=part", "--trainer.max_epochs=2", *options)
    succeed(noisy_project, "fit", "--run=part", "--trainer.max_epochs=4", *QUIET)
    assert_same(never, part)
    rates = [
        load(directory)["optimizer_states"][0]["param_groups"][0]["lr"]
        for directory in (never, part)
    ]
    assert rates[0] == rates[1] < 0.001, "it has been reduced"
