"""CIFAR-10: 60,000 colour pictures of 32x32 pixels, of animals and vehicles (Krizhevsky, 2009)."""

import tarfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from .augment import OFF, Augmentation, mirror, shift
from .in_memory import Batch, DownloadedDataModule, ImageTensors


class CIFAR10DataModule(DownloadedDataModule):
    """The official training set, of which `val_size` images are for validation, and the official test set.

    The archive is read as it is, without being unpacked to disk. In training, half of the images are mirrored.

    Args:
        max_shift: In training, shift each image by up to so many pixels in both directions.
        augmentation: More random changes in training; see Augmentation.
    """

    num_classes = 10
    input_shape = (3, 32, 32)
    mean = 0.4734  # of the training images, in [0, 1]
    std = 0.2516
    classes = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    name = "cifar10"
    mirrors = ("https://www.cs.toronto.edu/~kriz/",)
    sha256: ClassVar = {
        "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    }

    def __init__(
        self, *, max_shift: int = 0, augmentation: Augmentation = OFF, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_shift = max_shift
        self.augmentation = augmentation

    def load(self, train: bool) -> ImageTensors:
        """Return the 50,000 training images, or the 10,000 test images."""
        prefix = "data_batch" if train else "test_batch"  # of the files' names in the archive
        content = bytearray()
        for name in self.sha256:
            with tarfile.open(self.folder / name) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file and Path(member.name).name.startswith(prefix):
                        content += file.read()
        records = torch.frombuffer(content, dtype=torch.uint8).view(-1, 1 + 3072)
        labels = records[:, 0].long()  # the first byte of a record; the others are the image
        images = records[:, 1:].reshape(-1, 3, 32, 32)
        return ImageTensors(images, labels)

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        """Mirror half of the images, shift all, and change them as `augmentation` says."""
        return self.augmentation.change(shift(mirror(images), self.max_shift))

    def augment_batch(self, images: torch.Tensor, labels: torch.Tensor) -> Batch:
        """Augment the images, and mix them and their labels if `augmentation` says so."""
        return self.augmentation.mix(self.augment(images), labels, self.num_classes)
