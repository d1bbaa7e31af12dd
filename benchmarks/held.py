"""Packed pictures that are read into memory at once: what packed ones are compared with."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from my_project.data_modules.in_memory import ImageTensors, InMemoryDataModule


class HeldDataModule(InMemoryDataModule):  # type: ignore[misc]  # of the rendered project
    """The pictures of a folder that `pack` has written, in memory."""

    num_classes, input_shape, mean, std = 10, (1, 64, 64), 0.5, 0.25

    def __init__(self, folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder)

    def load(self, train: bool) -> ImageTensors:
        folder = self.folder / ("train" if train else "test")
        images, labels = (np.load(folder / f"{name}.npy") for name in ("images", "labels"))
        return ImageTensors(torch.from_numpy(images), torch.from_numpy(labels))
