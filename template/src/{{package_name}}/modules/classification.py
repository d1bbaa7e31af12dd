"""Classification: loss, accuracy, predictions and the optimizer, for any network that gives logits."""

from collections.abc import Callable, Sequence
from typing import cast

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ..utils.optim import configure_optimizers
from ..utils.project import UserError


class ClassificationModule(LightningModule):
    """Trains a network with cross-entropy.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, int64 of shape (N,). Metrics are
    updated in every step and computed once an epoch: a `self.log` per step costs more than a small network's step.

    Args:
        net: Builds the network, which gives logits of shape (N, num_classes), from num_classes and input_shape.
        num_classes: Number of classes. The command line takes it from the data module.
        input_shape: Shape of one sample, (C, H, W) of an image. The command line takes it from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW with its defaults if None.
        lr_scheduler: Builds the learning rate scheduler from the optimizer; a constant learning rate if None.
        monitor: Metric that ReduceLROnPlateau follows. The command line takes it from `checkpoint.monitor`.
        mode: `max` if more of that metric is better, else `min`. The command line takes it from `checkpoint.mode`.
        compile: Whether to compile the network with `torch.compile`.
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
    ) -> None:
        super().__init__()
        if None in (num_classes, input_shape):  # the command line has not found it
            raise UserError("num_classes or input_shape is missing: pass -c configs/data/<name>.yaml that gives both")
        self.save_hyperparameters()
        self.net = net(num_classes, input_shape)
        if compile:
            self.net.compile()  # in place, so the names in the checkpoint stay those of the plain network
        self.optimizer, self.lr_scheduler = optimizer or AdamW, lr_scheduler
        self.monitor, self.mode = monitor, mode
        # validate_args and nan_strategy: their checks wait for the device in every step
        self.train_acc, self.val_acc, self.test_acc = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))
        self.val_acc_best = MaxMetric(nan_strategy="disable")
        self.val_acc_best.persistent(True)  # a resumed run goes on from the best so far

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes)."""
        return cast("Tensor", self.net(images))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits (N, num_classes) and labels (N,)."""
        return F.cross_entropy(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self._step(batch, self.train_acc)
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/acc", self.train_acc, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        # once a sample, so that the last batch weighs no more: without its check for NaN, MeanMetric ignores `weight`
        self.val_loss.update(self._step(batch, self.val_acc).expand(len(batch[1])))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/loss": self.val_loss, "val/acc": self.val_acc}, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.val_acc_best.update(self.val_acc.compute())
            self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.test_loss.update(self._step(batch, self.test_acc).expand(len(batch[1])))

    def on_test_epoch_end(self) -> None:
        self.log_dict({"test/loss": self.test_loss, "test/acc": self.test_acc})

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `class`, int64 of shape (N,), and `p`, the probabilities, float32 of shape (N, num_classes)."""
        probability = self(batch[0]).softmax(dim=1)
        return {"class": probability.argmax(dim=1), "p": probability}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return configure_optimizers(self, self.optimizer, self.lr_scheduler, self.monitor, self.mode)

    def _step(self, batch: tuple[Tensor, Tensor], acc: MulticlassAccuracy) -> Tensor:
        images, labels = batch
        logits = self(images)
        acc.update(logits, labels)
        return self.loss(logits, labels)
