"""The optimizer and the learning rate schedule of a module, with what Lightning has to know about them."""

from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from .project import UserError


def configure_optimizers(module: Any) -> OptimizerLRScheduler:
    """Build a module's `optimizer` and its `lr_scheduler`, if that is not None.

    OneCycleLR and CyclicLR step after every batch, others after every epoch. OneCycleLR without a length spans the
    training, and ReduceLROnPlateau follows the module's `monitor` in the direction of its `mode`.
    """
    optimizer, schedule = module.optimizer(module.parameters()), module.lr_scheduler
    if schedule is None:
        return {"optimizer": optimizer}
    # the class is an argument of the partial that YAML gives, the function of functools.partial(OneCycleLR, …)
    parts = (getattr(schedule, "func", schedule), *getattr(schedule, "args", ()))
    extra: dict[str, Any] = {"mode": module.mode} if ReduceLROnPlateau in parts else {}
    if OneCycleLR in parts and not any(map(getattr(schedule, "keywords", {}).get, ("total_steps", "epochs"))):
        if module.trainer.estimated_stepping_batches == float("inf"):
            raise UserError("OneCycleLR has no end: set trainer.max_epochs, trainer.max_steps or its own total_steps")
        extra["total_steps"] = int(module.trainer.estimated_stepping_batches)
    scheduler = schedule(optimizer, **extra)
    interval = "step" if isinstance(scheduler, OneCycleLR | CyclicLR) else "epoch"
    monitor = getattr(scheduler, "monitor", module.monitor)  # Lightning's ReduceLROnPlateau names its own
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": monitor}}
