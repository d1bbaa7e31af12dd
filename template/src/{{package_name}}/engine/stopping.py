"""Ctrl-C, SIGTERM and a closed terminal save, and end the training at the next batch at which nothing is lost."""

import os
import signal
import stat
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

# Several processes stop at the same batch. To compare their flags takes time, so they do it every tenth group.
GROUPS_BETWEEN_CHECKS = 10


class StopAtBatchEnd(Callback):
    """Delays SIGTERM, SIGHUP and the first Ctrl-C until the end of a batch, and of a group whose gradients accumulate.

    Lightning's own handler of SIGTERM sets a flag, and the training stops after the batch in which it is called. It has
    to be called in all processes at the same batch.
    """

    stop_requested = False
    lightning_handler: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(signal, "SIGKILL"):  # Windows has no SIGTERM that could be handled
            return
        with suppress(ValueError):  # only the main thread may set handlers
            self.lightning_handler = signal.signal(signal.SIGTERM, self.request_stop)
            signal.signal(signal.SIGINT, self.request_stop)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(signal.SIGHUP, self.leave_terminal)

    def leave_terminal(self, *_: Any) -> None:
        """Stop because the terminal was closed. What is printed from now on goes nowhere, instead of being an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # standard output and standard error
            with suppress(OSError):  # it may have been closed before
                if stat.S_ISCHR(os.fstat(stream).st_mode):  # no file and no pipe
                    os.dup2(nowhere, stream)
        os.close(nowhere)
        self.request_stop()

    def request_stop(self, *_: Any) -> None:
        """Remember that the training is to stop. A second Ctrl-C stops it at once."""
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
        # of several processes, one may have a batch more than the others
        if self.stop_requested and trainer.world_size == 1:
            self.lightning_handler(signal.SIGTERM, None)
