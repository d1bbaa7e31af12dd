"""Classification: loss, metrics, predictions and the optimizer, for any network that gives logits."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ..utils import optim
from ..utils.class_weights import balanced_weights, given_weights
from ..utils.limits import Probability
from ..utils.macro_f1 import MacroF1
from ..utils.param_groups import ParamGroup
from ..utils.project import UserError


class ClassificationModule(LightningModule):
    """Trains a network with cross-entropy.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, int64 of shape (N,). In training,
    labels may also be shares of the classes, float32 of shape (N, num_classes), such as those of mixed images.

    Args:
        net: Builds the network from num_classes and input_shape; it returns logits (N, num_classes).
        num_classes: Number of classes; from the data module.
        input_shape: Shape of one sample, such as (C, H, W); from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW if None.
        lr_scheduler: Builds the scheduler from the optimizer; a constant rate if None.
        lr_interval: When that steps: after every `step` (batch) or `epoch`; its class decides if None.
        param_groups: Learning rates, weight decay and freezing by names of parameters; see ParamGroup.
        monitor: Metric that ReduceLROnPlateau follows; from `checkpoint.monitor`.
        mode: Whether more (`max`) or less (`min`) of it is better; from `checkpoint.mode`.
        compile: Compile the network with `torch.compile`.
        class_weights: Weights of the classes in the training loss: a list, or `balanced`, which
            gives a rare class as much weight as a frequent one; see utils/class_weights.py.
        label_smoothing: Share of each label, 0 to 1, spread over all classes in training.

    Raises:
        UserError: num_classes or input_shape is None, because the data module does not have it;
            or class_weights has no positive number for each class.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        net: Callable[[int, Sequence[int]], nn.Module],
        num_classes: int,
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] | None = None,
        param_groups: list[ParamGroup] | None = None,
        monitor: str = "val/acc",
        mode: str = "max",
        compile: bool = False,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        label_smoothing: Probability = 0.0,
    ) -> None:
        super().__init__()
        if num_classes is None or input_shape is None:
            raise UserError(
                "num_classes or input_shape is missing: pass -c configs/data/<name>.yaml that gives both"
            )
        self.save_hyperparameters(logger=False)  # loggers get the whole configuration
        self.net = net(num_classes, input_shape)
        if compile:
            # Unlike `net.compile()`, this compiles an nn.Sequential too. Checkpoints keep the names of the weights.
            self.net.forward = torch.compile(self.net.forward)
        self.optimizer = optimizer or AdamW
        self.lr_scheduler = lr_scheduler
        self.lr_interval = lr_interval
        self.param_groups = param_groups
        self.monitor = monitor
        self.mode = mode
        self.num_classes = num_classes
        self.balances_classes = class_weights == "balanced"
        weights = given_weights(class_weights, num_classes)
        # Not persistent: checkpoints have no weights of classes, and load with any.
        self.register_buffer("class_weights", weights, persistent=False)
        self.label_smoothing = label_smoothing

        # The metrics' own checks of values are off, because they would wait for the GPU in every step.
        self.train_acc = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_acc = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_f1 = MacroF1(num_classes)
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.test_f1 = MacroF1(num_classes)
        self.test_loss = MeanMetric(nan_strategy="disable")

    def setup(self, stage: str) -> None:
        """Balance the classes by the training set, which is loaded now, if `class_weights` is `balanced`."""
        if stage == "fit" and self.balances_classes:
            data = self.trainer.datamodule  # type: ignore[attr-defined]  # not declared
            weights = balanced_weights(data, self.num_classes)
            self.class_weights = weights.to(self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optim.configure_optimizers(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes)."""
        return self.net(inputs)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, a scalar, of logits (N, num_classes) and labels, (N,) or (N, num_classes)."""
        if not self.training:
            # In validation and tests it has no weights and no smoothing, so that runs can be compared.
            return nn.functional.cross_entropy(logits, labels)
        return nn.functional.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=self.label_smoothing
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        logits = self(inputs)
        loss = self.loss(logits, labels)
        if labels.is_floating_point():
            labels = labels.argmax(dim=1)  # the class with the largest share
        self.train_acc.update(logits, labels)
        # Of a small network, `self.log` in every step takes longer than the step.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/acc", self.train_acc, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        inputs, labels = batch
        logits = self(inputs)
        self.val_loss.update(self.loss(logits, labels).expand(len(labels)))  # once per sample
        self.val_acc.update(logits, labels)
        self.val_f1.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log("val/acc", self.val_acc, prog_bar=True)
        self.log("val/f1", self.val_f1)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        inputs, labels = batch
        logits = self(inputs)
        self.test_loss.update(self.loss(logits, labels).expand(len(labels)))
        self.test_acc.update(logits, labels)
        self.test_f1.update(logits, labels)

    def on_test_epoch_end(self) -> None:
        self.log("test/loss", self.test_loss)
        self.log("test/acc", self.test_acc)
        self.log("test/f1", self.test_f1)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `class`, int64 of shape (N,), and `p`, the probabilities, float32 of shape (N, num_classes)."""
        inputs, _ = batch
        probabilities = self(inputs).softmax(dim=1)
        return {"class": probabilities.argmax(dim=1), "p": probabilities}
