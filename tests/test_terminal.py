"""What a person sees in a terminal, and what a job leaves in its log file."""

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest
import torch
from helpers.commands import DIGITS

# A data module whose epochs take seconds, so that the bar has something to show within them
SLOW = """
import time

import torch

from .digits import DigitsDataModule


class SlowDataModule(DigitsDataModule):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        time.sleep(0.1)
        return super().on_after_batch_transfer(batch, dataloader_idx)
"""
SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=40",
    "--trainer.limit_val_batches=2",
)
DIVERGE = ("--model.lr_scheduler=null", "--model.optimizer.lr=1e30")
FIT = ("fit", *DIGITS, "--data=my_project.data_modules.slow.SlowDataModule", *SHORT)


@pytest.fixture
def slow_project(project: Path) -> Path:
    (project / "src" / "my_project" / "data_modules" / "slow.py").write_text(SLOW)
    return project


def in_a_terminal(project: Path, *args: str) -> str:
    """Run the command in a pseudo-terminal of 120 columns, and return all that it writes there."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TERM": "xterm-256color"}
    child = pexpect.spawn(
        sys.executable,
        ["src/main.py", *args],
        300,
        cwd=project,
        env=env,
        dimensions=(40, 120),
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    output = str(child.before)
    assert child.exitstatus == 0, output
    return output


def positions(output: str, description: str) -> list[int]:
    """Return the batches that a bar has shown, such as 12 of `Epoch 0:  30%|███ | 12/40 [...]`."""
    return [
        int(found)
        for found in re.findall(rf"{description}[^|\r\n]*\|[^|\r\n]*\| *(\d+)/\d+ ", output)
    ]


def test_the_bar_moves_within_an_epoch(slow_project: Path) -> None:
    output = in_a_terminal(slow_project, *FIT, "--name=slow")
    shown = positions(output, "Epoch 0")
    within = {position for position in shown if 0 < position < 40}
    assert len(within) >= 4, output
    assert shown == sorted(shown)
    assert shown[-1] == 40
    assert "v_num" not in output
    assert "modules in eval mode" in output.lower() and "flops" not in output.lower()
    assert "already configured" not in output


def test_the_bar_moves_in_a_test_and_a_prediction(slow_project: Path) -> None:
    in_a_terminal(slow_project, *FIT, "--name=slow")
    for command, description in (("test", "Testing"), ("predict", "Predicting")):
        output = in_a_terminal(slow_project, command, "--run=slow", "--data.batch_size=10")
        shown = positions(output, description)
        assert len({position for position in shown if 0 < position < 36}) >= 3, output
        assert shown[-1] == 36


def lines_of(text: str) -> Iterator[str]:
    return (line for line in re.split(r"[\r\n]+", text) if line.strip())


def test_a_log_file_has_few_lines_of_the_bar(slow_project: Path, tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with log.open("w") as file:
        command = [sys.executable, "src/main.py", *FIT]
        subprocess.run(command, cwd=slow_project, stdout=file, stderr=subprocess.STDOUT, check=True)
    bars = [line for line in lines_of(log.read_text()) if line.startswith("Epoch 0")]
    assert 1 <= len(bars) <= 8, bars
    assert len(set(positions(log.read_text(), "Epoch 0"))) <= 3


def use_as_terminal() -> None:
    """Make the standard input of a new session its terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_terminal_that_is_closed_saves_and_marks_the_run(
    slow_project: Path, workers: int
) -> None:
    terminal, side = os.openpty()
    termios.tcsetwinsize(side, (40, 120))
    process = subprocess.Popen(
        [sys.executable, "src/main.py", *FIT, f"--data.num_workers={workers}"],
        cwd=slow_project,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        preexec_fn=use_as_terminal,
    )
    os.close(side)
    output = ""
    while max(positions(output, "Epoch 0"), default=0) < 2:
        output += os.read(terminal, 10_000).decode(errors="replace")
    os.close(terminal)
    assert process.wait(timeout=300) == 128 + signal.SIGTERM
    (record,) = slow_project.glob("logs/default/*/run.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    saved = torch.load(record.parent / "checkpoints" / "last.ckpt", weights_only=True)
    assert 2 <= saved["global_step"] < 40


@pytest.mark.parametrize("ending", ["error", "Ctrl-C"])
def test_what_is_said_after_the_bar_begins_a_line(slow_project: Path, ending: str) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["src/main.py", *FIT, *(DIVERGE if ending == "error" else ())],
        300,
        cwd=slow_project,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TERM": "xterm-256color"},
        dimensions=(40, 120),
        encoding="utf-8",
    )
    screen = pyte.Screen(120, 400)
    stream = pyte.Stream(screen)
    child.expect(r"Epoch 0[^\r\n]*\| *[1-9]\d*/40 ")
    stream.feed(str(child.before) + str(child.after))
    if ending == "Ctrl-C":
        child.sendcontrol("c")
    child.expect(pexpect.EOF)
    stream.feed(str(child.before))
    child.close()
    shown = [line.rstrip() for line in screen.display if line.strip()]
    said = "error: training has diverged" if ending == "error" else "The training is interrupted"
    assert [line for line in shown if said in line], "\n".join(shown[-12:])
    (line,) = [line for line in shown if said in line]
    assert line.startswith(said), shown[-8:]
    assert "Received SIGTERM" not in "".join(shown)


def test_the_bar_ends_with_the_metrics_of_the_last_epoch(slow_project: Path) -> None:
    fast = ("fit", *DIGITS, *SHORT, "--name=fast", "--trainer.limit_val_batches=1.0")
    output = in_a_terminal(slow_project, *fast, "--trainer.max_epochs=2")
    last = [line for line in lines_of(output) if line.startswith("Epoch 1")][-1]
    (metrics,) = slow_project.glob("logs/fast/*/metrics.csv")
    rows = [row for row in csv.DictReader(metrics.read_text().splitlines()) if row["train/acc"]]
    for name in ("train/acc", "val/acc"):
        (shown,) = re.findall(rf"{name}=([\d.]+)", last)
        assert float(shown) == pytest.approx(float(rows[-1][name]), abs=5e-4)


def test_the_bar_ends_where_the_training_ends(slow_project: Path) -> None:
    output = in_a_terminal(slow_project, "fit", *DIGITS, *SHORT, "--trainer.max_steps=7")
    assert positions(output, "Epoch 0")[-1] == 7, output


def test_the_bar_of_an_epoch_that_is_resumed_within_has_its_length(slow_project: Path) -> None:
    stop = ("--trainer.max_steps=20", "--name=stopped", "--model.lr_scheduler=null")
    in_a_terminal(slow_project, *FIT, *stop)
    output = in_a_terminal(slow_project, "fit", "--run=stopped", "--trainer.max_steps=-1")
    shown = positions(output, "Epoch 0")
    assert next(position for position in shown if position) > 20 and shown[-1] == 40, output
    assert re.search(r"^Run directory: ", output, re.MULTILINE), output
