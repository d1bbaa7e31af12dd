"""Explains why `fit --run` trains no further. Read it if a resumed run ends at once."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from torch.optim.lr_scheduler import OneCycleLR


def has_stopped_early(callback: EarlyStopping) -> bool:
    """Return whether the run has ended by EarlyStopping, judged by the patience that is configured now."""
    exhausted = callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED
    return exhausted and callback.wait_count >= callback.patience


def have_steps_ended(trainer: Trainer) -> bool:
    """Return whether the training has made as many steps as `max_steps` says. -1 is without an end."""
    return 0 <= trainer.max_steps <= trainer.global_step


def have_epochs_ended(trainer: Trainer) -> bool:
    """Return whether the training has made as many epochs as `max_epochs` says. -1 is without an end."""
    epochs = trainer.max_epochs
    return epochs is not None and 0 <= epochs <= trainer.current_epoch


def nothing_left(trainer: Trainer) -> str | None:
    """Return a line with the reason why nothing is left to train, and how to train longer; None if unknown."""
    steps = trainer.global_step
    if have_steps_ended(trainer):
        advice = longer(trainer, "max_steps", 2 * steps)
        return f"Nothing left to do: {steps} of {trainer.max_steps} steps. {advice}"
    epochs = trainer.current_epoch
    if have_epochs_ended(trainer):
        advice = longer(trainer, "max_epochs", 2 * epochs)
        return f"Nothing left to do: {epochs} of {trainer.max_epochs} epochs. {advice}"
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and has_stopped_early(callback):
            epoch = callback.stopped_epoch + 1
            reason = f"EarlyStopping has ended the training after {epoch} epochs"
            advice = f"A patience above {callback.patience} trains longer"
            return f"Nothing left to do: {reason}. {advice}"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer):
            advice = "A greater --trainer.max_time trains longer"
            return f"Nothing left to do: the time is used up. {advice}"
    return None


def longer(trainer: Trainer, option: str, value: int) -> str:
    """Return the options with which the run trains longer."""
    options = f"--trainer.{option} {value}"
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.scheduler, OneCycleLR):
            constant = f"{options} --model.lr_scheduler null trains at a constant rate"
            return f"OneCycleLR cannot be made longer: {constant}"
    return f"{options} trains longer"
