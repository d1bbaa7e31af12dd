"""Counts the samples of a batch, and looks up columns about them in their dataset.

Read this when the speed, or a column of predictions.csv, is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor


def samples_in(batch: Any) -> int:
    """Return the number of samples in a batch: the length of its first tensor; 0 without one.

    A loader's `batch_size` is no help: it is None with a batch sampler, and missing with several loaders.
    """
    if isinstance(batch, Tensor):
        if batch.ndim == 0:
            return 0
        return len(batch)
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return next(filter(None, map(samples_in, batch)), 0)
    return 0


def loaders_in(loaders: Any) -> list[Any]:
    """Return the loaders of a stage as a list. A data module may return one, or nested lists and dictionaries."""
    return list(CombinedLoader(loaders, "sequential").flattened)


def known_of_samples(loader: Any, positions: Sequence[int]) -> dict[str, Any]:
    """Return the columns that a loader's dataset has for some samples; none if it has no `sample_columns`."""
    dataset = getattr(loader, "dataset", None)
    describe = getattr(dataset, "sample_columns", None)
    if not callable(describe):
        return {}
    return dict(describe(positions))


def values_at(columns: Mapping[str, Sequence[Any]], positions: Sequence[int]) -> dict[str, Any]:
    """Return columns about a dataset for some of its samples. A column has a value for each sample."""
    found = {}
    for name, values in columns.items():
        found[name] = [values[position] for position in positions]
    return found
