"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998)."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..utils.project import project_root
from .in_memory import ImageTensors, InMemoryDataModule, download

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


class MNISTDataModule(InMemoryDataModule):
    """The official training set, of which `val_size` images are for validation, and the official test set.

    The four files belong in `mnist/` in the data folder. Those that are not there are downloaded.

    Args:
        data_dir: The data folder, relative to the working directory; `data` in the project's root if None.
        mirrors: Base URLs to download from, tried in this order.
    """

    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.1307, 0.3081
    name, sha256 = "mnist", SHA256

    def __init__(self, data_dir: str | None = None, mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = (Path(data_dir) if data_dir else project_root() / "data") / self.name
        self.mirrors = mirrors

    def prepare_data(self) -> None:
        """Check the four files and download the missing ones; raise UserError if one is wrong or cannot be had."""
        download(self.folder, self.sha256, self.mirrors)

    def load(self, train: bool) -> ImageTensors:
        """Return the 60,000 training images, or the 10,000 test images."""
        part = "train" if train else "t10k"
        images = self._read(f"{part}-images-idx3-ubyte.gz", header=16).view(-1, 1, 28, 28)
        return ImageTensors(images, self._read(f"{part}-labels-idx1-ubyte.gz", header=8).long())

    def _read(self, name: str, header: int) -> torch.Tensor:
        with gzip.open(self.folder / name) as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=header)
