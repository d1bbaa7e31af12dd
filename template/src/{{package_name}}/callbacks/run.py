"""What every run has: checkpoints and predictions in its directory, and a progress bar."""

import csv
import sys
import time
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import OneCycleLR

from ..utils.project import UserError, shown


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by the monitored metric, and `last.ckpt`, beside any ModelCheckpoint of your own.

    Args:
        monitor: Metric that says which checkpoint is best. ReduceLROnPlateau follows it too.
        mode: `max` if more of it is better, else `min`.
    """

    def __init__(self, monitor: str = "val/acc", mode: Literal["min", "max"] = "max") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `last.ckpt` after every epoch; Lightning's `save_last` does so only when there is a new best."""
        super().on_train_epoch_end(trainer, pl_module)
        trainer.save_checkpoint(Path(self.dirpath or "") / "last.ckpt", weights_only=False)


class Resume(Callback):
    """Lets configuration and command line win over what a checkpoint remembers of the optimizers."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.configured = [{**group} for optimizer in trainer.optimizers for group in optimizer.param_groups]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        asked = trainer.estimated_stepping_batches
        for scheduler in schedulers:
            if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < asked:
                steps = f"{scheduler.total_steps} steps, and max_epochs asks for {asked:.0f}"
                raise UserError(f"the checkpoint's OneCycleLR ends after {steps}: set it as it was, or train anew")
        # what a scheduler sets stays as the checkpoint has it
        kept = {"params", "lr", "initial_lr", "momentum", "betas"} if schedulers else {"params"}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group, configured in zip(groups, self.configured, strict=True):
            group.update({key: value for key, value in configured.items() if key not in kept})


class PredictionWriter(BasePredictionWriter):
    """Writes the tensors of `predict_step` to `predictions.csv`, after `id`, a sample's position in the dataset.

    One of shape (N,) is a column; one of shape (N, K) is K of them. Process 1 writes to `predictions-1.csv`, and so on.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        part = f"-{trainer.global_rank}" if trainer.global_rank else ""
        self.path = trainer.strategy.broadcast(self.directory) / f"predictions{part}.csv"
        rank_zero_info(f"Predictions: {shown(self.path)}")

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        prediction, ids = args[:2]
        if not isinstance(prediction, dict) or ids is None:
            return
        columns = {"id": ids}
        for name, values in prediction.items():
            parts = enumerate(values.T) if values.ndim == 2 else [("", values)]
            columns |= {f"{name}{i}": part.tolist() for i, part in parts}
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, redrawn at most twice a second instead of every so many batches, be they fast or slow."""

    drawn = 0.0

    @property
    def refresh_rate(self) -> int:
        """1, which draws now, if half a second has passed since it last was; else more batches than there are."""
        now = time.monotonic()
        if now - self.drawn < 0.5:
            return sys.maxsize
        self.drawn = now
        return 1
