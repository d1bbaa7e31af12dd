"""Data larger than memory: files of raw bytes, of which a batch reads only what it has.

Put such a module among the data modules of a project to train on files of your own.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from my_project.data_modules.in_memory import Batch, ImageTensors, InMemoryDataModule


class MappedImages(ImageTensors):  # type: ignore[misc]  # of the rendered project
    """Images of one shape, (C, H, W), in the file `images` of a folder, and labels, a byte each, in `labels`."""

    def __init__(self, folder: Path, shape: Sequence[int]) -> None:
        count = (folder / "labels").stat().st_size
        images, labels = (
            torch.from_file(str(folder / name), size=size, dtype=torch.uint8)
            for name, size in (("images", count * math.prod(shape)), ("labels", count))
        )
        super().__init__(images.view(count, *shape), labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""
        images, labels = super().__getitems__(indices)
        return images, labels.long()


class MappedDataModule(InMemoryDataModule):  # type: ignore[misc]
    """Images of MNIST's shape, any number of them, in the folders `train`, `val` and `test` of a folder."""

    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.5, 0.3

    def __init__(self, folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder)

    def setup(self, stage: str) -> None:
        """Map the files of the stage, `fit`, `validate`, `test` or `predict`."""
        for part in ("test",) if stage in ("test", "predict") else ("train", "val"):
            setattr(self, f"{part}_set", MappedImages(self.folder / part, self.input_shape))
