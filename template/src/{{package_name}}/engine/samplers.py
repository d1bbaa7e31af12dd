"""The order of the samples in an epoch. Read it if two runs with one seed see different batches."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler, Subset

# Positions that become Python numbers at once. All at once would take hundreds of MB for millions of samples.
CHUNK = 10_000


class ShuffledSampler(DistributedSampler[int]):
    """PyTorch's shuffled order, kept as a tensor: a list of millions of numbers takes long and hundreds of MB."""

    order: Tensor | None = None  # of the last epoch, whose memory the next one takes

    def __iter__(self) -> Iterator[int]:
        size = len(cast("Any", self.dataset))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.order = torch.randperm(size, generator=generator, dtype=torch.int32, out=self.order)
        order = self.order
        if self.total_size > size:  # every process gets as many: some samples come once more
            order = order.repeat(math.ceil(self.total_size / size))
        own = order[self.rank : self.total_size : self.num_replicas]
        for chunk in torch.split(own, CHUNK):
            yield from chunk.tolist()


class ResumableLoader(DataLoader[tuple[Tensor, ...]]):
    """A loader that skips the first `skip` batches once, which a resumed run has seen in this epoch."""

    skip = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]  # torch declares a class of its own
        skip = self.skip
        self.skip = 0
        yield from islice(super().__iter__(), skip, None)


def overfit_order(data: Any, seed: int) -> tuple[Subset[Any], SequentialSampler]:
    """Return data and a sampler for `overfit_batches`, which takes the same first batches in every epoch.

    Lightning asks for a sequential order then. The data are shuffled once, so that these batches have all labels.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator).tolist()
    return Subset(data, order), SequentialSampler(order)
