"""Saves best.ckpt and last.ckpt. Read it to find out when a checkpoint is written."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..utils.project import UserError
from .finite_weights import are_finite
from .monitor import logged_metrics


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by the monitored metric, and `last.ckpt`, beside any ModelCheckpoint of your own.

    Args:
        monitor: Metric that decides which checkpoint is best; null keeps `last.ckpt` alone.
        mode: Whether a larger (`max`) or a smaller (`min`) value is better.
    """

    def __init__(
        self, monitor: str | None = "val/acc", mode: Literal["min", "max"] = "max"
    ) -> None:
        super().__init__(
            filename="best",
            monitor=monitor or None,
            mode=mode,
            save_top_k=1 if monitor else 0,
            enable_version_counter=False,
        )
        self.complete: Path | None = None  # next.ckpt, until it is renamed to last.ckpt

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and path, even if the run's directory has been moved."""
        old_folder = state_dict["dirpath"]
        new_folder = str(self.dirpath)
        is_same_run = Path(old_folder).parent.name == Path(new_folder).parent.name
        if is_same_run and old_folder != new_folder:
            state_dict = moved(state_dict, old_folder, new_folder)
        super().load_state_dict(state_dict)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        try:
            super().on_validation_end(trainer, pl_module)
        except MisconfigurationException:
            self.save(trainer)
            raise self.missing_metric(trainer) from None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every epoch. Lightning's `save_last` would save only after an improvement."""
        try:
            super().on_train_epoch_end(trainer, pl_module)
        except MisconfigurationException:
            self.save(trainer)
            raise self.missing_metric(trainer) from None
        self.save(trainer)

    def missing_metric(self, trainer: Trainer) -> UserError:
        """Return an error for a monitored metric that is never logged. `last.ckpt` keeps the trained weights."""
        logged = ", ".join(logged_metrics(trainer)) or "nothing"
        problem = f"checkpoint.monitor is {self.monitor}, but what is logged is {logged}"
        run = Path(self.dirpath or "").parent.name
        if is_last_epoch(trainer):
            mend = "there is no best.ckpt, but last.ckpt has the trained weights"
            return UserError(f"{problem}: {mend}. test --run {run} --ckpt_path last tests them")
        mend = f"name one of them with fit --run {run} --checkpoint.monitor, or set it to null"
        return UserError(f"{problem}: {mend}")

    def save(self, trainer: Trainer) -> None:
        """Save to next.ckpt, which becomes last.ckpt once the loggers have written this epoch's metrics."""
        path = Path(self.dirpath or "") / "next.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.complete = path

    def make_last(self, trainer: Trainer) -> None:
        """Rename next.ckpt to last.ckpt."""
        if self.complete and trainer.is_global_zero:
            self.complete.replace(self.complete.with_name("last.ckpt"))
        self.complete = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.make_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.make_last(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save if a signal stops training within an epoch, or if another hook fails at the end of an epoch.

        If a validation is stopped or fails, the checkpoint of the previous epoch stays last.ckpt.
        """
        is_signal = isinstance(exception, SIGTERMException)
        if is_signal and trainer.training and not trainer.is_last_batch:
            self.save(trainer)
        elif self.complete is None and is_trained_epoch(trainer) and are_finite(pl_module):
            with suppress(Exception):  # such as a full disk: the first error is the one to report
                self.on_train_epoch_end(trainer, pl_module)
        self.make_last(trainer)


def is_trained_epoch(trainer: Trainer) -> bool:
    """Return whether an epoch is trained and validated, but not all of its hooks have run.

    With several processes it returns False: they save together, and another process may not have failed.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    processed: int = epochs.processed  # type: ignore[attr-defined]  # not declared
    return trainer.world_size == 1 and processed > epochs.completed


def is_last_epoch(trainer: Trainer) -> bool:
    """Return whether nothing is left to train after this epoch."""
    has_epochs_left = (
        trainer.max_epochs in (None, -1) or trainer.current_epoch + 1 < trainer.max_epochs
    )
    has_steps_left = trainer.max_steps == -1 or trainer.global_step < trainer.max_steps
    return trainer.is_last_batch and not (has_epochs_left and has_steps_left)


def moved(state: dict[str, Any], old_folder: str, new_folder: str) -> dict[str, Any]:
    """Return the state of a ModelCheckpoint with all paths in its new folder."""
    result = dict(state)
    for key, value in state.items():
        if isinstance(value, str):
            result[key] = value.replace(old_folder, new_folder)
    result["best_k_models"] = {
        path.replace(old_folder, new_folder): score
        for path, score in state["best_k_models"].items()
    }
    return result
