"""Autoencoding: loss, predictions and the optimizer, for any network that reconstructs its inputs."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric

from ..utils import optim
from ..utils.param_groups import ParamGroup
from ..utils.project import UserError


class AutoencoderModule(LightningModule):
    """Trains a network with the mean squared error between its inputs and its reconstructions.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, which are ignored. The errors are in
    squared units of the inputs. If the data module normalises images, these are units of normalised images.

    Args:
        net: Builds the network from input_shape; it returns reconstructions and latents (N, latent_dim).
        input_shape: Shape of one sample, such as (C, H, W); from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW if None.
        lr_scheduler: Builds the scheduler from the optimizer; a constant rate if None.
        lr_interval: When that steps: after every `step` (batch) or `epoch`; its class decides if None.
        param_groups: Learning rates, weight decay and freezing by names of parameters; see ParamGroup.
        monitor: Metric that ReduceLROnPlateau follows; from `checkpoint.monitor`.
        mode: Whether more (`max`) or less (`min`) of it is better; from `checkpoint.mode`.
        compile: Compile the network with `torch.compile`.
    """

    def __init__(
        self,
        net: Callable[[Sequence[int]], nn.Module],
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] | None = None,
        param_groups: list[ParamGroup] | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
        compile: bool = False,
    ) -> None:
        super().__init__()
        if input_shape is None:
            raise UserError("input_shape is missing: the data module must have this attribute")
        self.save_hyperparameters(logger=False)  # loggers get the whole configuration
        self.net = net(input_shape)
        if compile:
            # Unlike `net.compile()`, this compiles an nn.Sequential too. Checkpoints keep the names of the weights.
            self.net.forward = torch.compile(self.net.forward)
        self.optimizer = optimizer or AdamW
        self.lr_scheduler = lr_scheduler
        self.lr_interval = lr_interval
        self.param_groups = param_groups
        self.monitor = monitor
        self.mode = mode
        # The metrics' own checks of values are off, because they would wait for the GPU in every step.
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.test_loss = MeanMetric(nan_strategy="disable")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optim.configure_optimizers(self)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstructions, float32 of shape (N, *input_shape), and the latents, (N, latent_dim)."""
        reconstructions, latents = self.net(inputs)
        return reconstructions, latents

    def errors(self, reconstructions: Tensor, inputs: Tensor) -> Tensor:
        """Return the mean squared error of every sample, of shape (N,)."""
        return (reconstructions - inputs).square().flatten(1).mean(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self._errors_of(batch).mean()
        # Of a small network, `self.log` in every step takes longer than the step.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.val_loss.update(self._errors_of(batch))

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.test_loss.update(self._errors_of(batch))

    def on_test_epoch_end(self) -> None:
        self.log("test/loss", self.test_loss)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `error`, the squared error of shape (N,), and `latent`, of shape (N, latent_dim)."""
        inputs, _ = batch
        reconstructions, latents = self(inputs)
        return {"error": self.errors(reconstructions, inputs), "latent": latents}

    def _errors_of(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, _ = batch
        reconstructions, _ = self(inputs)
        return self.errors(reconstructions, inputs)
