"""Decides the order of samples that are read in pieces. Read it if two runs with one seed see different batches.

The order is computed from the numbers of rows alone. So a resumed run finds its place without reading anything.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DistributedSampler

# Streams that a process reads side by side. Batch i is from stream i % STREAMS, and PyTorch gives it to worker
# i % num_workers. So each stream has one worker if the number of workers divides this number.
STREAMS = 8


class PieceSampler(DistributedSampler[int]):
    """Shuffles pieces, and the samples of some pieces at a time, so that few pieces are in memory.

    The shuffled pieces, one after another, are divided among the processes: each gets as many samples as the others,
    and at most one per process is repeated. A process divides its share among its streams, whose batches take turns.
    A stream puts pieces together until they have `buffer / STREAMS` samples, and shuffles these.

    The order depends on the seed, the epoch and the number of processes. It does not depend on the workers.

    Args:
        dataset: The data. Its attribute `rows` has the `pieces`.
        num_replicas: Number of processes.
        rank: Number of this process.
        shuffle: True.
        seed: Seed of the run.
        batch_size: Samples per batch.
        buffer: Samples that a process shuffles at a time.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int,
        rank: int,
        shuffle: bool,
        seed: int,
        batch_size: int,
        buffer: int,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed)
        self.batch_size = batch_size
        self.buffer = int(buffer)  # a plain number, because checkpoints hold it
        self.skip = 0  # samples to leave out once, because a resumed run has seen them
        self.sizes = torch.tensor([piece.rows for piece in dataset.rows.pieces])
        self.starts = self.sizes.cumsum(0) - self.sizes

    @property
    def decides_order(self) -> dict[str, int]:
        """Return what a run must not change within an epoch, by its name in messages."""
        return {
            "the number of processes": self.num_replicas,
            "data.shuffle_buffer": self.buffer,
            "the number of training samples": len(cast("Any", self.dataset)),
        }

    def __iter__(self) -> Iterator[int]:
        skip = self.skip
        self.skip = 0
        return islice(self.positions(), skip, None)

    def positions(self) -> Iterator[int]:
        """Yield the positions of all samples of this process."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.sizes), generator=generator)
        seeds = torch.randint(2**62, (self.num_replicas, STREAMS), generator=generator)
        begin = self.rank * len(cast("Any", self.dataset)) // self.num_replicas
        bounds = [begin + i * self.num_samples // STREAMS for i in range(STREAMS + 1)]
        streams = []
        for i, seed in enumerate(seeds[self.rank].tolist()):
            blocks = self.blocks(order, bounds[i], bounds[i + 1], seed)
            streams.append(batches(blocks, self.batch_size))
        return in_turn(streams, self.batch_size)

    def blocks(self, order: Tensor, begin: int, end: int, seed: int) -> Iterator[Tensor]:
        """Yield the shuffled blocks of a stream: positions, int64 of shape (N,).

        Args:
            order: Numbers of the pieces, in the order of the epoch.
            begin: First sample of the stream, counted in this order.
            end: The one after its last sample.
            seed: Seed of the stream.
        """
        generator = torch.Generator().manual_seed(seed)
        ends = self.sizes[order].cumsum(0)
        number = int(torch.searchsorted(ends, begin, right=True))
        block: list[Tensor] = []
        samples = 0
        while begin < end:
            piece = order[number]
            piece_end = int(ends[number])
            stop = min(piece_end, end)
            # from the count in the order of the epoch to the position in the dataset
            offset = int(self.starts[piece] + self.sizes[piece]) - piece_end
            block.append(torch.arange(begin, stop) + offset)
            samples += stop - begin
            begin = stop
            number += 1
            if samples >= self.buffer // STREAMS or begin == end:
                yield torch.cat(block)[torch.randperm(samples, generator=generator)]
                block = []
                samples = 0


def batches(blocks: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the samples of blocks in batches. The last one may be smaller."""
    rest = torch.empty(0, dtype=torch.int64)
    for block in blocks:
        whole = torch.cat([rest, block])
        count = len(whole) // size * size
        yield from torch.split(whole[:count], size)
        rest = whole[count:]
    if len(rest):
        yield rest


def in_turn(streams: list[Iterator[Tensor]], size: int) -> Iterator[int]:
    """Yield the samples of a batch of each stream in turn. Batches smaller than `size` come at the end."""
    small = []
    while streams:
        for stream in tuple(streams):
            batch = next(stream, None)
            if batch is None:
                streams.remove(stream)
            elif len(batch) < size:
                small.append(batch)
            else:
                yield from batch.tolist()
    for batch in small:
        yield from batch.tolist()


class ShareSampler(UnrepeatedDistributedSampler):
    """Gives each process one share of the samples, in their order, and none of them twice.

    Processes that take samples in turn, as in Lightning's sampler, would all read all pieces.
    """

    def __init__(self, dataset: Any, *args: Any) -> None:
        super().__init__(dataset, *args)
        samples = len(dataset)
        begin = self.rank * samples // self.num_replicas
        end = (self.rank + 1) * samples // self.num_replicas
        self.share = range(begin, end)
        self.num_samples = len(self.share)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.share)
