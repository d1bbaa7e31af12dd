"""Builds the optimizer and the learning rate schedule of a module, in the form that Lightning needs."""

import inspect
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from .project import UserError

# Schedules that step after every batch, each with the argument that overrides the optimizer's learning rate.
STEPWISE = {OneCycleLR: "max_lr", CyclicLR: "base_lr"}


def configure_optimizers(module: Any) -> OptimizerLRScheduler:
    """Build a module's `optimizer` and its `lr_scheduler`, if that is not None.

    OneCycleLR and CyclicLR step after every batch, others after every epoch. OneCycleLR without a length spans the
    training, and ReduceLROnPlateau follows the module's `monitor` in the direction of its `mode`.
    """
    optimizer = module.optimizer(module.parameters())
    if module.lr_scheduler is None:
        return {"optimizer": optimizer}
    given_rate = optimizer.param_groups[0]["lr"]
    scheduler = module.lr_scheduler(optimizer, **missing_arguments(module))
    tell_unused_rate(optimizer, scheduler, given_rate)
    config: Any = {
        "scheduler": scheduler,
        "interval": "step" if isinstance(scheduler, tuple(STEPWISE)) else "epoch",
        # Lightning's ReduceLROnPlateau has its own monitor.
        "monitor": getattr(scheduler, "monitor", module.monitor),
    }
    if isinstance(scheduler, ReduceLROnPlateau):
        config |= validation_rhythm(module.trainer, config["monitor"])
    return {"optimizer": optimizer, "lr_scheduler": config}


def missing_arguments(module: Any) -> dict[str, Any]:
    """Return arguments of the schedule that only the module or the trainer knows: `mode` or `total_steps`."""
    schedule = module.lr_scheduler
    # From YAML, it is partial(instantiate, …, OneCycleLR); from Python, partial(OneCycleLR, …) or the class.
    parts = (getattr(schedule, "func", schedule), *getattr(schedule, "args", ()))
    given = getattr(schedule, "keywords", {})
    if ReduceLROnPlateau in parts:
        return {"mode": module.mode}
    if OneCycleLR in parts and not given.get("total_steps") and not given.get("epochs"):
        return {"total_steps": training_length(module.trainer)}
    return {}


def training_length(trainer: Any) -> int:
    """Return the number of optimizer steps in the whole training. Raise UserError if it is unknown."""
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise UserError(
            "OneCycleLR has no end: set trainer.max_epochs, trainer.max_steps or its own total_steps"
        )
    if steps < 1:
        raise UserError(
            "OneCycleLR needs to know how many steps the training has, but the training data have no length: "
            "set trainer.max_steps, or its own total_steps"
        )
    return int(steps)


def tell_unused_rate(optimizer: Optimizer, scheduler: Any, given_rate: float) -> None:
    """Print a line if the optimizer's learning rate has no effect, because the schedule overrides it."""
    argument = STEPWISE.get(type(scheduler))
    default = inspect.signature(type(optimizer)).parameters.get("lr")
    if argument is None or default is None or given_rate == default.default:
        return
    rank_zero_info(
        f"optimizer.lr is {given_rate}, but has no effect: {type(scheduler).__name__} sets the learning rate, "
        f"and --model.lr_scheduler.{argument} changes it"
    )


def validation_rhythm(trainer: Any, monitor: str) -> dict[str, Any]:
    """Return settings that step ReduceLROnPlateau after each epoch with a new value of its metric."""
    if not monitor:
        raise UserError(
            "ReduceLROnPlateau follows checkpoint.monitor, which is null: name a metric, or take another schedule"
        )
    if monitor.startswith("train"):
        return {}
    every = trainer.check_val_every_n_epoch
    if every is None:  # validation by batches: the first epochs may have none
        return {"strict": False}
    return {"frequency": every}
