"""Builds the optimizer and the learning rate schedule of a module, in the form that Lightning needs."""

import inspect
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from .freezing import Freezing, check_something_is_trained
from .param_groups import optimizer_groups
from .project import UserError

# Schedules that step after every batch, each with the argument that overrides the optimizer's learning rate.
STEPWISE = {OneCycleLR: "max_lr", CyclicLR: "base_lr"}


def configure_optimizers(module: Any) -> OptimizerLRScheduler:
    """Build a module's `optimizer` and its `lr_scheduler`, if that is not None.

    The module's `param_groups` have the settings of some of its parameters: see ParamGroup in param_groups.py.

    A schedule without a length, such as WarmupSchedule or OneCycleLR, spans the training. ReduceLROnPlateau follows
    the module's `monitor` in the direction of its `mode`. The module's `lr_interval`, `step` or `epoch`, says when
    a schedule steps. Without it, the class of the schedule decides.
    """
    optimizer = build_optimizer(module)
    if module.lr_scheduler is None:
        return {"optimizer": optimizer}
    arguments = missing_arguments(module) | rates_of_groups(module.lr_scheduler, optimizer)
    scheduler = module.lr_scheduler(optimizer, **arguments)
    tell_unused_rate(optimizer, scheduler, optimizer.defaults.get("lr"))
    config: Any = {
        "scheduler": scheduler,
        "interval": interval_of(module, type(scheduler)),
        # Lightning's ReduceLROnPlateau has its own monitor.
        "monitor": getattr(scheduler, "monitor", module.monitor),
    }
    if isinstance(scheduler, ReduceLROnPlateau):
        config |= validation_rhythm(module.trainer, config)
    return {"optimizer": optimizer, "lr_scheduler": config}


def build_optimizer(module: Any) -> Optimizer:
    """Build a module's optimizer with its `param_groups`, and have a callback freeze what they say."""
    entries = getattr(module, "param_groups", None)  # your own module may have none
    parameters = optimizer_groups(module, entries) if entries else module.parameters()
    optimizer: Optimizer = module.optimizer(parameters)
    if not entries:
        return optimizer
    for group in optimizer.param_groups:
        group["lr"] *= group["lr_scale"]
        if "weight_decay" in group and "weight_decay" not in optimizer.defaults:
            name = type(optimizer).__name__
            raise UserError(
                f"param_groups sets weight_decay, which {name} does not have: leave it out"
            )
    if any("freeze" in entry for entry in entries):
        add_freezing(module)
    return optimizer


def add_freezing(module: Any) -> None:
    """Add the callback that freezes parameters to the trainer. Raise UserError if it cannot work."""
    check_something_is_trained(module)
    if not isinstance(module.trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        name = type(module.trainer.strategy).__name__
        raise UserError(f"param_groups cannot freeze parameters with {name}: take the strategy ddp")
    callbacks = module.trainer.callbacks
    if not any(isinstance(callback, Freezing) for callback in callbacks):
        callbacks.append(Freezing())


def interval_of(module: Any, schedule: Any) -> str:
    """Return when a class of schedules steps: `step`, after every batch, or `epoch`."""
    chosen = getattr(module, "lr_interval", None)  # your own module may have none
    if chosen is not None:
        return str(chosen)
    if schedule in STEPWISE:
        return "step"
    return getattr(schedule, "interval", "epoch")  # WarmupSchedule has this attribute


def missing_arguments(module: Any) -> dict[str, Any]:
    """Return arguments of the schedule that only the module or the trainer knows: `mode` or `total_steps`."""
    schedule = schedule_class(module.lr_scheduler)
    given = getattr(module.lr_scheduler, "keywords", {})
    if schedule is ReduceLROnPlateau:
        return {"mode": module.mode}
    takes_length = schedule and "total_steps" in inspect.signature(schedule).parameters
    if takes_length and not given.get("total_steps") and not given.get("epochs"):
        interval = interval_of(module, schedule)
        return {"total_steps": training_length(module.trainer, interval, schedule.__name__)}
    return {}


def rates_of_groups(build: Any, optimizer: Optimizer) -> dict[str, list[float]]:
    """Return the learning rates of OneCycleLR or CyclicLR for groups that scale theirs, because they take lists."""
    scales = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
    if set(scales) == {1.0} or schedule_class(build) not in STEPWISE:
        return {}
    given = getattr(build, "keywords", {})
    rates = {}
    for key in ("base_lr", "max_lr"):
        if isinstance(given.get(key), int | float):
            rates[key] = [given[key] * scale for scale in scales]
    return rates


def schedule_class(build: Any) -> Any:
    """Return the class of the schedule that a function builds; None if unknown, as of a lambda."""
    # From YAML, it is partial(instantiate, …, OneCycleLR); from Python, partial(OneCycleLR, …) or the class.
    for part in (build, getattr(build, "func", None), *getattr(build, "args", ())):
        if isinstance(part, type):
            return part
    return None


def training_length(trainer: Any, interval: str, schedule: str) -> int:
    """Return the number of steps that a schedule makes in the whole training. Raise UserError if it is unknown.

    Args:
        trainer: The trainer.
        interval: `step` or `epoch`.
        schedule: Name of the class, for the message.
    """
    if interval == "epoch" and trainer.max_epochs is not None and trainer.max_epochs > 0:
        return int(trainer.max_epochs)
    steps = trainer.estimated_stepping_batches
    if steps == float("inf") or interval == "epoch":
        raise UserError(
            f"{schedule} has no end: set trainer.max_epochs, trainer.max_steps or its own total_steps"
        )
    if steps < 1:
        raise UserError(
            f"{schedule} needs to know how many steps the training has, but the training data have no length: "
            "set trainer.max_steps, or its own total_steps"
        )
    return int(steps)


def tell_unused_rate(optimizer: Optimizer, scheduler: Any, given_rate: Any) -> None:
    """Print a line if the optimizer's learning rate has no effect, because the schedule overrides it."""
    argument = STEPWISE.get(type(scheduler))
    default = inspect.signature(type(optimizer)).parameters.get("lr")
    if argument is None or default is None or given_rate == default.default:
        return
    rank_zero_info(
        f"optimizer.lr is {given_rate}, but has no effect: {type(scheduler).__name__} sets the learning rate, "
        f"and --model.lr_scheduler.{argument} changes it"
    )


def validation_rhythm(trainer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return settings that step ReduceLROnPlateau after each epoch with a new value of its metric."""
    monitor = config["monitor"]
    if not monitor:
        raise UserError(
            "ReduceLROnPlateau follows checkpoint.monitor, which is null: name a metric, or take another schedule"
        )
    if config["interval"] == "step":
        raise UserError(
            "lr_interval is step, but ReduceLROnPlateau steps after a validation: leave lr_interval out"
        )
    if monitor.startswith("train"):
        return {}
    every = trainer.check_val_every_n_epoch
    if every is None:  # validation by batches: the first epochs may have none
        return {"strict": False}
    return {"frequency": every}
