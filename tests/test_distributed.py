"""Several processes on one machine train as one does."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import succeed
from helpers.distributed import (
    CALLBACK,
    EVENT,
    QUIET,
    accuracy,
    end,
    metrics,
    mistakes,
    options,
    start,
)
from helpers.run_files import record, run_of
from helpers.template import git, sweep

# Draws random numbers, in each process others
NOISY = """
import torch

from .digits import DigitsDataModule


class Noisy(DigitsDataModule):
    def augment(self, images):
        for _ in range(1 + self.trainer.global_rank):
            noise = torch.rand_like(images)
        return images + 0.5 * noise
"""


def train(project: Path, *args: str) -> str:
    """Train, with a first process that starts warmly."""
    return succeed(project, "fit", *args)


def weights(project: Path, name: str) -> dict[str, Any]:
    return dict(
        torch.load(run_of(project, name) / "checkpoints" / "last.ckpt", weights_only=True)[
            "state_dict"
        ]
    )


@pytest.mark.parametrize(
    ("strategy", "processes"), [("ddp", 2), ("fsdp", 2), *sweep(("ddp", 4), ("fsdp", 4))]
)
def test_several_processes_train_as_one_does(
    distributed_project: Path,
    trained_alone: tuple[list[dict[str, float]], list[str]],
    strategy: str,
    processes: int,
) -> None:
    git(distributed_project, "init", "--quiet")
    output = train(
        distributed_project,
        *options(strategy, processes),
        "--name=run",
        "--test_after_fit=true",
        "--git_commit_before_fit=true",
    )
    assert [pytest.approx(row, rel=1e-4) for row in trained_alone[0]] == metrics(
        distributed_project, "run"
    )
    assert accuracy(output) == trained_alone[1]
    assert "Warning" not in output
    assert git(distributed_project, "log", "--format=%s").splitlines() == [
        f"run_{run_of(distributed_project, 'run').name}"
    ], "one commit"
    assert (
        accuracy(
            succeed(
                distributed_project,
                "test",
                "--run=last",
                *QUIET,
                "--trainer.devices=1",
                "--trainer.strategy=auto",
            )
        )
        == (trained_alone[1])
    ), "the checkpoint loads in one process"


@pytest.mark.parametrize(("strategy", "signum", "rank"), [("ddp", "TERM", 1), ("fsdp", "INT", 0)])
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on(
    distributed_project: Path, strategy: str, signum: str, rank: int
) -> None:
    (distributed_project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    (distributed_project / "src" / "my_project" / "data_modules" / "noisy.py").write_text(NOISY)
    noisy = (*options(strategy, 2), "--data=my_project.data_modules.noisy.Noisy")
    train(distributed_project, *noisy, "--name=whole")
    command = ["src/main.py", "fit", *noisy, "--name=part"]
    code, output = end(
        start(
            distributed_project,
            [*command, EVENT],
            EVENT_RANK=str(rank),
            EVENT=f"kill -s {signum} $PPID",
        )
    )
    assert code == {"TERM": 128 + signal.SIGTERM, "INT": -signal.SIGINT}[signum], output
    reason = {"TERM": "a signal to another process", "INT": "Ctrl-C"}[signum]
    assert record(run_of(distributed_project, "part"))["stopped"] == reason
    line = f"The training is interrupted. fit --run {run_of(distributed_project, 'part').name} continues it."
    assert output.count(line) == 1
    checkpoint = torch.load(
        run_of(distributed_project, "part") / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert 25 < checkpoint["global_step"] < 40, "within an epoch"
    train(distributed_project, "--run=part", "--trainer.callbacks=[]")
    whole, part = weights(distributed_project, "whole"), weights(distributed_project, "part")
    assert whole.keys() == part.keys() and all(torch.equal(whole[key], part[key]) for key in whole)
    assert metrics(distributed_project, "whole") == metrics(distributed_project, "part")


@pytest.mark.parametrize("rank", [*sweep(0), 1])
def test_a_process_that_dies_ends_the_others_with_a_line(
    distributed_project: Path, rank: int
) -> None:
    (distributed_project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    command = ["src/main.py", "fit", *options("ddp", 2), "--name=dead", EVENT]
    code, output = end(
        start(distributed_project, command, EVENT_RANK=str(rank), EVENT="kill -s KILL $PPID")
    )
    assert code != 0
    (line,) = mistakes(output)
    assert "another process of this run has ended" in line
