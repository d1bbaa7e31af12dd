"""Where in an epoch a checkpoint is, told so that Lightning continues exactly there.

Lightning counts batches and epochs that are ready, started, processed and completed, and concludes from the differences
what is left to do. It is mistaken in three cases, which are put right when a checkpoint is saved:

- saved in `on_train_batch_end`, where ModelCheckpoint with `every_n_train_steps` does: a validation that is due after
  this batch would be left out;
- saved where training was stopped within an epoch, by max_steps, max_time or a callback: the epoch would count as done;
- saved after a validation within an epoch: the loggers' step would be counted twice.
"""

from typing import Any

from lightning.pytorch import Trainer


def can_skip(loader: Any) -> bool:
    """Return whether a loader can leave out batches that a run has seen, as ours can."""
    return hasattr(loader, "skip")


def is_within_epoch(trainer: Trainer) -> bool:
    """Return whether batches of this epoch are still to come."""
    return (
        trainer.fit_loop.epoch_loop.batch_progress.current.ready > 0 and not trainer.is_last_batch
    )


def is_group_open(trainer: Trainer) -> bool:
    """Return whether gradients are accumulated that no optimizer step has used."""
    return is_within_epoch(trainer) and seen_batches(trainer) % trainer.accumulate_grad_batches != 0


def seen_batches(trainer: Trainer) -> int:
    """Return how many batches of this epoch have been trained with."""
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
    return int(batches["current"]["processed"])


def is_validation_due(trainer: Trainer, batches: dict[str, Any]) -> bool:
    """Return whether a validation belongs after these batches, wherever the training stops.

    `batches` is the state of the training loop's batch progress.
    """
    if not trainer.enable_validation:
        return False
    every = trainer.check_val_every_n_epoch
    if every is not None and (trainer.current_epoch + 1) % every != 0:
        return False
    interval = trainer.val_check_batch
    if interval is None or interval == float("inf"):  # by time, or data without a length
        return bool(batches["is_last_batch"])
    seen = batches["total"] if every is None else batches["current"]
    return bool(seen["ready"] % interval == 0)


def write_position(trainer: Trainer, loops: dict[str, Any], epoch_stopped: bool) -> None:
    """Put right the counters of a checkpoint, which are in `loops`."""
    fit_loop = loops["fit_loop"]
    epochs = fit_loop["epoch_progress"]["total"]
    if epoch_stopped:
        reopen_epoch(fit_loop["epoch_progress"])
    if epochs["processed"] == epochs["ready"]:
        return  # the epoch is over
    batches = fit_loop["epoch_loop.batch_progress"]
    if batches["total"]["processed"] < batches["total"]["ready"]:
        forget_started_batch(batches)
    is_in_batch_end = batches["total"]["completed"] < batches["total"]["processed"]
    is_due = is_validation_due(trainer, batches)
    is_end_of_epoch = batches["is_last_batch"] and not is_due
    if is_in_batch_end and is_end_of_epoch and not can_skip(trainer.train_dataloader):
        return  # Lightning continues with the next epoch, and leaves out the end of this one
    if is_in_batch_end:
        complete_batch(batches)
        if is_due:
            begin_validation_anew(fit_loop["epoch_loop.val_loop.batch_progress"])
    is_counted = not is_in_batch_end and not trainer.validating
    if is_due == is_counted and not is_group_open(trainer):
        # Lightning will add 1 where a validation is due, and only there.
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] += -1 if is_counted else 1


def complete_batch(batches: dict[str, Any]) -> None:
    """Count the batch whose end it is as completed."""
    for part in (batches["total"], batches["current"]):
        part["completed"] = part["processed"]


def reopen_epoch(progress: dict[str, Any]) -> None:
    """Make an epoch that has ended one that is in progress."""
    for part in (progress["total"], progress["current"]):
        part["processed"] = part["completed"] = part["started"] - 1


def forget_started_batch(batches: dict[str, Any]) -> None:
    """Take back the batch in which an error occurred: it will be the first one."""
    for part in (batches["total"], batches["current"]):
        part["ready"] = part["started"] = part["processed"]
    batches["is_last_batch"] = False


def begin_validation_anew(progress: dict[str, Any]) -> None:
    """Make a validation one that stopped at its first batch."""
    for part in (progress["total"], progress["current"]):
        part.update(ready=1, started=1, processed=0, completed=0)
    progress["is_last_batch"] = False
