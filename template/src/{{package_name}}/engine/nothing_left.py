"""Explains why `fit --run` trains no further. Read it if a resumed run ends at once."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from torch.optim.lr_scheduler import OneCycleLR


def has_stopped_early(callback: EarlyStopping) -> bool:
    """Return whether the run has ended by EarlyStopping, judged by the patience that is configured now."""
    exhausted = callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED
    return exhausted and callback.wait_count >= callback.patience


def nothing_left(trainer: Trainer) -> str | None:
    """Return a line with the reason why nothing is left to train, and how to train longer; None if unknown."""
    if 0 <= trainer.max_steps <= trainer.global_step:
        steps = f"{trainer.global_step} of {trainer.max_steps} steps"
        return (
            f"Nothing left to do: {steps}. {longer(trainer, 'max_steps', 2 * trainer.global_step)}"
        )
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        epochs = f"{trainer.current_epoch} of {trainer.max_epochs} epochs"
        return f"Nothing left to do: {epochs}. {longer(trainer, 'max_epochs', 2 * trainer.current_epoch)}"
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and has_stopped_early(callback):
            epoch = callback.stopped_epoch + 1
            reason = f"EarlyStopping has ended the training after {epoch} epochs"
            return (
                f"Nothing left to do: {reason}. A patience above {callback.patience} trains longer"
            )
    if any(isinstance(callback, Timer) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        return "Nothing left to do: the time is used up. A greater --trainer.max_time trains longer"
    return None


def longer(trainer: Trainer, option: str, value: int) -> str:
    """Return the options with which the run trains longer."""
    options = f"--trainer.{option} {value}"
    if any(isinstance(config.scheduler, OneCycleLR) for config in trainer.lr_scheduler_configs):
        return f"OneCycleLR cannot be made longer: {options} --model.lr_scheduler null trains at a constant rate"
    return f"{options} trains longer"
