"""A moving average of the weights, which is validated and saved in their place."""

from typing import Any

import torch
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
        super().__init__(avg_fn=self.average, **kwargs)

    def average(self, averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        """Return the new average of one weight.

        Args:
            averaged: The average so far, of any shape.
            current: The weight after the last step, of the same shape.
            updates: How often the average has been updated. A tensor stays on its device.
        """
        warm_up = (1 + updates) / (10 + updates)
        decay = torch.as_tensor(warm_up).clamp(max=self.decay).to(averaged.device)
        return decay * averaged + (1 - decay) * current
