"""A learning rate schedule with a warm-up. Any schedule of `torch.optim.lr_scheduler` can take its place."""

import math
from typing import Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupSchedule(LRScheduler):
    """Raises the learning rate linearly to that of the optimizer, and then lowers it. Steps after every batch.

    Every parameter group has its own learning rate, which is multiplied by the same factor.

    Args:
        optimizer: The optimizer, whose learning rate is the highest of the schedule.
        warmup: Length of the warm-up: a share of all steps if less than 1, else a number of steps.
        decay: Shape of the decay after the warm-up. `cosine` and `linear` last until the end of the training.
            `constant` keeps the learning rate until the cooldown, which is linear (Zhai et al., 2022).
        cooldown: Length of the cooldown of `constant`: a share of all steps if less than 1, else a number of steps.
        final: Learning rate at the end, as a share of the highest.
        total_steps: Number of all steps. The module fills in the length of the training.
    """

    interval = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: float = 0.1,
        decay: Literal["cosine", "linear", "constant"] = "cosine",
        cooldown: float = 0.2,
        final: float = 0.0,
        total_steps: int | None = None,
    ) -> None:
        if total_steps is None:
            raise ValueError(
                "WarmupSchedule needs total_steps, the number of steps of the training"
            )
        self.warmup = warmup
        self.decay = decay
        self.cooldown = cooldown
        self.final = final
        self.total_steps = total_steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each parameter group for the next step."""
        factor = self.factor(self.last_epoch)  # PyTorch's name for the number of steps
        return [rate * factor for rate in self.base_lrs]

    def factor(self, step: int) -> float:
        """Return the share of the highest learning rate with which a step is made. The first step is 0."""
        warmup = self.steps(self.warmup)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        start = warmup
        if self.decay == "constant":
            start = max(warmup, self.total_steps - self.steps(self.cooldown))
        progress = max(0.0, (step - start) / max(1, self.total_steps - start))
        remaining = 1 - min(1.0, progress)
        if self.decay == "cosine":
            remaining = (1 - math.cos(math.pi * remaining)) / 2
        return self.final + (1 - self.final) * remaining

    def steps(self, length: float) -> int:
        """Return the number of steps of a length, which is a share of all steps if less than 1."""
        return round(length * self.total_steps) if length < 1 else int(length)
