"""Keeps weight averaging (EMA) out of evaluation, and out of checkpoints before its first update.

Read this when a validation, a checkpoint and a test with WeightAveraging use different weights.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


def without_averaging(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks without those that average weights.

    A checkpoint of WeightAveraging (EMA) holds the averaged weights as its `state_dict`. In a test after a fit, the
    callback would replace them by the weights of the last step.
    """
    return [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]


def with_current_weights_at_first(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks with a helper before and after each callback that averages weights.

    Until the first update, which `update_starting_at_step` may delay, the average is a copy of the initial random
    weights. Without the helpers, validations, checkpoints and the end of training would use this copy.
    """
    found: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, WeightAveraging):
            kept = KeepCurrentWeights(callback)
            found += [kept, callback, RestoreCurrentWeights(kept)]
        else:
            found.append(callback)
    return found


class KeepCurrentWeights(Callback):
    """Copies the current weights before WeightAveraging swaps in an average without any update."""

    def __init__(self, averaging: WeightAveraging) -> None:
        self.is_updated = False
        self.copies: list[torch.Tensor] = []
        self.should_update = averaging.should_update
        cast("Any", averaging).should_update = self.noted

    def noted(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Call the callback's own `should_update`, and note its first update."""
        result = self.should_update(step_idx=step_idx, epoch_idx=epoch_idx)
        self.is_updated = self.is_updated or result
        return result

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.is_updated = updates_in(checkpoint) > 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.is_updated:
            self.copies = [weights.detach().clone() for weights in weights_of(pl_module)]

    on_train_end = on_validation_epoch_start


class RestoreCurrentWeights(Callback):
    """Restores the weights that `KeepCurrentWeights` has copied, and saves the current weights in checkpoints."""

    def __init__(self, kept: KeepCurrentWeights) -> None:
        self.kept = kept

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.kept.copies:
            for weights, copy in zip(weights_of(pl_module), self.kept.copies, strict=True):
                weights.detach().copy_(copy)
        self.kept.copies = []

    on_train_end = on_validation_epoch_start

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if "current_model_state" in checkpoint and not updates_in(checkpoint):
            checkpoint["state_dict"] = checkpoint["current_model_state"]


def weights_of(module: LightningModule) -> list[torch.Tensor]:
    """Return all parameters and buffers: WeightAveraging averages or copies them."""
    return [*chain(module.parameters(), module.buffers())]


def updates_in(checkpoint: dict[str, Any]) -> int:
    """Return how often the average in a checkpoint has been updated; 0 without an average."""
    return int(checkpoint.get("averaging_state", {}).get("n_averaged", 0))
