"""What a resumed run does where its optimizer or schedule is another than the checkpoint's.

What is given wins. A changed optimizer starts without state. A changed schedule begins with the learning rate that it
would have if the run had used it from the start.
"""

import warnings
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ..utils.project import UserError

Description = dict[str, str]

# What a schedule's state says about where it is. The first rate depends on its length where that is a few steps.
PROGRESS = {"last_epoch", "_step_count", "_last_lr"}


def describe_optimizers(trainer: Trainer) -> list[str]:
    """Return the classes of the optimizers."""
    return [class_name(optimizer) for optimizer in trainer.optimizers]


def describe_schedules(trainer: Trainer, planned_steps: float) -> list[Description]:
    """Return class and settings of each schedule, as it is before its first step."""
    return [describe(config.scheduler, planned_steps) for config in trainer.lr_scheduler_configs]


def describe(scheduler: Any, planned_steps: float) -> Description:
    state = {key: value for key, value in scheduler.state_dict().items() if key not in PROGRESS}
    for key in ("max_lr", "min_lr"):  # OneCycleLR keeps them in the optimizer alone
        values = [group[key] for group in scheduler.optimizer.param_groups if key in group]
        if values:
            state[key] = values
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps == planned_steps:
        # It spans the training, and its length is no setting.
        length = state.pop("total_steps")
        phases = state.get("_schedule_phases", [])
        state["_schedule_phases"] = [share_of_length(phase, length) for phase in phases]
    settings = {key: repr(value) for key, value in state.items()}
    # The text of a function holds its address, which is another in each process.
    plain = {key: text for key, text in settings.items() if " at 0x" not in text}
    return {"class": class_name(scheduler), **plain}


def share_of_length(phase: dict[str, Any], length: int) -> dict[str, Any]:
    """Return a phase of OneCycleLR with its last step as a share of all steps."""
    return {**phase, "end_step": round((phase["end_step"] + 1) / length, 6)}


def class_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def replace_changed_states(
    trainer: Trainer, checkpoint: dict[str, Any], planned_steps: float
) -> bool:
    """Replace states in a checkpoint that belong to another optimizer or schedule.

    Returns whether the schedule has changed. Checkpoints of earlier releases do not say what theirs were.
    """
    saved = checkpoint.get("resume", {})
    optimizers = describe_optimizers(trainer)
    if saved.get("optimizers", optimizers) != optimizers:
        rank_zero_info(
            f"Optimizer: {short(optimizers)} replaces {short(saved['optimizers'])} and starts without state"
        )
        checkpoint["optimizer_states"] = [
            optimizer.state_dict() for optimizer in trainer.optimizers
        ]
    schedules = describe_schedules(trainer, planned_steps)
    if saved.get("schedules", schedules) == schedules:
        return False
    changes = difference(saved["schedules"], schedules)
    rank_zero_info(
        f"Schedule: {changes}. Its learning rate is the one of a run that had this from the start"
    )
    checkpoint["lr_schedulers"] = [
        config.scheduler.state_dict() for config in trainer.lr_scheduler_configs
    ]
    return True


def difference(saved: list[Description], given: list[Description]) -> str:
    """Return what has changed in a few words."""
    before = [entry["class"] for entry in saved]
    now = [entry["class"] for entry in given]
    if before != now:
        return f"{short(now)} replaces {short(before)}"
    texts = []
    for old, new in zip(saved, given, strict=True):
        for key in new:
            if old.get(key) != new[key] and not key.startswith("_"):
                texts.append(f"{key} is {new[key]}, and was {old.get(key)}")
    return ", ".join(texts) or "its settings have changed"


def short(names: list[str]) -> str:
    return ", ".join(name.rpartition(".")[2] for name in names) or "a constant rate"


def step_to_present(trainer: Trainer) -> None:
    """Step new schedules as often as the run would have done by now. Those that follow a metric start anew."""
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if config.reduce_on_plateau or not isinstance(scheduler, LRScheduler):
            continue
        done = trainer.global_step if config.interval == "step" else trainer.current_epoch
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # "before optimizer.step()", which the checkpoint's run has called
                for _ in range(done // config.frequency):
                    scheduler.step()
        except ValueError as error:  # OneCycleLR is over
            name = type(scheduler).__name__
            raise UserError(
                f"{name} ends before the {done} steps of the checkpoint: make it longer"
            ) from error
