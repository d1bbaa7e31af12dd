"""Corrects the loop counters in a checkpoint, so that Lightning resumes at exactly this batch.

Read this when a resumed run repeats or skips a batch, a validation or an epoch. Lightning counts batches and epochs
that are ready, started, processed and completed. On resume, it infers the remaining work from the differences. Three
cases go wrong, and are corrected when the checkpoint is saved:

- Saved in `on_train_batch_end`, as ModelCheckpoint does with `every_n_train_steps`. A validation that is due after
  this batch would be skipped.
- Saved after max_steps, max_time or a callback has stopped training within an epoch. The epoch would count as done.
- Saved after a validation within an epoch. The loggers' step would be counted twice.
"""

from typing import Any

from lightning.pytorch import Trainer


def can_skip(loader: Any) -> bool:
    """Return whether a loader can skip the batches that a run has seen. Ours can."""
    return hasattr(loader, "skip")


def is_within_epoch(trainer: Trainer) -> bool:
    """Return whether this epoch has begun and has batches left."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current
    return batches.ready > 0 and not trainer.is_last_batch


def is_group_open(trainer: Trainer) -> bool:
    """Return whether there are accumulated gradients that no optimizer step has used."""
    return is_within_epoch(trainer) and seen_batches(trainer) % trainer.accumulate_grad_batches != 0


def seen_batches(trainer: Trainer) -> int:
    """Return how many batches of this epoch have been processed."""
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
    return int(batches["current"]["processed"])


def is_validation_due(trainer: Trainer, batches: dict[str, Any]) -> bool:
    """Return whether a validation is due after these batches in an uninterrupted run.

    `batches` is the state of the training loop's batch progress.
    """
    if not trainer.enable_validation:
        return False
    every = trainer.check_val_every_n_epoch
    if every is not None and (trainer.current_epoch + 1) % every != 0:
        return False
    interval = trainer.val_check_batch
    if interval is None or interval == float("inf"):  # limited by time, or data without a length
        return bool(batches["is_last_batch"])
    seen = batches["current"]
    if every is None:  # the interval counts across epochs
        seen = batches["total"]
    return bool(seen["ready"] % interval == 0)


def write_position(trainer: Trainer, loops: dict[str, Any], epoch_stopped: bool) -> None:
    """Correct the counters of a checkpoint in place. `loops` is their part of it."""
    fit_loop = loops["fit_loop"]
    epochs = fit_loop["epoch_progress"]
    if epoch_stopped:
        reopen_epoch(epochs)
    if epochs["total"]["processed"] == epochs["total"]["ready"]:
        return  # the epoch is over
    batches = fit_loop["epoch_loop.batch_progress"]
    count = batches["total"]
    if count["processed"] < count["ready"]:
        forget_started_batch(batches)
    is_in_batch_end = count["completed"] < count["processed"]
    is_due = is_validation_due(trainer, batches)
    is_end_of_epoch = batches["is_last_batch"] and not is_due
    if is_in_batch_end and is_end_of_epoch and not can_skip(trainer.train_dataloader):
        return  # Lightning resumes with the next epoch, and skips the end of this one
    if is_in_batch_end:
        complete_batch(batches)
        if is_due:
            begin_validation_anew(fit_loop["epoch_loop.val_loop.batch_progress"])
    is_counted = not is_in_batch_end and not trainer.validating
    if is_due == is_counted and not is_group_open(trainer):
        correct_logged_step(fit_loop["epoch_loop.state_dict"], is_counted)


def correct_logged_step(state: dict[str, Any], is_counted: bool) -> None:
    """Correct the loggers' step, because Lightning adds 1 on resume exactly if a validation is due."""
    if is_counted:
        state["_batches_that_stepped"] -= 1
    else:
        state["_batches_that_stepped"] += 1


def complete_batch(batches: dict[str, Any]) -> None:
    """Count the current batch as completed."""
    for part in (batches["total"], batches["current"]):
        part["completed"] = part["processed"]


def reopen_epoch(progress: dict[str, Any]) -> None:
    """Mark an epoch that has ended as still in progress."""
    for part in (progress["total"], progress["current"]):
        part["processed"] = part["completed"] = part["started"] - 1


def forget_started_batch(batches: dict[str, Any]) -> None:
    """Take back the count of a batch in which an error occurred, so that a resumed run begins with it."""
    for part in (batches["total"], batches["current"]):
        part["ready"] = part["started"] = part["processed"]
    batches["is_last_batch"] = False


def begin_validation_anew(progress: dict[str, Any]) -> None:
    """Mark a validation as stopped at its first batch, so that it is repeated as a whole."""
    for part in (progress["total"], progress["current"]):
        part.update(ready=1, started=1, processed=0, completed=0)
    progress["is_last_batch"] = False
