"""MLP: a fully connected network, for tables and for small pictures."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ..utils.limits import PositiveInt, Probability


class MLP(nn.Sequential):
    """Multilayer perceptron: linear layers with ReLU and dropout between them.

    Maps inputs, float32 (N, *input_shape), to logits or predictions (N, num_outputs).

    Args:
        num_outputs: Number of classes, or of numbers to predict.
        input_shape: Shape of one sample: (features,) of a table, (C, H, W) of an image.
        hidden_sizes: Width of each hidden layer; an empty list makes the model linear.
        dropout: Probability that a hidden unit is dropped in training.
    """

    def __init__(
        self,
        num_outputs: int,
        input_shape: Sequence[int],
        hidden_sizes: Sequence[PositiveInt] = (256, 128),
        dropout: Probability = 0,
    ) -> None:
        sizes = [math.prod(input_shape), *hidden_sizes]
        layers: list[nn.Module] = [nn.Flatten()]
        for size, next_size in pairwise(sizes):
            layers += [nn.Linear(size, next_size), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(sizes[-1], num_outputs))
