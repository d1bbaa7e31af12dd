"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998)."""

import gzip
from typing import ClassVar

import torch

from .in_memory import DownloadedDataModule, ImageTensors


class MNISTDataModule(DownloadedDataModule):
    """The official training set and test set. For validation, `val_size` training images are held out."""

    num_classes = 10
    input_shape = (1, 28, 28)
    mean = 0.1307  # of the training images, in [0, 1]
    std = 0.3081

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
        images = self._read(f"{part}-images-idx3-ubyte.gz", header=16)
        labels = self._read(f"{part}-labels-idx1-ubyte.gz", header=8)
        return ImageTensors(images.view(-1, 1, 28, 28), labels.long())

    def _read(self, name: str, header: int) -> torch.Tensor:
        """Return the bytes of an IDX file after its header, uint8 of shape (bytes,)."""
        with gzip.open(self.folder / name) as file:
            content = bytearray(file.read())
        return torch.frombuffer(content, dtype=torch.uint8, offset=header)
