"""Train on packed pictures and on the same ones in memory, a few steps each in turn: `alternate.py OUT FOLDER`.

Both are in one process and have the same network, because what else runs on the machine then slows down both alike.
Samples per second of each block of steps are written to OUT.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from held import HeldDataModule
from torch.nn import functional as F

from my_project.data_modules.packed import PackedDataModule
from my_project.models.simplenet import SimpleNet

BLOCKS, STEPS = 40, 5


def batches(data: Any) -> Iterator[Any]:
    """Yield normalised batches without an end."""
    data.setup("fit")
    loader = data.train_dataloader()
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield data.on_after_batch_transfer(batch, 0)


def main(out: str, folder: str) -> None:
    network = SimpleNet(10, (1, 64, 64))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    sources = {
        "packed": batches(PackedDataModule(folder=folder)),
        "in memory": batches(HeldDataModule(folder=folder)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(BLOCKS):
        for name, source in sources.items():
            start = time.perf_counter()
            count = 0
            for images, labels in itertools.islice(source, STEPS):
                loss = F.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # not typed
                optimizer.step()
                count += len(labels)
            speeds[name].append(count / (time.perf_counter() - start))
    Path(out).write_text(json.dumps({name: values[2:] for name, values in speeds.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
