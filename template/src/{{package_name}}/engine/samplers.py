"""Decides the order of the samples in an epoch. Read it if two runs with one seed see different batches."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler, Subset

# Positions that are converted to Python numbers at a time. Millions at once would take hundreds of MB.
CHUNK = 10_000


class ShuffledSampler(DistributedSampler[int]):
    """Shuffles like DistributedSampler, but with a tensor, because a list of millions of numbers is slow and large."""

    order: Tensor | None = None  # order of the last epoch; the next epoch reuses its memory
    skip = 0  # samples to leave out once, because a resumed run has seen them in this epoch

    def __iter__(self) -> Iterator[int]:
        skip = self.skip
        self.skip = 0
        size = len(cast("Any", self.dataset))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.order = torch.randperm(size, generator=generator, dtype=torch.int32, out=self.order)
        order = self.order
        if self.total_size > size:  # repeat samples, so that all processes get equally many
            order = order.repeat(math.ceil(self.total_size / size))
        own = order[self.rank : self.total_size : self.num_replicas]
        for chunk in torch.split(own[skip:], CHUNK):
            yield from chunk.tolist()


class ResumableLoader(DataLoader[tuple[Tensor, ...]]):
    """A loader that skips the first `skip` batches once, because a resumed run has seen them in this epoch.

    The samplers of this project leave their samples out, so that they are not read. Those of another sampler are read.
    """

    skip = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]  # torch declares its own class
        skip = self.skip
        self.skip = 0
        sampler: Any = self.sampler
        if hasattr(sampler, "skip") and self.batch_size:
            sampler.skip = skip * self.batch_size
            skip = 0
        yield from islice(super().__iter__(), skip, None)


def overfit_order(data: Any, seed: int) -> tuple[Subset[Any], SequentialSampler]:
    """Return data and a sampler for `overfit_batches`, which uses the same first batches in every epoch.

    Lightning requires a sequential sampler. The data are shuffled once, so that these batches contain all labels.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator).tolist()
    return Subset(data, order), SequentialSampler(order)
