"""How many samples a batch has, and what their dataset knows of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import CombinedLoader
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


def loaders_in(loaders: Any) -> list[Any]:
    """Return the loaders of a stage one by one: a data module may give one, or a list or dictionary of them."""
    return list(CombinedLoader(loaders, "sequential").flattened)


def known_of_samples(loader: Any, positions: Sequence[int]) -> dict[str, Any]:
    """Return what the dataset of a loader says of its samples, by column: nothing without `sample_columns`."""
    dataset = getattr(loader, "dataset", None)
    describe = getattr(dataset, "sample_columns", None)
    return dict(describe(positions)) if callable(describe) else {}
