"""CIFAR-10: 60,000 colour pictures of 32x32 pixels, of animals and vehicles (Krizhevsky, 2009)."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..utils.project import project_root
from .in_memory import ImageTensors, InMemoryDataModule, download

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
SHA256 = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}


class CIFAR10DataModule(InMemoryDataModule):
    """The official training set, of which `val_size` images are for validation, and the official test set.

    The archive belongs in `cifar10/` in the data folder. If it is not there, it is downloaded; it is read as it is,
    without being unpacked to disk.

    Args:
        data_dir: The data folder, relative to the working directory; `data` in the project's root if None.
        mirrors: Base URLs to download from, tried in this order.
    """

    num_classes, input_shape, mean, std = 10, (3, 32, 32), 0.4734, 0.2516

    def __init__(self, data_dir: str | None = None, mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = (Path(data_dir) if data_dir else project_root() / "data") / "cifar10"
        self.mirrors = mirrors

    def prepare_data(self) -> None:
        """Check the archive, or download it; raise UserError if it is wrong or cannot be had."""
        download(self.folder, SHA256, self.mirrors)

    def load(self, train: bool) -> ImageTensors:
        """Return the 50,000 training images, or the 10,000 test images."""
        wanted, content = "data_batch" if train else "test_batch", bytearray()
        with tarfile.open(self.folder / next(iter(SHA256))) as archive:
            for member in archive:
                if Path(member.name).name.startswith(wanted) and (file := archive.extractfile(member)):
                    content += file.read()
        records = torch.frombuffer(content, dtype=torch.uint8).view(-1, 1 + 3072)  # a label, and the image's bytes
        return ImageTensors(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long())

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        """Mirror half of the images, and shift all."""
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return super().augment(torch.where(mirrored, images.flip(3), images))
