"""How many samples a batch has, for what is said about speed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def samples_in(batch: Any) -> int:
    """Return how many samples a batch has: the length of the first tensor in it, 0 if there is none.

    What a loader calls its batch size is None with a batch sampler, and missing where there are several loaders.
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 0
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return next(filter(None, map(samples_in, batch)), 0)
    return 0
