"""Regression: loss, metrics, predictions and the optimizer, for any network that gives numbers."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from ..utils import optim
from ..utils.param_groups import ParamGroup
from ..utils.project import UserError


class RegressionModule(LightningModule):
    """Trains a network with the mean squared error, in standard deviations of the targets.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and targets, real numbers of shape
    (N, num_outputs). For one output, the shape (N,) is accepted too. Predictions, MAE and RMSE are in the units of the
    targets. With several outputs, each metric is their mean; RMSE is the root of the mean. If the data module has
    `target_mean` and `target_std`, lists of num_outputs numbers, the network learns standardised targets. With
    `log_target`, these and the loss are of the targets' natural logarithms.

    Args:
        net: Builds the network from num_outputs and input_shape; it returns (N, num_outputs).
        num_outputs: How many numbers to predict; from the data module.
        input_shape: Shape of one sample, such as (C, H, W); from the data module.
        log_target: Learn the targets' logarithms; from the data module, if it has such an option.
        optimizer: Builds the optimizer from the parameters; AdamW if None.
        lr_scheduler: Builds the scheduler from the optimizer; a constant rate if None.
        lr_interval: When that steps: after every `step` (batch) or `epoch`; its class decides if None.
        param_groups: Learning rates, weight decay and freezing by names of parameters; see ParamGroup.
        monitor: Metric that ReduceLROnPlateau follows; from `checkpoint.monitor`.
        mode: Whether more (`max`) or less (`min`) of it is better; from `checkpoint.mode`.
        compile: Compile the network with `torch.compile`.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        net: Callable[[int, Sequence[int]], nn.Module],
        num_outputs: int,
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] | None = None,
        param_groups: list[ParamGroup] | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
        compile: bool = False,
        log_target: bool = False,
    ) -> None:
        super().__init__()
        if num_outputs is None or input_shape is None:
            raise UserError(
                "num_outputs or input_shape is missing: pass -c configs/data/<name>.yaml that gives both"
            )
        self.save_hyperparameters(logger=False)  # loggers get the whole configuration
        self.net = net(num_outputs, input_shape)
        if compile:
            # Unlike `net.compile()`, this compiles an nn.Sequential too. Checkpoints keep the names of the weights.
            self.net.forward = torch.compile(self.net.forward)
        self.optimizer = optimizer or AdamW
        self.lr_scheduler = lr_scheduler
        self.lr_interval = lr_interval
        self.param_groups = param_groups
        self.monitor = monitor
        self.mode = mode
        self.log_target = log_target
        self.register_buffer("target_mean", torch.zeros(num_outputs))
        self.register_buffer("target_std", torch.ones(num_outputs))
        self.val_metrics = regression_metrics("val/")
        self.test_metrics = regression_metrics("test/")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optim.configure_optimizers(self)

    def setup(self, stage: str) -> None:
        """Take the training targets' mean and standard deviation from the data module, if it has them."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # not declared
        if stage == "fit" and hasattr(data, "target_mean"):
            self.target_mean.copy_(torch.tensor(data.target_mean))
            self.target_std.copy_(torch.tensor(data.target_std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predictions, float32 of shape (N, num_outputs), in the units of the targets."""
        predictions = self.target_mean + self.target_std * self.net(inputs)
        return predictions.exp() if self.log_target else predictions

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of predictions and targets, both of shape (N, num_outputs).

        Both are in the units of the targets. A loss of your own should divide by `target_std` too, and take the
        logarithms first with `log_target`. Otherwise the learning rate suits one unit alone.
        """
        if self.log_target:
            predictions = predictions.log()
            targets = targets.log()
        return ((predictions - targets) / self.target_std).square().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        predictions, targets = self._predictions_and_targets(batch)
        loss = self.loss(predictions, targets)
        # Of a small network, `self.log` in every step takes longer than the step.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._update(self.val_metrics, batch)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_metrics, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._update(self.test_metrics, batch)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_metrics)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return `prediction`, float32 of shape (N, num_outputs), or (N,) for one output."""
        return {"prediction": self(batch[0]).squeeze(1)}

    def _predictions_and_targets(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        predictions = self(batch[0])
        return predictions, batch[1].float().reshape(predictions.shape)

    def _update(self, metrics: MetricCollection, batch: tuple[Tensor, Tensor]) -> None:
        predictions, targets = self._predictions_and_targets(batch)
        metrics["loss"].update(self.loss(predictions, targets).expand(len(targets)))
        metrics["mae"].update(predictions, targets)
        metrics["rmse"].update(predictions, targets)
        # R2 is the same of standardised numbers, whose sums of squares lose no digits.
        metrics["r2"].update(self._standardised(predictions), self._standardised(targets))

    def _standardised(self, values: Tensor) -> Tensor:
        if self.log_target:  # by the mean of the logarithms, in the targets' unit
            middle = self.target_mean.exp()
            return (values - middle) / middle
        return (values - self.target_mean) / self.target_std


def regression_metrics(prefix: str) -> MetricCollection:
    """Return the metrics of a validation or a test, whose names begin with `prefix`."""
    metrics: dict[str, Metric | MetricCollection] = {
        # Its own check of values is off, because it would wait for the GPU in every step.
        "loss": MeanMetric(nan_strategy="disable"),
        "mae": MeanAbsoluteError(),
        "rmse": MeanSquaredError(squared=False),
        "r2": R2Score(),
    }
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)
