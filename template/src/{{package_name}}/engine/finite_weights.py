"""Stops diverged training, because NaN or infinite weights never recover. Read it if a run ends as diverged."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import UserError

# The message begins so. A search relies on it to tell a diverged trial from a mistake.
DIVERGED = "training has diverged"


class FiniteWeights(Callback):
    """Raises UserError if weights are not finite, before they are validated or saved.

    It checks only after an epoch and before a validation, because a check has to wait for the GPU.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)
        # No error, because float16 training skips steps without a finite loss, and a single one does no harm.
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train") and "loss" in name and not value.isfinite():
                rank_zero_info(f"{name} is {value.item()} in epoch {trainer.current_epoch}")

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise UserError in all processes if any process has weights that are not finite."""
        diverged = not are_finite(pl_module)
        if trainer.strategy.reduce_boolean_decision(diverged, all=False):
            raise UserError(
                f"{DIVERGED}: after {trainer.global_step} steps the weights are no finite numbers "
                f"({first_not_finite(pl_module)}). Checkpoints from before are kept. Lower the learning rate, or set "
                "--trainer.gradient_clip_val 1"
            )


def are_finite(module: LightningModule) -> bool:
    """Return whether all trainable weights are finite. This synchronises with the device once."""
    finite = [weights.isfinite().all().to(module.device) for weights in trained(module).values()]
    return not finite or bool(torch.stack(finite).all())


def first_not_finite(module: LightningModule) -> str:
    """Return the name of the first trainable weight that is not finite."""
    for name, weights in trained(module).items():
        if not weights.isfinite().all():
            return name
    return "in another process"


def trained(module: LightningModule) -> dict[str, torch.Tensor]:
    """Return the trainable weights by name."""
    return {
        name: weights.detach()
        for name, weights in module.named_parameters()
        if weights.requires_grad
    }
