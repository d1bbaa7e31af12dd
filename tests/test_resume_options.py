"""A resumed run: which options and checkpoints hold."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail
from helpers.run_files import load
from helpers.trained_project import (
    DIVERGE,
    ONE_CYCLE,
    QUIET,
    VERBS,
    WIDE,
    best,
    fit,
    go,
    last,
    refuse_digits,
    saved,
    scheduler,
    told,
    write,
)

CONSTANT = "--model.lr_scheduler null --trainer.limit_train_batches 3"


@pytest.fixture(scope="module")
def interrupted(fitted: Path) -> Path:
    """The directory of a run of one epoch and three steps; tests resume it under other names."""
    return fit(fitted, f"--name interrupted --trainer.max_epochs 1 {CONSTANT}")


def test_the_last_checkpoint_is_that_of_the_last_epoch_even_if_it_is_not_the_best(
    fitted: Path,
) -> None:
    directory = fit(fitted, f"--name last {DIVERGE}")
    assert load(best(directory))["epoch"] == 0
    assert load(last(directory))["epoch"] == 1


def test_a_resumed_run_goes_on_where_it_stopped(fitted: Path, interrupted: Path) -> None:
    output = go(
        fitted, f"fit --name interrupted --trainer.max_epochs 3 {CONSTANT} --ckpt_path last"
    )
    path = last(interrupted)
    assert told(output, "Checkpoint") == str(path.relative_to(fitted))
    assert f"Restored all states from the checkpoint at {path}" in output
    resumed = fitted / told(output, "Run directory")
    assert [load(path)["epoch"], load(path)["global_step"]] == [0, 3]
    assert [load(last(resumed))["epoch"], load(last(resumed))["global_step"]] == [2, 9]
    shutil.rmtree(resumed)  # so that `interrupted` is the newest again


def test_options_win_over_what_the_checkpoint_remembers(fitted: Path, interrupted: Path) -> None:
    options = "--model.optimizer.weight_decay 0.5 --data.batch_size 16"
    checkpoint = f"--ckpt_path {last(interrupted)}"
    resumed = fit(fitted, f"--name other --trainer.max_epochs 2 {CONSTANT} {options} {checkpoint}")
    assert saved(resumed)["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.5
    assert saved(resumed)["data"]["init_args"]["batch_size"] == 16
    assert load(last(resumed))["hyper_parameters"]["optimizer"]["init_args"]["weight_decay"] == 0.5


def test_the_optimizer_uses_what_the_saved_configuration_says(
    fitted: Path, interrupted: Path
) -> None:
    options = f"--model.optimizer.weight_decay 0.5 --ckpt_path {last(interrupted)}"
    resumed = fit(fitted, f"--name decay --trainer.max_epochs 2 {CONSTANT} {options}")
    used = load(last(resumed))["optimizer_states"][0]["param_groups"][0]["weight_decay"]
    assert used == saved(resumed)["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_checkpoint_of_another_model_is_refused(fitted: Path, verb: str) -> None:
    line = refuse_digits(
        fitted, f"{verb} --name exp1 --ckpt_path last {WIDE} --model.net.in_channels 3"
    )
    assert (
        "last.ckpt is a checkpoint of another model: net.0.weight is (6, 1, 5, 5) there and (6, 3, 5, 5)"
        in line
    )


def test_a_one_cycle_schedule_cannot_be_prolonged(fitted: Path) -> None:
    options = f"{ONE_CYCLE} --trainer.limit_train_batches 3"
    shorter = fit(fitted, f"--name shorter --trainer.max_epochs 1 {options}")
    longer = f"--name longer --trainer.max_epochs 3 --ckpt_path {last(shorter)} {options}"
    line = fail(fitted, "fit", *DIGITS, *QUIET, *longer.split())
    assert "OneCycleLR ends after 3 of 9 steps" in line


def test_an_interrupted_one_cycle_schedule_goes_on(project: Path) -> None:
    write(
        project,
        "callbacks/stop.py",
        """
        from lightning.pytorch import Callback, LightningModule, Trainer


        class StopAfterOneEpoch(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                trainer.should_stop = True
        """,
    )
    options = f"--name cycle --trainer.max_epochs 2 --trainer.limit_train_batches 3 {ONE_CYCLE}"
    stopped = scheduler(
        fit(project, f"{options} --trainer.callbacks+=my_project.callbacks.stop.StopAfterOneEpoch")
    )
    assert (stopped["last_epoch"], stopped["total_steps"]) == (3, 6)
    resumed = scheduler(fit(project, f"{options} --ckpt_path last"))
    assert (resumed["last_epoch"], resumed["total_steps"]) == (6, 6)
