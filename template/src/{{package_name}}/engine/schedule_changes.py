"""Resumes a run with another optimizer or schedule than the checkpoint's.

Read this when the learning rate of such a run is wrong. The configuration wins. A changed optimizer starts without
state. A changed schedule continues as if the run had used it from the start.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ..utils.project import UserError

Description = dict[str, str]

# Keys of a schedule's state that are progress, not settings. `_last_lr` counts too: in a short schedule, its first
# value depends on the length.
PROGRESS = {"last_epoch", "_step_count", "_last_lr"}


def describe_optimizers(trainer: Trainer) -> list[str]:
    """Return the classes of the optimizers."""
    return [class_name(optimizer) for optimizer in trainer.optimizers]


def describe_schedules(trainer: Trainer, planned_steps: float) -> list[Description]:
    """Return the class and settings of each schedule before its first step."""
    return [describe(config.scheduler, planned_steps) for config in trainer.lr_scheduler_configs]


def describe(scheduler: Any, planned_steps: float) -> Description:
    """Return the class and the settings of a schedule, as texts."""
    state = dict(scheduler.state_dict())
    for key in PROGRESS:
        state.pop(key, None)
    groups = scheduler.optimizer.param_groups
    for key in ("max_lr", "min_lr"):  # OneCycleLR keeps them only in the optimizer
        values = [group[key] for group in groups if key in group]
        if values:
            state[key] = values
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps == planned_steps:
        # The schedule spans the whole training, so its length is no setting of its own.
        length = state.pop("total_steps")
        phases = state.get("_schedule_phases", [])
        state["_schedule_phases"] = [share_of_length(phase, length) for phase in phases]
    description = {"class": class_name(scheduler)}
    for key, value in state.items():
        text = repr(value)
        # The repr of a function contains its address, which differs between processes.
        if " at 0x" not in text:
            description[key] = text
    return description


def share_of_length(phase: dict[str, Any], length: int) -> dict[str, Any]:
    """Return a phase of OneCycleLR with `end_step` as a share of all steps."""
    return {**phase, "end_step": round((phase["end_step"] + 1) / length, 6)}


def class_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def replace_changed_states(
    trainer: Trainer, checkpoint: dict[str, Any], planned_steps: float
) -> bool:
    """Replace states in a checkpoint that belong to another optimizer or schedule.

    Returns whether the schedule has changed. Checkpoints of earlier releases do not record theirs, and count as
    unchanged.
    """
    saved = checkpoint.get("resume", {})
    optimizers = describe_optimizers(trainer)
    if saved.get("optimizers", optimizers) != optimizers:
        change = f"{short(optimizers)} replaces {short(saved['optimizers'])}"
        rank_zero_info(f"Optimizer: {change} and starts without state")
        checkpoint["optimizer_states"] = states_of(trainer.optimizers)
    elif have_changed_groups(trainer, checkpoint):
        change = f"the groups of param_groups have changed, and {short(optimizers)}"
        rank_zero_info(f"Optimizer: {change} starts without state")
        checkpoint["optimizer_states"] = states_of(trainer.optimizers)
    schedules = describe_schedules(trainer, planned_steps)
    if saved.get("schedules", schedules) == schedules:
        return False
    changes = difference(saved["schedules"], schedules)
    effect = "Its learning rate is the one of a run that had this from the start"
    rank_zero_info(f"Schedule: {changes}. {effect}")
    states = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    checkpoint["lr_schedulers"] = states
    return True


def states_of(optimizers: Sequence[Optimizer]) -> list[dict[str, Any]]:
    return [optimizer.state_dict() for optimizer in optimizers]


def have_changed_groups(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Return whether the optimizers have other groups of parameters than in a checkpoint, because of `param_groups`.

    Groups that a BaseFinetuning callback adds later are no change.
    """
    saved = [state["param_groups"] for state in checkpoint.get("optimizer_states", [])]
    present = [state["param_groups"] for state in states_of(trainer.optimizers)]
    if not any("lr_name" in group for groups in (*saved, *present) for group in groups):
        return False
    return described_groups(saved) != described_groups(present)


def described_groups(optimizers: Sequence[Sequence[dict[str, Any]]]) -> list[list[Any]]:
    """Return the name and the numbers of the parameters of each group."""
    return [[(group.get("lr_name"), group["params"]) for group in groups] for groups in optimizers]


def difference(saved: list[Description], given: list[Description]) -> str:
    """Describe in a few words how the schedules have changed."""
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
    """Step changed schedules up to the present step or epoch. ReduceLROnPlateau starts anew.

    Raises:
        UserError: A schedule ends before the step of the checkpoint.
    """
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if config.reduce_on_plateau or not isinstance(scheduler, LRScheduler):
            continue
        done = trainer.current_epoch
        if config.interval == "step":
            done = trainer.global_step
        try:
            with warnings.catch_warnings():
                # Hides "call optimizer.step() before", because the checkpoint's run has called it.
                warnings.simplefilter("ignore")
                for _ in range(done // config.frequency):
                    scheduler.step()
        except ValueError as error:  # OneCycleLR is over
            name = type(scheduler).__name__
            raise UserError(
                f"{name} ends before the {done} steps of the checkpoint: make it longer"
            ) from error
