"""Batches of texts of like length, so that little of a batch is padding."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

BATCHES = (
    50  # whose texts are sorted by length together. More of them: less padding, and less chance
)


class LikeLengthsSampler(DistributedSampler[int]):
    """Shuffles texts, and then sorts each group of 50 batches by length. The batches come in a random order.

    Seed and epoch decide the order alone, as DistributedSampler's do, so that a training resumes within an epoch. All
    processes together take one batch after another, so that each of them has texts of the same length in a step.

    Args:
        dataset: The dataset, whose `lengths` are int64 of shape (N,).
        num_replicas: Number of processes.
        rank: Number of this process.
        shuffle: Unused, because it always shuffles.
        seed: Seed of the order.
        batch_size: Texts per batch and process.
    """

    def __init__(
        self, dataset: Any, num_replicas: int, rank: int, shuffle: bool, seed: int, batch_size: int
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed)
        self.lengths: Tensor = dataset.lengths
        self.batch_size = batch_size * num_replicas  # of all processes together

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        # Some texts may come twice, so that all processes get equally many.
        order = order[torch.arange(self.total_size) % len(order)]
        count = len(order) // self.batch_size
        # An incomplete batch stays the last one, because it would shift all that come after it.
        whole, rest = order.tensor_split([count * self.batch_size])
        batches = self.sorted_by_length(whole).view(count, self.batch_size)
        batches = batches[torch.randperm(count, generator=generator)]
        order = torch.cat([batches.flatten(), rest])
        own = order[self.rank :: self.num_replicas]
        return iter(own.tolist())

    def sorted_by_length(self, order: Tensor) -> Tensor:
        """Return positions, int64 of shape (N,), in groups of which each is sorted by length."""
        groups = []
        for group in torch.split(order, BATCHES * self.batch_size):
            by_length = self.lengths[group].argsort(stable=True)
            groups.append(group[by_length])
        return torch.cat(groups)
