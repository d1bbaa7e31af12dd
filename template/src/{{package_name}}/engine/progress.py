"""The progress bar, and the table of the model's layers. Read it to change their content."""

import logging
import re
import sys
import time
from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, TQDMProgressBar

from .loop_position import seen_batches

SUMMARY_LOGGER = logging.getLogger("lightning.pytorch.callbacks.model_summary")
ZERO_FLOPS = re.compile(r"\n0 +Total Flops")  # 0         Total Flops

SECONDS_IN_A_TERMINAL = 0.5
SECONDS_IN_A_FILE = 60.0
# The training bar is last: closed before the validation bar, it would leave the cursor in its line.
BARS = ("val_progress_bar", "test_progress_bar", "predict_progress_bar", "train_progress_bar")


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, redrawn twice a second, or once a minute if the output goes to a file."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn_at = float("-inf")
        self.has_epoch = False  # whether the bar has the number and the length of an epoch

    def is_due(self, is_last_batch: bool) -> bool:
        """Return whether to draw the bar now; if so, remember the time. The last batch is always drawn."""
        seconds = SECONDS_IN_A_TERMINAL if sys.stdout.isatty() else SECONDS_IN_A_FILE
        now = time.monotonic()
        if not is_last_batch and now - self.drawn_at < seconds:
            return False
        self.drawn_at = now
        return True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics beside the bar, without `v_num`, the logger's version, which is no metric."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return dict(metrics)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.has_epoch = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the bar of an epoch that is resumed within, for which Lightning starts no epoch."""
        if not self.has_epoch:
            self.on_train_epoch_start(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last metrics, because the module logs those of the training after the bar's last update."""
        self.show_position(trainer)
        if not self.train_progress_bar.disable:
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))
        super().on_train_end(trainer, pl_module)

    def show_position(self, trainer: Trainer) -> None:
        """Move the training bar to the present batch, because a training may end between two updates."""
        if self.train_progress_bar.disable:
            return
        self.train_progress_bar.n = seen_batches(trainer)
        self.train_progress_bar.refresh()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.is_due(batch_idx + 1 == self.total_train_batches):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.is_due(batch_idx + 1 == self.total_val_batches_current_dataloader):
            super().on_validation_batch_end(
                trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
            )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.is_due(batch_idx + 1 == self.total_test_batches_current_dataloader):
            super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.is_due(batch_idx + 1 == self.total_predict_batches_current_dataloader):
            super().on_predict_batch_end(
                trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        leave_bar(trainer)


def leave_bar(trainer: Trainer) -> None:
    """Close the bars, so that what is printed next begins a line of its own."""
    bar = trainer.progress_bar_callback
    if not isinstance(bar, ProgressBar):
        return
    if bar.has_epoch:
        bar.show_position(trainer)
    for name in BARS:
        with suppress(TypeError):  # Lightning raises it for a bar that has not begun
            getattr(bar, name).close()


def without_zero_flops(record: logging.LogRecord) -> bool:
    """Remove the line of no FLOPs from the table of layers. Returns True, so that the table is printed."""
    record.msg = ZERO_FLOPS.sub("", record.msg)
    return True


class LayerSummary(ModelSummary):
    """Lightning's table of layers, without FLOPs if they are 0, as without an example input."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        if not total_flops:
            summary_data = [column for column in summary_data if column[0] != "FLOPs"]
            SUMMARY_LOGGER.addFilter(without_zero_flops)
        ModelSummary.summarize(
            summary_data,
            total_parameters,
            trainable_parameters,
            model_size,
            total_training_modes,
            total_flops,
            **summarize_kwargs,
        )
