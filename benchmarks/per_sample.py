"""Train SimpleNet on MNIST as most examples do: a picture at a time, with workers, metrics and logs at every step.

Each sample becomes a PIL image, then a tensor, then is normalised, as torchvision does it; two workers do that.
Accuracy is computed and logged at each step and epoch, to TensorBoard and a rich progress bar; the learning rate is
AdamW's own, 0.001. With --until, it tests after each epoch, and ends when the test accuracy is that high.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

from my_project.data_modules.mnist import MNISTDataModule
from my_project.models.simplenet import SimpleNet


def to_tensor(picture: Image.Image) -> Tensor:
    """Do what torchvision's ToTensor does: channels first, in [0, 1]."""
    array = torch.from_numpy(np.array(picture, copy=True)).view(picture.height, picture.width, -1)
    return array.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def normalize(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Do what torchvision's Normalize does, which makes tensors of mean and std, and checks them, for each image."""
    center, scale = (
        torch.as_tensor(values, dtype=image.dtype, device=image.device) for values in (mean, std)
    )
    if (scale == 0).any():
        raise ValueError("std has a zero")
    return image.clone().sub_(center.view(-1, 1, 1)).div_(scale.view(-1, 1, 1))


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images and labels, one at a time."""

    def __init__(self, images: Tensor, labels: Tensor, mean: float, std: float) -> None:
        self.images, self.labels, self.mean, self.std = images[:, 0], labels, (mean,), (std,)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture, label = Image.fromarray(self.images[index].numpy()), int(self.labels[index])
        return normalize(to_tensor(picture), self.mean, self.std), label


class Module(LightningModule):
    """Cross-entropy, and accuracy at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SimpleNet(10, (1, 28, 28))
        self.train_acc, self.val_acc = (MulticlassAccuracy(10, average="micro") for _ in range(2))

    def step(self, batch: tuple[Tensor, Tensor], name: str, accuracy: MulticlassAccuracy) -> Tensor:
        logits = self.net(batch[0])
        loss = cross_entropy(logits, batch[1])
        self.log(f"{name}/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        accuracy(logits, batch[1])
        self.log(f"{name}/acc", accuracy, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.step(batch, "train", self.train_acc)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.step(batch, "val", self.val_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Epochs(RichProgressBar):
    """Notes what epochs take; ends training when the test set, which validation uses then, is right so often."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until, self.times = until, list[float]()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.times.append(time.perf_counter())
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        trainer.should_stop = bool(trainer.callback_metrics["val/acc_epoch"] >= self.until)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.times.append(time.perf_counter())
        super().on_train_end(trainer, pl_module)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--until", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    seed_everything(options.seed, workers=True, verbose=False)
    data = MNISTDataModule(val_size=5000)
    data.setup("fit")
    data.setup("test")

    def loader(part: Any, shuffle: bool) -> DataLoader[tuple[Tensor, int]]:
        images, labels = part.tensors
        pictures = Pictures(images, labels, data.mean, data.std)
        return DataLoader(
            pictures, options.batch_size, shuffle, num_workers=2, persistent_workers=True
        )

    evaluated = data.test_set if options.until < 1 else data.val_set
    bar = Epochs(options.until)
    logger = TensorBoardLogger(options.out.parent / "tensorboard")
    trainer = Trainer(devices=1, max_epochs=options.epochs, logger=logger, callbacks=[bar])
    trainer.fit(Module(), loader(data.train_set, True), loader(evaluated, False))
    seconds = [end - start for start, end in zip(bar.times, bar.times[1:], strict=False)]
    accuracy = trainer.callback_metrics["val/acc_epoch"].item()
    options.out.write_text(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
