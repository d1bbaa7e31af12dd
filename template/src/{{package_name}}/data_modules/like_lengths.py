"""Batches of texts of like length, so that little of a batch is padding."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

# Batches whose texts are sorted by length together. With more of them, there is less padding, but batches are less
# random.
BATCHES_IN_GROUP = 50


class LikeLengthsSampler(DistributedSampler[int]):
    """Shuffles texts, sorts groups of them by length, cuts the groups into batches, and shuffles the batches.

    Like that of DistributedSampler, the order depends on seed and epoch alone, so that a training can resume within an
    epoch. In each step, all processes share one such batch, so that their texts are of like length, too.

    Args:
        dataset: The dataset. Its attribute `lengths` has the tokens of each text, int64 of shape (N,).
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
        self.step_size = batch_size * num_replicas  # texts of all processes in a step

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        # Some texts may come twice, so that all processes get equally many.
        order = order[torch.arange(self.total_size) % len(order)]

        # An incomplete batch stays the last one. Anywhere else, it would shift the texts of all batches after it.
        count = len(order) // self.step_size
        complete = order[: count * self.step_size]
        rest = order[count * self.step_size :]

        batches = self.sorted_by_length(complete).view(count, self.step_size)
        batches = batches[torch.randperm(count, generator=generator)]
        order = torch.cat([batches.flatten(), rest])
        own = order[self.rank :: self.num_replicas]
        return iter(own.tolist())

    def sorted_by_length(self, order: Tensor) -> Tensor:
        """Return positions of texts, int64 of shape (N,), each group of them sorted by length."""
        groups = []
        for group in torch.split(order, BATCHES_IN_GROUP * self.step_size):
            by_length = self.lengths[group].argsort(stable=True)
            groups.append(group[by_length])
        return torch.cat(groups)
