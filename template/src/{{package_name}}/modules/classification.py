"""Classification: loss, accuracy, predictions and the optimizer, for any network that gives logits."""

from collections.abc import Callable
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

Batch = tuple[Tensor, Tensor]


class ClassificationModule(LightningModule):
    """Trains a network with cross-entropy.

    A batch is a pair of images, float32 of shape (N, C, H, W), and labels, int64 of shape (N,). Metrics are updated
    in every step and computed once an epoch: a `self.log` per step costs more than the step of a small network.

    Args:
        net: Builds the network from the number of classes; it maps images to logits of shape (N, num_classes).
        num_classes: Number of classes. The command line takes it from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW with its defaults if None.
        lr_scheduler: Builds the learning rate scheduler from the optimizer; a constant learning rate if None.
        monitor: Metric that ReduceLROnPlateau follows. The command line takes it from `checkpoint.monitor`.
        mode: `max` if more of that metric is better, else `min`. The command line takes it from `checkpoint.mode`.
        compile: Whether to compile the network with `torch.compile`.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        num_classes: int,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        monitor: str = "val/acc",
        mode: str = "max",
        compile: bool = False,
    ) -> None:
        super().__init__()
        if num_classes is None:  # the command line has found none
            raise UserError("num_classes is missing: pass -c configs/data/<name>.yaml with a data module that has it")
        self.save_hyperparameters()
        self.net = net(num_classes)
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

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._step(batch, self.train_acc)
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/acc", self.train_acc, prog_bar=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # once a sample, so that the last batch weighs no more: without its check for NaN, MeanMetric ignores `weight`
        self.val_loss.update(self._step(batch, self.val_acc).expand(len(batch[1])))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/loss": self.val_loss, "val/acc": self.val_acc}, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.val_acc_best.update(self.val_acc.compute())
            self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.test_loss.update(self._step(batch, self.test_acc).expand(len(batch[1])))

    def on_test_epoch_end(self) -> None:
        self.log_dict({"test/loss": self.test_loss, "test/acc": self.test_acc})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return `class`, int64 of shape (N,), and `probability`, float32 of shape (N, num_classes)."""
        probability = self(batch[0]).softmax(dim=1)
        return {"class": probability.argmax(dim=1), "probability": probability}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return configure_optimizers(self, self.optimizer, self.lr_scheduler, self.monitor, self.mode)

    def _step(self, batch: Batch, acc: MulticlassAccuracy) -> Tensor:
        images, labels = batch
        logits = self(images)
        acc.update(logits, labels)
        return self.loss(logits, labels)
