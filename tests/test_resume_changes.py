"""What is changed on resuming: schedules, optimizers, batch size, patience."""

from pathlib import Path
from typing import Any

import pytest
from helpers.commands import fail, succeed
from helpers.resuming import BASE, QUIET, SCHEDULES, TORCH, resume
from helpers.run_files import load, run_of


def fit(project: Path, name: str, *options: str) -> str:
    return succeed(project, *BASE, f"--name={name}", *options)


def last(project: Path, name: str) -> Any:
    return load(run_of(project, name) / "checkpoints" / "last.ckpt")


def rate(project: Path, name: str) -> float:
    (group,) = last(project, name)["optimizer_states"][0]["param_groups"]
    return float(group["lr"])


COSINE = f"--model.lr_scheduler={TORCH}CosineAnnealingLR"


def test_another_schedule_begins_as_if_it_had_been_there_from_the_start(
    resuming_project: Path,
) -> None:
    fit(resuming_project, "other", "--trainer.max_epochs=2", *SCHEDULES["onecycle"])
    changed = (COSINE, "--model.lr_scheduler.T_max=5", "--model.optimizer.lr=0.001")
    output = resume(resuming_project, "other", "--trainer.max_epochs=3", *changed)
    assert "Schedule: CosineAnnealingLR replaces OneCycleLR" in output
    fit(resuming_project, "always", *changed)
    assert rate(resuming_project, "other") == pytest.approx(rate(resuming_project, "always"))


def test_other_arguments_of_a_schedule_are_used(resuming_project: Path) -> None:
    fit(
        resuming_project,
        "arguments",
        "--trainer.max_epochs=2",
        COSINE,
        "--model.lr_scheduler.T_max=3",
    )
    output = resume(
        resuming_project, "arguments", "--trainer.max_epochs=3", "--model.lr_scheduler.T_max=6"
    )
    assert "Schedule: T_max is 6, and was 3" in output
    fit(resuming_project, "always6", COSINE, "--model.lr_scheduler.T_max=6")
    assert rate(resuming_project, "arguments") == pytest.approx(rate(resuming_project, "always6"))
    assert "Schedule" not in resume(resuming_project, "arguments", "--trainer.max_epochs=4")


def test_another_optimizer_starts_without_state(resuming_project: Path) -> None:
    fit(
        resuming_project,
        "optimizer",
        "--trainer.max_epochs=1",
        *SCHEDULES["onecycle"],
        "--trainer.max_epochs=2",
    )
    changed = ("--model.optimizer=SGD", "--model.optimizer.lr=0.01", "--model.lr_scheduler=null")
    output = resume(resuming_project, "optimizer", "--trainer.max_epochs=3", *changed)
    assert "Optimizer: SGD replaces AdamW and starts without state" in output
    assert rate(resuming_project, "optimizer") == 0.01


def test_within_an_epoch_another_batch_size_is_refused(resuming_project: Path) -> None:
    fit(resuming_project, "batches", "--trainer.max_steps=11", *SCHEDULES["constant"])
    changed = ("--trainer.max_steps=-1", "--data.batch_size=16")
    line = fail(resuming_project, "fit", "--run=batches", *QUIET, *changed)
    assert (
        "batch_size" in line
        and "is 16, but 32 in the epoch in which this checkpoint was saved" in line
    )


EARLY = (
    "--trainer.callbacks+=EarlyStopping",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.mode=max",
)


def test_the_patience_that_is_given_counts(resuming_project: Path) -> None:
    fit(
        resuming_project,
        "patience",
        "--trainer.max_epochs=9",
        *EARLY,
        "--trainer.callbacks.patience=1",
    )
    stopped = last(resuming_project, "patience")["epoch"]
    assert "Nothing left to do: EarlyStopping has ended the training" in resume(
        resuming_project, "patience"
    )
    assert last(resuming_project, "patience")["epoch"] == stopped < 8
    config = '[{"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "mode": "max", "patience": 20}}]'
    resume(resuming_project, "patience", f"--trainer.callbacks={config}")
    assert last(resuming_project, "patience")["epoch"] == 8


def test_a_finished_run_says_what_trains_longer(resuming_project: Path) -> None:
    fit(resuming_project, "finished", "--trainer.max_epochs=1", *SCHEDULES["constant"])
    line = "Nothing left to do: 1 of 1 epochs. --trainer.max_epochs 2 trains longer"
    assert line in resume(resuming_project, "finished")
    fit(resuming_project, "cycle", "--trainer.max_epochs=1", *SCHEDULES["onecycle"])
    output = resume(resuming_project, "cycle")
    assert (
        "Nothing left to do: 1 of 1 epochs. OneCycleLR cannot be made longer: --trainer.max_epochs 2"
        in output
    )
    resume(resuming_project, "cycle", "--trainer.max_epochs=2", "--model.lr_scheduler=null")
    assert rate(resuming_project, "cycle") == 0.01


def test_a_learning_rate_beside_a_schedule_that_sets_it_is_told(resuming_project: Path) -> None:
    output = fit(
        resuming_project,
        "told",
        "--trainer.fast_dev_run=true",
        *SCHEDULES["onecycle"],
        "--model.optimizer.lr=5",
    )
    assert "optimizer.lr is 5.0, but has no effect: OneCycleLR sets the learning rate" in output
    assert "--model.lr_scheduler.max_lr changes it" in output


STREAM_DATA = (
    "--data=my_project.data_modules.stream.StreamDataModule",
    "--model=my_project.modules.own.OwnModule",
)


def test_a_schedule_without_a_length_names_max_steps(resuming_project: Path) -> None:
    options = ("--checkpoint.monitor=val/loss", "--checkpoint.mode=min", *SCHEDULES["onecycle"])
    line = fail(resuming_project, "fit", *STREAM_DATA, *QUIET, *options, "--name=stream")
    assert "the training data have no length: set trainer.max_steps" in line
    succeed(
        resuming_project,
        "fit",
        *STREAM_DATA,
        *QUIET,
        *options,
        "--name=stream",
        "--trainer.max_steps=3",
    )


def test_a_loader_that_cannot_skip_is_told(resuming_project: Path) -> None:
    options = ("--checkpoint.monitor=val/loss", "--checkpoint.mode=min", "--trainer.max_epochs=1")
    succeed(
        resuming_project,
        "fit",
        *STREAM_DATA,
        *QUIET,
        *options,
        "--name=own",
        "--trainer.max_steps=3",
    )
    output = resume(resuming_project, "own", "--trainer.max_steps=-1")
    assert "The checkpoint was saved after 3 batches of an epoch" in output
