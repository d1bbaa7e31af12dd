"""Segmentation: loss, metrics, predictions and the optimizer, for any network that gives logits of each pixel."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from ..utils import optim
from ..utils.param_groups import ParamGroup
from ..utils.project import UserError

IGNORED = -100  # in masks: pixels that count neither in the loss nor in the metrics

Batch = tuple[Tensor, Tensor]


class SegmentationModule(LightningModule):
    """Trains a network with cross-entropy and the Dice loss.

    A batch is a pair of images, float32 of shape (N, C, H, W), and masks with the class of each pixel, int64 of shape
    (N, H, W). Pixels of -100 are ignored.

    Args:
        net: Builds the network from num_classes and input_shape; it returns logits (N, num_classes, H, W).
        num_classes: Number of classes, the background included; from the data module.
        input_shape: Shape (C, H, W) of an image; from the data module.
        optimizer: Builds the optimizer from the parameters; AdamW if None.
        lr_scheduler: Builds the scheduler from the optimizer; a constant rate if None.
        lr_interval: When that steps: after every `step` (batch) or `epoch`; its class decides if None.
        param_groups: Learning rates, weight decay and freezing by names of parameters; see ParamGroup.
        monitor: Metric that ReduceLROnPlateau follows; from `checkpoint.monitor`.
        mode: Whether more (`max`) or less (`min`) of it is better; from `checkpoint.mode`.
        compile: Compile the network with `torch.compile`.
        dice_weight: Weight of the Dice loss, which is added to cross-entropy.

    Raises:
        UserError: num_classes or input_shape is None, because the data module does not have it.
    """

    def __init__(
        self,
        net: Callable[[int, Sequence[int]], nn.Module],
        num_classes: int,
        input_shape: Sequence[int],
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] | None = None,
        param_groups: list[ParamGroup] | None = None,
        monitor: str = "val/iou",
        mode: str = "max",
        compile: bool = False,
        dice_weight: float = 1.0,
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
        self.dice_weight = dice_weight

        # The metrics' own checks of values are off, because they would wait for the GPU in every step.
        self.val_pixels = MulticlassConfusionMatrix(
            num_classes, ignore_index=IGNORED, validate_args=False
        )
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.test_pixels = MulticlassConfusionMatrix(
            num_classes, ignore_index=IGNORED, validate_args=False
        )
        self.test_loss = MeanMetric(nan_strategy="disable")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optim.configure_optimizers(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes, H, W)."""
        return self.net(images)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits (N, num_classes, H, W) and masks (N, H, W)."""
        check_shapes(logits, masks)
        dice = dice_loss(logits, masks)
        return pixel_loss(logits, masks) + self.dice_weight * dice

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, masks = batch
        loss = self.loss(self(images), masks)
        # Of a small network, `self.log` in every step takes longer than the step.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.log("train/loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, masks = batch
        logits = self(images)
        self.val_loss.update(self.loss(logits, masks).expand(len(masks)))  # once per image
        self.val_pixels.update(logits, masks)

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log_iou("val/iou", self.val_pixels)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        images, masks = batch
        logits = self(images)
        self.test_loss.update(self.loss(logits, masks).expand(len(masks)))
        self.test_pixels.update(logits, masks)

    def on_test_epoch_end(self) -> None:
        self.log("test/loss", self.test_loss)
        self.log_iou("test/iou", self.test_pixels)

    def log_iou(self, name: str, pixels: MulticlassConfusionMatrix) -> None:
        """Log the IoU of each class, and their mean. It is of all pixels together, not a mean over images."""
        iou = class_iou(pixels.compute())
        pixels.reset()
        self.log(name, iou.nanmean(), prog_bar=True, sync_dist=True)
        for number, value in enumerate(iou):
            self.log(f"{name}_{number}", value, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return `mask`, the class of each pixel, int64 (N, H, W), and `p`, its probability, float32 (N, H, W)."""
        images, _ = batch
        probabilities = self(images).softmax(dim=1)
        p, classes = probabilities.max(dim=1)
        return {"mask": classes, "p": p}


def check_shapes(logits: Tensor, masks: Tensor) -> None:
    """Raise UserError if there is no mask with a class for each pixel of the logits."""
    expected = (len(logits), *logits.shape[2:])
    if masks.shape != expected:
        problem = f"the labels of a batch have the shape {tuple(masks.shape)}"
        needed = f"logits of shape {tuple(logits.shape)} need masks of shape {expected}"
        raise UserError(f"{problem}, but {needed}: take data with masks, and a network that fits")


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy of all pixels that are not ignored; 0 if all are."""
    losses = nn.functional.cross_entropy(logits, masks, ignore_index=IGNORED, reduction="none")
    counted = (masks != IGNORED).sum()
    return losses.sum() / counted.clamp(min=1)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return 1 minus the mean Dice coefficient of the classes in a batch (Milletari et al., 2016).

    The Dice coefficient of a class is twice the overlap of its pixels and its probabilities, divided by the sum of
    both. Unlike cross-entropy, it gives a class of few pixels as much weight as the background.
    """
    masks = masks.unsqueeze(1)
    probabilities = logits.float().softmax(dim=1) * (masks != IGNORED)
    classes = torch.arange(logits.shape[1], device=masks.device)
    is_class = masks == classes.view(1, -1, 1, 1)  # (N, num_classes, H, W)

    pixels = (0, 2, 3)  # the dimensions of all pixels of a class
    overlap = (probabilities * is_class).sum(dim=pixels)
    true_pixels = is_class.sum(dim=pixels)
    total = probabilities.sum(dim=pixels) + true_pixels
    dice = 2 * overlap / total.clamp(min=1)

    occurs = true_pixels > 0
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp(min=1)


def class_iou(pixels: Tensor) -> Tensor:
    """Return the intersection over union of each class, float32 (K,); NaN for a class that does not occur.

    Args:
        pixels: How many pixels of each class (row) were predicted as each class (column), int64 (K, K).
    """
    right = pixels.diag()
    union = pixels.sum(dim=0) + pixels.sum(dim=1) - right
    return right / union
