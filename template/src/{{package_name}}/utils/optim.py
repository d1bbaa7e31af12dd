"""Optimizers and learning rate schedulers from factories, with what Lightning has to know about them."""

from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau


def configure_optimizers(
    module: LightningModule, optimizer: OptimizerCallable, schedule: LRSchedulerCallable | None, monitor: str, mode: str
) -> OptimizerLRScheduler:
    """Build the optimizer and the scheduler; OneCycleLR and CyclicLR step after every batch, others after every epoch.

    OneCycleLR without a length spans the training, and ReduceLROnPlateau follows `monitor` in the direction of `mode`.
    """
    built = optimizer(module.parameters())
    if schedule is None:
        return built
    # the class is an argument of the partial that YAML gives, the function of functools.partial(OneCycleLR, …)
    parts = (getattr(schedule, "func", schedule), *getattr(schedule, "args", ()))
    given = getattr(schedule, "keywords", {})
    extra: dict[str, Any] = {}
    if OneCycleLR in parts and not given.get("total_steps") and not given.get("epochs"):
        extra["total_steps"] = int(module.trainer.estimated_stepping_batches)
    elif ReduceLROnPlateau in parts:
        extra["mode"] = mode
    scheduler = schedule(built, **extra)
    interval = "step" if isinstance(scheduler, OneCycleLR | CyclicLR) else "epoch"
    monitor = getattr(scheduler, "monitor", monitor)  # Lightning's ReduceLROnPlateau names its own
    return {"optimizer": built, "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": monitor}}
