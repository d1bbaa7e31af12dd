"""Says why a training has ended. Read it if the reason that is printed, or the one in run.json, is wrong."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from .nothing_left import has_stopped_early, have_epochs_ended, have_steps_ended
from .stopping import CTRL_C, StopAtBatchEnd

# What EarlyStopping appends to its reason
WHAT_FOLLOWS = " Signaling Trainer to stop."


def why_ended(trainer: Trainer) -> str:
    """Return why a training has ended that was neither interrupted nor failed, such as `5 of 5 epochs`."""
    if have_steps_ended(trainer):
        return f"{trainer.global_step} of {trainer.max_steps} steps"
    if have_epochs_ended(trainer):
        return f"{trainer.current_epoch} of {trainer.max_epochs} epochs"
    return f"{reason_of_callback(trainer)}, after {trainer.global_step} steps"


def reason_of_callback(trainer: Trainer) -> str:
    """Return the reason of the callback that has stopped the training."""
    for callback in trainer.early_stopping_callbacks:
        if not isinstance(callback, EarlyStopping):
            continue
        if has_stopped(callback):
            reason = callback.stopping_reason_message or callback.monitor
            return f"EarlyStopping ({reason.removesuffix(WHAT_FOLLOWS).rstrip('.')})"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
        if isinstance(callback, Timer) and is_used_up(callback):
            return "max_time"
    return "trainer.should_stop, which a callback or the module has set"


def has_stopped(callback: EarlyStopping) -> bool:
    """Return whether EarlyStopping has stopped the training. A resumed run restores the reason of an earlier stop."""
    if callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
        return has_stopped_early(callback)
    return callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED


def is_used_up(timer: Timer) -> bool:
    """Return whether the time of a Timer is used up."""
    left = timer.time_remaining()
    return left is not None and left <= 0


def why_interrupted(trainer: Trainer, exception: BaseException) -> str:
    """Return what interrupted a training: Ctrl-C, SIGTERM, a closed terminal, or a signal to another process.

    Args:
        trainer: The trainer.
        exception: What ended its training: KeyboardInterrupt or SIGTERMException.
    """
    if isinstance(exception, KeyboardInterrupt):
        return CTRL_C
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
        if isinstance(callback, StopAtBatchEnd) and callback.stop_requested:
            return callback.requested_by
    return "a signal to another process"
