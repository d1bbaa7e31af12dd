"""Says why a training has ended. Read it if the reason that is printed, or the one in run.json, is wrong."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from .stopping import StopAtBatchEnd

# What EarlyStopping appends to its reason
WHAT_FOLLOWS = " Signaling Trainer to stop."


def why_ended(trainer: Trainer) -> str:
    """Return why a training has ended that was neither interrupted nor failed, such as `5 of 5 epochs`."""
    epochs = trainer.current_epoch  # with an epoch that was stopped in the middle
    steps = trainer.global_step
    if 0 <= trainer.max_steps <= steps:
        return f"{steps} of {trainer.max_steps} steps"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epochs:
        return f"{epochs} of {trainer.max_epochs} epochs"
    return f"{reason_of_callback(trainer)}, after {steps} steps"


def reason_of_callback(trainer: Trainer) -> str:
    """Return the reason of the callback that has stopped the training."""
    for callback in trainer.early_stopping_callbacks:
        if not isinstance(callback, EarlyStopping):
            continue
        if callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            reason = callback.stopping_reason_message or callback.monitor
            return f"EarlyStopping ({reason.removesuffix(WHAT_FOLLOWS).rstrip('.')})"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
        if isinstance(callback, Timer) and is_used_up(callback):
            return "max_time"
    return "trainer.should_stop, which a callback or the module has set"


def is_used_up(timer: Timer) -> bool:
    """Return whether the time of a Timer is used up."""
    left = timer.time_remaining()
    return left is not None and left <= 0


def why_interrupted(trainer: Trainer) -> str:
    """Return what interrupted a training: Ctrl-C, SIGTERM or a closed terminal."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
        if isinstance(callback, StopAtBatchEnd) and callback.stop_requested:
            return callback.requested_by
    return "Ctrl-C"
