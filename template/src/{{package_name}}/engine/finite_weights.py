"""Training that has diverged ends, and says so: weights that are NaN or infinite never recover."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import UserError

# How the line begins. A search tells such a trial from a mistake by it.
DIVERGED = "training has diverged"


class FiniteWeights(Callback):
    """Raises UserError if weights are not finite, before they are validated or saved.

    It looks after an epoch and before a validation alone, because to look takes a GPU out of its stride.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)
        # With float16, steps without a finite loss are left out, and a single one is no harm.
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train") and "loss" in name and not value.isfinite():
                rank_zero_info(f"{name} is {value.item()} in epoch {trainer.current_epoch}")

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise UserError in all processes if weights of one are not finite."""
        diverged = not are_finite(pl_module)
        if trainer.strategy.reduce_boolean_decision(diverged, all=False):
            raise UserError(
                f"{DIVERGED}: after {trainer.global_step} steps the weights are no finite numbers "
                f"({first_not_finite(pl_module)}). Checkpoints from before are kept. Lower the learning rate, or set "
                "--trainer.gradient_clip_val 1"
            )


def are_finite(module: LightningModule) -> bool:
    """Return whether all weights that are trained are finite. It waits once for the device."""
    finite = [weights.isfinite().all().to(module.device) for weights in trained(module).values()]
    return not finite or bool(torch.stack(finite).all())


def first_not_finite(module: LightningModule) -> str:
    """Return the name of the first weights that are not finite."""
    for name, weights in trained(module).items():
        if not weights.isfinite().all():
            return name
    return "in another process"


def trained(module: LightningModule) -> dict[str, torch.Tensor]:
    """Return the weights that are trained, by name."""
    return {
        name: weights.detach()
        for name, weights in module.named_parameters()
        if weights.requires_grad
    }
