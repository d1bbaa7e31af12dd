"""Digits: 1,797 handwritten digits of 8x8 pixels, in a file beside this one; source and licence stand next to it."""

import gzip
from importlib.resources import files

import torch
from torch.nn.functional import interpolate

from .in_memory import ImageTensors, InMemoryDataModule, stratified_split


class DigitsDataModule(InMemoryDataModule):
    """Small real data that needs no download.

    The images are UCI's test set, so there is no official split. A fixed choice of 360 images is held out for testing,
    and `val_size` of the others are for validation. They are enlarged to 28x28 pixels, which the image models take.
    """

    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.3053, 0.3247

    def load(self, train: bool) -> ImageTensors:
        """Return the 1,437 images for training and validation, or the 360 held out."""
        text = gzip.decompress(files(__package__).joinpath("digits.csv.gz").read_bytes()).decode()
        table = torch.tensor([[int(value) for value in line.split(",")] for line in text.splitlines()])
        images = table[:, :-1].view(-1, 1, 8, 8).float() * (255 / 16)
        images = interpolate(images, size=28, mode="bilinear").round().byte()
        chosen = stratified_split(table[:, -1], 360, seed=0)[0 if train else 1]
        return ImageTensors(images[chosen], table[chosen, -1])
