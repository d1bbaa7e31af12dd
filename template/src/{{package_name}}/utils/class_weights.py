"""Weights of the classes in a loss, for training sets in which some classes are rare."""

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor

from .project import UserError


def given_weights(
    weights: Literal["balanced"] | Sequence[float] | None, num_classes: int
) -> Tensor | None:
    """Return the weights that are given as a list, float32 of shape (num_classes,); None if there is no list.

    Raises:
        UserError: The list does not have a positive number for each class.
    """
    if weights is None or isinstance(weights, str):
        return None
    if len(weights) != num_classes:
        raise UserError(
            f"class_weights has {len(weights)} numbers, but there are {num_classes} classes: "
            "give a number for each, or balanced"
        )
    for number, weight in enumerate(weights):
        if not 0 < weight < inf:
            # Of 0, a batch of such samples alone would have no loss.
            raise UserError(
                f"class_weights has {weight} for class {number}, but must have positive numbers"
            )
    return torch.tensor(weights, dtype=torch.float32)


def balanced_weights(data: Any, num_classes: int) -> Tensor:
    """Return weights that balance the classes of a training set, float32 of shape (num_classes,).

    Of K classes with n_1 to n_K samples, class c has the weight K (1 / n_c) / (1 / n_1 + ... + 1 / n_K), which are 1
    on average. A class without training samples has the weight 0, and is none of the K.

    Args:
        data: The data module. Its method `class_counts` returns the number of training samples of each class.
        num_classes: The number of classes.

    Raises:
        UserError: The data module does not have these numbers.
    """
    count = getattr(data, "class_counts", None)
    if count is None:
        name = "the data" if data is None else type(data).__name__
        raise UserError(
            f"class_weights is balanced, but {name} has no class_counts(): "
            "write that method, which returns the training samples of each class, or give a list"
        )
    counts = torch.tensor(count(), dtype=torch.float32)
    if len(counts) != num_classes or counts.sum() == 0:
        raise UserError(
            f"class_weights is balanced, but {type(data).__name__}.class_counts() is {counts.long().tolist()}: "
            f"it must have the training samples of {num_classes} classes"
        )
    exist = counts > 0
    inverse = torch.where(exist, 1 / counts, 0)
    return inverse / inverse[exist].mean()
