"""Checkpoints, made so that a run ends as if it had never stopped."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by the monitored metric, and `last.ckpt`, beside any ModelCheckpoint of your own.

    Args:
        monitor: Metric that says which checkpoint is best. ReduceLROnPlateau follows it too.
        mode: `max` if more of it is better, else `min`.
    """

    saved: Path | None = None

    def __init__(self, monitor: str = "val/acc", mode: Literal["min", "max"] = "max") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was best, also where the run's directory has been moved."""
        there, here = state_dict["dirpath"], str(self.dirpath)
        now = (
            here if Path(there).parent.name == Path(here).parent.name else there
        )  # the other is another run's
        paths = {
            key: value.replace(there, now)
            for key, value in state_dict.items()
            if isinstance(value, str)
        }
        best = {
            path.replace(there, now): score for path, score in state_dict["best_k_models"].items()
        }
        super().load_state_dict({**state_dict, **paths, "best_k_models": best})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every epoch; Lightning's `save_last` does so only when there is a new best."""
        super().on_train_epoch_end(trainer, pl_module)
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save what becomes `last.ckpt` as soon as it is whole and the loggers have all that belongs to it."""
        path = Path(self.dirpath or "") / "next.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.saved = path

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.saved and trainer.is_global_zero:
            self.saved.replace(self.saved.with_name("last.ckpt"))
        self.saved = None

    on_train_end = on_train_epoch_start

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save where a signal stops an epoch; if it stops a validation, the epoch before stays the last."""
        if (
            isinstance(exception, SIGTERMException)
            and trainer.training
            and not trainer.is_last_batch
        ):
            self.save(trainer)
        self.on_train_epoch_start(trainer, pl_module)
