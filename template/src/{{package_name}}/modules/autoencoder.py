"""Autoencoding: loss, predictions and the optimizer, for any network that reconstructs its inputs."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric

from ..utils import optim
from ..utils.project import UserError


class AutoencoderModule(LightningModule):
    """Trains a network with the mean squared error between its inputs and what it makes of them.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, which are ignored. The errors are in
    the units of the inputs, squared: those of normalised images, if the data module normalises them.

    Args:
        net: Builds the network from input_shape. It gives reconstructions, of the shape of the inputs, and latents,
            of shape (N, latent_dim).
        input_shape: Shape of one sample, (C, H, W) of an image. The command line takes it from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW with its defaults if None.
        lr_scheduler: Builds the learning rate scheduler from the optimizer; a constant learning rate if None.
        monitor: Metric that ReduceLROnPlateau follows. The command line takes it from `checkpoint.monitor`.
        mode: `max` if more of that metric is better, else `min`. The command line takes it from `checkpoint.mode`.
        compile: Whether to compile the network with `torch.compile`.
    """

    def __init__(
        self,
        net: Callable[[Sequence[int]], nn.Module],
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
        compile: bool = False,
    ) -> None:
        super().__init__()
        if input_shape is None:  # the command line has not found it
            raise UserError("input_shape is missing: the data module must have this attribute")
        self.save_hyperparameters()
        self.net = net(input_shape)
        if compile:
            # checkpoints keep the names of the plain network; net.compile() would leave an nn.Sequential as it is
            self.net.forward = torch.compile(self.net.forward)
        self.optimizer, self.lr_scheduler, self.monitor, self.mode = (
            optimizer or AdamW,
            lr_scheduler,
            monitor,
            mode,
        )
        self.val_loss = MeanMetric(
            nan_strategy="disable"
        )  # in testing too; its check would wait for the device

    configure_optimizers = optim.configure_optimizers

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstructions, float32 of shape (N, *input_shape), and the latents, (N, latent_dim)."""
        return self.net(inputs)  # type: ignore[no-any-return]

    def errors(self, reconstructions: Tensor, inputs: Tensor) -> Tensor:
        """Return the mean squared error of every sample, of shape (N,)."""
        return (reconstructions - inputs).square().flatten(1).mean(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self._step(batch).mean()
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.val_loss.update(self._step(batch))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        self.log("test/loss", self.val_loss)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `error`, the squared error of shape (N,), and `latent`, of shape (N, latent_dim)."""
        reconstructions, latents = self(batch[0])
        return {"error": self.errors(reconstructions, batch[0]), "latent": latents}

    def _step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.errors(self(batch[0])[0], batch[0])
