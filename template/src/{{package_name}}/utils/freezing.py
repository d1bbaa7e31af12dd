"""Freezes parameters for the whole training, or for its first epochs, as `param_groups` of a module says."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from .param_groups import last_setting
from .project import UserError


class Freezing(Callback):
    """Freezes and unfreezes parameters at the start of an epoch. Frozen batch normalisation stays in evaluation mode.

    The number of the epoch alone decides, so a resumed run needs no state. `configure_optimizers` in optim.py adds this
    callback if it is needed.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning skips `on_train_epoch_start` in an epoch in which it resumes.
        freeze_for_epoch(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        freeze_for_epoch(trainer, pl_module)


def freeze_for_epoch(trainer: Trainer, module: LightningModule) -> None:
    """Freeze the parameters that the current epoch does not train, and unfreeze the others."""
    epoch = trainer.current_epoch
    changed = set_trainable(module, epoch)
    set_normalisation(module, epoch)
    if changed and isinstance(trainer.strategy, DDPStrategy):
        # DDP waits for the gradients of the parameters that were trained when it was built, and averages only those.
        trainer.strategy.model = module
        trainer.strategy.configure_ddp()


def set_trainable(module: LightningModule, epoch: int) -> bool:
    """Let parameters require a gradient if this epoch trains them. Return whether any has changed."""
    changed = False
    for name, parameter in module.named_parameters():
        epochs = frozen_epochs(module, name, parameter)
        if epochs is None:  # you may have frozen it yourself
            continue
        is_trained = epoch >= epochs
        changed = changed or parameter.requires_grad != is_trained
        parameter.requires_grad_(is_trained)
        if not is_trained:
            parameter.grad = None  # without a gradient, the optimizer leaves the parameter as it is
    return changed


def set_normalisation(module: LightningModule, epoch: int) -> None:
    """Set batch normalisation to evaluation mode while it is frozen, because training changes its statistics."""
    for name, child in module.named_modules():
        mean = getattr(child, "running_mean", None)
        if mean is None:
            continue
        epochs = frozen_epochs(module, f"{name}.running_mean", mean)
        if epochs is not None:
            child.train(epoch >= epochs)


def frozen_epochs(module: Any, name: str, tensor: Tensor) -> float | None:
    """Return for how many epochs a parameter is frozen; None if no entry of `param_groups` says."""
    freeze = last_setting("freeze", name, tensor, module.param_groups)
    if freeze is None:
        return None
    if freeze is True:
        return math.inf
    return float(freeze)  # false is 0


def check_something_is_trained(module: LightningModule) -> None:
    """Raise UserError if all parameters are frozen in the first epoch."""
    for name, parameter in module.named_parameters():
        epochs = frozen_epochs(module, name, parameter)
        if epochs == 0 or (epochs is None and parameter.requires_grad):
            return
    raise UserError(
        "param_groups freezes all parameters in the first epoch: leave out some of them"
    )
