"""Measures the speed of training, and finds its bottleneck."""

import time
from typing import Any

from lightning.fabric.utilities import suggested_max_num_workers
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..engine.samples import samples_in

WARM_UP = 10  # steps that are not measured
LITTLE_WAITING = 20  # percent of the time; below it, the data are fast enough


class Speed(Callback):
    """Prints after training how many samples a second it took, how long it waited for data, and what that means.

    The first ten steps do not count, because they warm up, and validation does not either.
    """

    steps = 0
    samples = 0
    waiting = 0.0  # seconds
    working = 0.0
    last = 0.0  # time of the last hook

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring the wait for the first batch."""
        self.lap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring the wait for the next training batch."""
        self.lap()

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Add the time of the wait for this batch."""
        seconds = self.lap()
        if self.steps >= WARM_UP:
            self.waiting += seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the time of the step, and count its samples."""
        seconds = self.lap()
        self.steps += 1
        if self.steps > WARM_UP:
            self.working += seconds
            self.samples += samples_in(batch) * trainer.world_size

    def lap(self) -> float:
        """Return the seconds since the last call."""
        before = self.last
        self.last = time.perf_counter()
        return self.last - before

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the speed, and how to make training faster."""
        if not self.samples:
            rank_zero_info("Speed: train for more than ten steps to see it")
            return
        seconds = self.waiting + self.working
        percent = 100 * self.waiting / seconds
        workers = getattr(trainer.train_dataloader, "num_workers", 0)
        # One less than the number of cores per process
        most_workers = suggested_max_num_workers(trainer.world_size)
        speed = f"{self.samples / seconds:,.0f} samples/s"
        waiting = f"{percent:.0f}% of the time waiting for data"
        rank_zero_info(f"Speed: {speed}, {waiting}. {advice(percent, workers, most_workers)}")


def advice(percent: float, workers: int, most_workers: int) -> str:
    """Return a line with the bottleneck of training, and a remedy.

    Args:
        percent: Share of the time that was spent waiting for data.
        workers: Worker processes of the data loader.
        most_workers: Largest useful number of workers on this machine.
    """
    if percent < LITTLE_WAITING:
        mend = "try a larger batch_size and, on a GPU, configs/trainer/gpu.yaml"
        return f"The network is the limit: {mend}"
    if workers < most_workers:
        return f"Data are the limit: try --data.num_workers {most_workers} instead of {workers}"
    mend = "store smaller files, or keep decoded images in memory"
    return f"Data are the limit, and so are the cores: {mend}"
