"""Macro F1: a metric in which a rare class counts as much as a frequent one."""

import torch
from torch import Tensor
from torchmetrics import Metric

from .project import UserError


class MacroF1(Metric):
    """The mean of the classes' F1. A class that is neither predicted nor among the labels does not count.

    It is that of torchmetrics' MulticlassF1Score, which waits for the GPU in every step.

    Args:
        num_classes: Number of classes.
    """

    full_state_update = False
    right: Tensor  # samples of each class whose prediction is right, int64 of shape (num_classes,)
    predicted: Tensor  # samples that are predicted as each class
    labelled: Tensor  # samples of each class

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("right", "predicted", "labelled"):
            zeros = torch.zeros(num_classes, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits of shape (N, num_classes, ...), and labels of shape (N, ...).

        Samples with the label -100, which the loss ignores, are not counted.

        Raises:
            UserError: The network has another number of outputs than there are classes.
        """
        outputs, num_classes = logits.shape[1], len(self.right)
        if outputs != num_classes:
            problem = f"the network has {outputs} outputs, but there are {num_classes} classes"
            raise UserError(f"{problem}: it gets their number as num_classes")
        classes = logits.argmax(dim=1).flatten()
        labels = labels.flatten().long()
        counts = (labels >= 0).long()  # 1 for each sample that counts
        is_right = (classes == labels).long()
        labels = labels.clamp(min=0)  # a valid class, to which 0 is added
        self.right = self.right.scatter_add(0, labels, is_right)
        self.predicted = self.predicted.scatter_add(0, classes, counts)
        self.labelled = self.labelled.scatter_add(0, labels, counts)

    def compute(self) -> Tensor:
        """Return the mean, from 0 to 1."""
        total = self.predicted + self.labelled
        f1 = 2 * self.right / total.clamp(min=1)
        return f1.sum() / (total > 0).sum()
