"""How fast training is, and what limits it."""

import time
from typing import Any

from lightning.fabric.utilities import suggested_max_num_workers
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..engine.samples import samples_in


class Speed(Callback):
    """Says, after training, how many samples a second it took, how long it waited for data, and what that means.

    The first ten steps, which warm up, do not count, nor does validation.
    """

    steps, samples, waiting, working, now = 0, 0, 0.0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.now = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        before, self.now = self.now, time.perf_counter()
        self.waiting += (self.now - before) * (self.steps >= 10)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self.now = self.now, time.perf_counter()
        self.steps += 1
        if self.steps > 10:
            self.working += self.now - before
            self.samples += samples_in(batch) * trainer.world_size

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.samples:
            rank_zero_info("Speed: train for more than ten steps to see it")
            return
        percent = 100 * self.waiting / (self.waiting + self.working)
        workers = getattr(trainer.train_dataloader, "num_workers", 0)
        most = suggested_max_num_workers(
            trainer.world_size
        )  # as many as this process has cores, but one
        if percent < 20:
            advice = "The network is the limit: try a larger batch_size and, on a GPU, configs/trainer/gpu.yaml"
        elif workers < most:
            advice = f"Data are the limit: try --data.num_workers {most} instead of {workers}"
        else:
            advice = "Data are the limit, and so are the cores: store smaller files, or keep decoded images in memory"
        speed = self.samples / (self.waiting + self.working)
        rank_zero_info(
            f"Speed: {speed:,.0f} samples/s, {percent:.0f}% of the time waiting for data. {advice}"
        )
