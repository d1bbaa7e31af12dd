"""Classification: loss, accuracy, predictions and the optimizer, for any network that gives logits."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ..utils import optim
from ..utils.project import UserError


class ClassificationModule(LightningModule):
    """Trains a network with cross-entropy, on batches of inputs, float32 (N, *input_shape), and labels, int64 (N,).

    Args:
        net: Builds the network, which gives logits of shape (N, num_classes), from num_classes and input_shape.
        num_classes: Number of classes. The command line takes it from the data module.
        input_shape: Shape of one sample, (C, H, W) of an image. The command line takes it from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW with its defaults if None.
        lr_scheduler: Builds the learning rate scheduler from the optimizer; a constant learning rate if None.
        monitor: Metric that ReduceLROnPlateau follows. The command line takes it from `checkpoint.monitor`.
        mode: `max` if more of that metric is better, else `min`. The command line takes it from `checkpoint.mode`.
        compile: Whether to compile the network with `torch.compile`.
        channels_last: Whether to keep pixels, not channels, together in memory, as GPUs convolve fastest.
    """

    def __init__(
        self,
        net: Callable[[int, Sequence[int]], nn.Module],
        num_classes: int,
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        monitor: str = "val/acc",
        mode: str = "max",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if None in (num_classes, input_shape):  # the command line has not found it
            raise UserError(
                "num_classes or input_shape is missing: pass -c configs/data/<name>.yaml that gives both"
            )
        self.save_hyperparameters()
        self.net = net(num_classes, input_shape)
        if channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not declared
        if compile:
            # checkpoints keep the names of the plain network; net.compile() would leave an nn.Sequential as it is
            self.net.forward = torch.compile(self.net.forward)
        self.optimizer, self.lr_scheduler, self.monitor, self.mode = (
            optimizer or AdamW,
            lr_scheduler,
            monitor,
            mode,
        )
        # without checks that wait for the device; logged once an epoch, as a `self.log` per step costs more than a step
        self.train_acc = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_loss, self.val_acc = (
            MeanMetric(nan_strategy="disable"),
            self.train_acc.clone(),
        )  # in testing too
        self.val_acc_best = MaxMetric(nan_strategy="disable")
        for metric in (self.train_acc, self.val_acc_best):  # a resumed run goes on from there
            metric.persistent(True)

    configure_optimizers = optim.configure_optimizers

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes)."""
        return self.net(images)  # type: ignore[no-any-return]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits (N, num_classes) and labels (N,)."""
        return nn.functional.cross_entropy(logits, labels)

    def on_train_epoch_start(self) -> None:
        self.train_acc.reset()  # a checkpoint of the end of an epoch has what was counted in it

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self(batch[0])
        loss = self.loss(logits, batch[1])
        self.train_acc.update(logits, batch[1])
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/acc", self.train_acc, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.val_acc.update(logits, batch[1])
        # once a sample, so that the last batch weighs no more: without its check for NaN, MeanMetric ignores `weight`
        self.val_loss.update(self.loss(logits, batch[1]).expand(len(logits)))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/loss": self.val_loss, "val/acc": self.val_acc}, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.val_acc_best.update(self.val_acc.compute())
            self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.log_dict({"test/loss": self.val_loss, "test/acc": self.val_acc})

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `class`, int64 of shape (N,), and `p`, the probabilities, float32 of shape (N, num_classes)."""
        probability = self(batch[0]).softmax(dim=1)
        return {"class": probability.argmax(dim=1), "p": probability}
