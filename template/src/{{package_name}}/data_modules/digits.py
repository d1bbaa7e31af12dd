"""Digits: 1,797 handwritten digits of 8x8 pixels, in a file beside this one; source and licence stand next to it."""

from pathlib import Path

import numpy as np
import torch

from .in_memory import ImageTensors, InMemoryDataModule


class DigitsDataModule(InMemoryDataModule):
    """UCI's test set, enlarged to 28x28 pixels; a fixed choice of 360 images is held out for testing."""

    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.3053, 0.3247

    def load(self, train: bool) -> ImageTensors:
        """Return the 1,437 images for training and validation, or the 360 held out."""
        table = torch.from_numpy(
            np.loadtxt(Path(__file__).with_name("digits.csv.gz"), dtype="int64", delimiter=",")
        )
        images = table[:, :-1].view(-1, 1, 8, 8) * (255 / 16)
        images = torch.nn.functional.interpolate(images, size=28, mode="bilinear").round().byte()
        return ImageTensors(images, table[:, -1]).split(360, seed=0)[0 if train else 1]
