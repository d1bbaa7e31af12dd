"""A moving average of the weights, which is validated and saved in their place."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from ..utils.project import UserError


class MovingAverage(WeightAveraging):
    """Validates and saves an exponential moving average (EMA) of the weights (Polyak and Juditsky, 1992).

    After `n` updates, the average keeps min(decay, (1 + n) / (10 + n)) of itself. So the first, almost random weights
    are soon forgotten. With Lightning's EMAWeightAveraging, they dominate a short training.

    Args:
        decay: The share that the average keeps of itself in each step: it spans about 1 / (1 - decay) steps.
        kwargs: The arguments of Lightning's WeightAveraging, such as `device`.

    Raises:
        UserError: The decay is not between 0 and 1.
    """

    def __init__(self, decay: float = 0.999, **kwargs: Any) -> None:
        if not 0 < decay < 1:
            raise UserError(f"decay is {decay}, but must be between 0 and 1, such as 0.999")
        self.decay = decay
        super().__init__(multi_avg_fn=self.average, **kwargs)

    def average(
        self, averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor
    ) -> None:
        """Update the average of the weights.

        Args:
            averaged: The averages so far, of any shapes.
            current: The weights after the last step, of the same shapes.
            updates: How often the average has been updated, int64 of shape (), on the same device.
        """
        warm_up = (1 + updates) / (10 + updates)
        decay = warm_up.clamp(max=self.decay)
        for average, weight in zip(averaged, current, strict=True):
            average.copy_(decay * average + (1 - decay) * weight)
