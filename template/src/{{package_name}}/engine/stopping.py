"""Stops training cleanly on Ctrl-C, SIGTERM or a closed terminal: at the end of a batch, with a checkpoint.

Read this when a signal loses work, or training does not stop.
"""

import os
import signal
import stat
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

# All processes must stop at the same batch. They compare flags only every tenth group, because that takes time.
GROUPS_BETWEEN_CHECKS = 10

CTRL_C = "Ctrl-C"

# What users call the signals, by their numbers
NAMES: dict[int, str] = {signal.SIGINT: CTRL_C}
if hasattr(signal, "SIGHUP"):  # not on Windows
    NAMES[signal.SIGHUP] = "a closed terminal"


class StopAtBatchEnd(Callback):
    """Delays SIGTERM, SIGHUP and the first Ctrl-C to the end of a batch, or of a group of accumulated batches.

    Lightning's own SIGTERM handler sets a flag, and training stops after the current batch. It has to be called in
    all processes at the same batch.
    """

    stop_requested = False
    requested_by = "SIGTERM"
    lightning_handler: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(signal, "SIGKILL"):  # Windows cannot handle SIGTERM
            return
        with suppress(ValueError):  # only the main thread may set handlers
            self.lightning_handler = signal.signal(signal.SIGTERM, self.request_stop)
            signal.signal(signal.SIGINT, self.request_stop)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(signal.SIGHUP, self.leave_terminal)

    def leave_terminal(self, number: int, *_: Any) -> None:
        """Stop because the terminal was closed. Discard later output, because printing would raise an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # standard output and standard error
            with suppress(OSError):  # the stream may be closed already
                if stat.S_ISCHR(os.fstat(stream).st_mode):  # a terminal, no file and no pipe
                    os.dup2(nowhere, stream)
        os.close(nowhere)
        self.request_stop(number)

    def request_stop(self, number: int, *_: Any) -> None:
        """Request a stop at the end of the batch. A second Ctrl-C stops at once."""
        self.requested_by = NAMES.get(number, "SIGTERM")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.stop_requested = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        interval = trainer.accumulate_grad_batches
        if trainer.world_size > 1:
            interval *= GROUPS_BETWEEN_CHECKS
        if not trainer.is_last_batch and (batch_idx + 1) % interval != 0:
            return
        if trainer.strategy.reduce_boolean_decision(self.stop_requested, all=False):
            self.lightning_handler(signal.SIGTERM, None)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        # Not with several processes, because one may have a batch more than the others.
        if self.stop_requested and trainer.world_size == 1:
            self.lightning_handler(signal.SIGTERM, None)
