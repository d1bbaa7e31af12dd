"""Digits: 1,797 handwritten digits of 8x8 pixels, in digits.csv.gz. Its source is in digits.csv.gz.license."""

from pathlib import Path

import numpy as np
import torch

from .in_memory import ImageTensors, InMemoryDataModule


class DigitsDataModule(InMemoryDataModule):
    """UCI's test set, enlarged to 28x28 pixels. A fixed stratified split of 360 images is held out for testing."""

    num_classes = 10
    input_shape = (1, 28, 28)
    mean = 0.3053  # of the training images, in [0, 1]
    std = 0.3247

    def load(self, train: bool) -> ImageTensors:
        """Return the 1,437 images for training and validation, or the 360 held out."""
        path = Path(__file__).with_name("digits.csv.gz")
        table = torch.from_numpy(np.loadtxt(path, dtype="int64", delimiter=","))
        pixels = table[:, :-1].view(-1, 1, 8, 8) * (255 / 16)  # from 0 to 16 in the file
        images = torch.nn.functional.interpolate(pixels, size=28, mode="bilinear")
        data = ImageTensors(images.round().byte(), table[:, -1])
        training, held_out = data.split(360, seed=0)
        return training if train else held_out
