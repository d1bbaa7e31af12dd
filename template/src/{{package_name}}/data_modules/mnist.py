"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998)."""

import gzip
from typing import ClassVar

import torch

from .in_memory import DownloadedDataModule, ImageTensors


class MNISTDataModule(DownloadedDataModule):
    """The official training set, of which `val_size` images are for validation, and the official test set."""

    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.1307, 0.3081
    name = "mnist"
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    sha256: ClassVar = {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }

    def load(self, train: bool) -> ImageTensors:
        """Return the 60,000 training images, or the 10,000 test images."""
        part = "train" if train else "t10k"
        images = self._read(f"{part}-images-idx3-ubyte.gz", header=16).view(-1, 1, 28, 28)
        return ImageTensors(images, self._read(f"{part}-labels-idx1-ubyte.gz", header=8).long())

    def _read(self, name: str, header: int) -> torch.Tensor:
        with gzip.open(self.folder / name) as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=header)
