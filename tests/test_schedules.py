"""Learning rate schedules: when they step, how long they are, which metric they follow."""

import csv
import math
from pathlib import Path

import pytest
from helpers.run_files import load
from helpers.trained_project import ONE_CYCLE, SHORT, fit, last, scheduler


def metrics(directory: Path, name: str) -> list[float]:
    """Return the values of this metric from the CSVLogger's file."""
    with (directory / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_schedule_spans_all_batches(exp1: Path) -> None:
    state = scheduler(exp1)
    assert state["total_steps"] == state["last_epoch"] == 2 * math.ceil(1257 / 32)
    assert state["_last_lr"][0] < 1e-4, "it ends far below where it starts"


@pytest.mark.parametrize("schedule", ["", ONE_CYCLE])
def test_a_schedule_counts_optimizer_steps_not_batches(fitted: Path, schedule: str) -> None:
    options = "--trainer.max_epochs 2 --trainer.limit_train_batches 5"
    options += f" --trainer.accumulate_grad_batches 2 {schedule}"
    state = scheduler(fit(fitted, f"--name accumulated {options}"))
    assert state["total_steps"] == state["last_epoch"] == 2 * 3


def test_a_schedule_takes_a_length_that_is_given(fitted: Path) -> None:
    assert (
        scheduler(fit(fitted, f"--name given {SHORT} --model.lr_scheduler.total_steps 50"))[
            "total_steps"
        ]
        == 50
    )


def test_cyclic_schedules_step_after_every_batch(fitted: Path) -> None:
    options = "--model.lr_scheduler CyclicLR --model.lr_scheduler.base_lr 0.001 --model.lr_scheduler.max_lr 0.003"
    options += " --model.lr_scheduler.step_size_up 4"
    state = scheduler(
        fit(
            fitted,
            f"--name cyclic {options} --trainer.max_epochs 1 --trainer.limit_train_batches 4",
        )
    )
    assert state["last_epoch"] == 4
    assert state["_last_lr"] == [pytest.approx(0.003)]


def test_other_schedules_step_after_every_epoch(fitted: Path) -> None:
    options = "--model.lr_scheduler StepLR --model.lr_scheduler.step_size 1 --model.lr_scheduler.gamma 0.5"
    state = scheduler(
        fit(fitted, f"--name step {options} --trainer.max_epochs 2 --trainer.limit_train_batches 3")
    )
    assert state["last_epoch"] == 2
    assert state["_last_lr"] == [pytest.approx(0.0025)]


def test_null_means_a_constant_learning_rate_and_adamw(fitted: Path) -> None:
    checkpoint = load(
        last(fit(fitted, f"--name plain {SHORT} --model.lr_scheduler null --model.optimizer null"))
    )
    assert not checkpoint["lr_schedulers"]
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.001, (0.9, 0.999), 0.01)


PLATEAU = "--model.lr_scheduler torch.optim.lr_scheduler.ReduceLROnPlateau --model.lr_scheduler.patience 0"


CSV = "--trainer.logger CSVLogger"


def test_reduce_on_plateau_does_not_reduce_while_the_accuracy_rises(fitted: Path) -> None:
    directory = fit(
        fitted, f"--name rising {CSV} {PLATEAU} --trainer.max_epochs 3 --model.optimizer.lr 2e-4"
    )
    accuracy = metrics(directory, "val/acc")
    assert accuracy[0] < accuracy[1] < accuracy[2], "as this test needs it"
    state = scheduler(directory)
    assert state["mode"] == "max"
    assert state["best"] == pytest.approx(accuracy[1]), (
        "the checkpoint is saved before the epoch's last step"
    )
    assert state["_last_lr"] == [2e-4]


@pytest.mark.parametrize(("mode", "factor"), [("min", 1), ("max", 0.01)])
def test_reduce_on_plateau_follows_metric_and_mode_of_the_checkpoints(
    fitted: Path, mode: str, factor: float
) -> None:
    options = f"--checkpoint.monitor val/loss --checkpoint.mode {mode} --trainer.max_epochs 4 --model.optimizer.lr 2e-4"
    directory = fit(fitted, f"--name loss {CSV} {PLATEAU} {options}")
    loss = metrics(directory, "val/loss")
    assert loss == sorted(loss, reverse=True), "as this test needs it"
    state = scheduler(directory)
    assert state["mode"] == mode
    assert state["best"] == pytest.approx(loss[2] if mode == "min" else loss[0])
    assert state["_last_lr"] == [pytest.approx(2e-4 * factor)]


def test_lightnings_own_reduce_on_plateau_follows_the_metric_that_it_names(fitted: Path) -> None:
    own = "--model.lr_scheduler lightning.pytorch.cli.ReduceLROnPlateau --model.lr_scheduler.monitor val/loss"
    directory = fit(
        fitted, f"--name own {CSV} {own} --trainer.max_epochs 2 --trainer.limit_train_batches 5"
    )
    assert scheduler(directory)["best"] == pytest.approx(metrics(directory, "val/loss")[0])
