"""Digit masks: four digits in an image, and the class of each pixel. Their source is in digits.csv.gz.license."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.limits import Probability
from .augment_masks import crop_both
from .in_memory import Batch, ImageTensors, InMemoryDataModule

CELL = 32  # side of a quarter of the image, in pixels
DIGIT = 24  # side of a digit, in pixels
INK = 96  # a pixel belongs to the digit from this brightness on, of 255
NOISE = 64  # the background's pixels are darker than this


class DigitMasksDataModule(InMemoryDataModule):
    """UCI's digits, pasted on noise: one at a random place in each quarter of an image of 64x64 pixels.

    Class 0 is the background, and class 1 + d is the digit d. Each digit is in one image alone. The 90 images for
    testing are made of 360 digits that are held out.

    Args:
        crop: In training, a random window of at least this share of height and width is enlarged; 1 for none.
    """

    num_classes = 11
    classes = ("background", *(f"digit {digit}" for digit in range(10)))
    input_shape = (1, 2 * CELL, 2 * CELL)
    mean = 0.2555  # of the training images, in [0, 1]
    std = 0.2507

    def __init__(self, *, crop: Probability = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.crop = crop

    def load(self, train: bool) -> ImageTensors:
        """Return the 359 images for training and validation, or the 90 for testing."""
        path = Path(__file__).with_name("digits.csv.gz")
        table = torch.from_numpy(np.loadtxt(path, dtype="int64", delimiter=","))
        pixels = table[:, :-1].view(-1, 1, 8, 8) * (255 / 16)  # from 0 to 16 in the file
        digits = F.interpolate(pixels, size=DIGIT, mode="bilinear")
        data = ImageTensors(digits.round().byte(), table[:, -1])
        training, held_out = data.split(360, seed=0)
        chosen = training if train else held_out
        return paste(*chosen.tensors)

    def augment_batch(self, images: Tensor, labels: Tensor) -> Batch:
        """Enlarge a random window of each training image and its mask."""
        return crop_both(images, labels, self.crop)


def paste(digits: Tensor, labels: Tensor) -> ImageTensors:
    """Return images of four digits each, uint8 (N, 1, 64, 64), and their masks, int64 (N, 64, 64).

    Args:
        digits: The digits, uint8 (M, 1, 24, 24). Each is in one image; up to three may be left over.
        labels: What they are, int64 (M,), from 0 to 9.
    """
    generator = torch.Generator().manual_seed(len(digits))  # the same images at every call
    order = torch.randperm(len(digits), generator=generator)
    count = len(digits) // 4
    shape = (count, 1, 2 * CELL, 2 * CELL)
    images = torch.randint(NOISE, shape, generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, 2 * CELL, 2 * CELL, dtype=torch.int64)
    places = torch.randint(CELL - DIGIT + 1, (count, 4, 2), generator=generator)
    for number in range(count):
        for quarter in range(4):
            digit = order[4 * number + quarter]
            top = CELL * (quarter // 2) + int(places[number, quarter, 0])
            left = CELL * (quarter % 2) + int(places[number, quarter, 1])
            rows = slice(top, top + DIGIT)
            columns = slice(left, left + DIGIT)
            is_ink = digits[digit, 0] >= INK
            background = images[number, 0, rows, columns]
            images[number, 0, rows, columns] = background.maximum(digits[digit, 0])
            masks[number, rows, columns] = torch.where(is_ink, labels[digit] + 1, 0)
    return ImageTensors(images, masks)
