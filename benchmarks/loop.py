"""Train SimpleNet on MNIST with a loop written by hand, the least that it can cost; write the seconds of each epoch.

Its tensors are normalised before, and it computes no metrics in training. The network, the optimizer, the schedule and
the validation set are the project's, whose src/ is in PYTHONPATH. On a GPU, all data are kept there.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from my_project.data_modules.mnist import MNISTDataModule
from my_project.engine.start import keep_freed_memory
from my_project.models.simplenet import SimpleNet
from my_project.utils.schedules import WarmupSchedule


def main() -> None:  # noqa: PLR0915
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--keep_memory", action="store_true", help="as the project does")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.keep_memory:
        keep_freed_memory()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = MNISTDataModule(val_size=5000)
    data.setup("fit")
    (images, labels), (val_images, val_labels) = (
        (
            ((part.tensors[0].float() / 255 - data.mean) / data.std).to(device),
            part.tensors[1].to(device),
        )
        for part in (data.train_set, data.val_set)
    )
    net = SimpleNet(10, (1, 28, 28)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, fused=True)
    steps = -(-len(labels) // options.batch_size)
    schedule = WarmupSchedule(optimizer, total_steps=options.epochs * steps)
    seconds = []
    for _ in range(options.epochs):
        start = time.perf_counter()
        net.train()
        for batch in torch.split(torch.randperm(len(labels), device=device), options.batch_size):
            optimizer.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            pairs = zip(
                val_images.split(options.batch_size),
                val_labels.split(options.batch_size),
                strict=True,
            )
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in pairs)
        seconds.append(time.perf_counter() - start)
    options.out.write_text(json.dumps({"seconds": seconds, "accuracy": right / len(val_labels)}))


if __name__ == "__main__":
    main()
