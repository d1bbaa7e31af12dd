"""Pictures in files, with masks: how they are read, and what predictions.csv says of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..engine.masks import resized
from ..engine.new_pictures import NewPictures, PictureError, picture_error
from ..engine.picture_files import open_picture
from ..utils.project import UserError, shown
from .in_memory import IGNORED_LABEL, Batch, ImageTensors

HIGHEST = 2**16 - 1  # the highest number in a mask that a class can have
UNKNOWN = -1  # the label of a number that is no class
WITH_NUMBERS = ("1", "L", "P", "I", "I;16")  # Pillow's modes of pictures whose pixels are numbers
EXIF_ORIENTATION = 0x0112
FIRST_ON_ITS_SIDE = 5  # EXIF's orientations from this one on exchange height and width


class PicturesWithMasks(ImageTensors):
    """Pictures in files, and their masks.

    Args:
        pictures: All pictures.
        masks: The mask of each.
        names: Names of the pictures for predictions.csv.
        shape: Shape (C, H, W) that pictures are resized to.
        labels: The label of each number in a mask, int64 of shape (65536,).
        positions: Positions of the pictures that belong to this set, int64 of shape (N,).
    """

    def __init__(
        self,
        pictures: Sequence[Path],
        masks: Sequence[Path],
        names: Sequence[str],
        shape: tuple[int, ...],
        labels: np.ndarray[Any, Any],
        positions: Tensor,
    ) -> None:
        super().__init__(positions)
        self.pictures = pictures
        self.masks = masks
        self.names = names
        self.shape = shape
        self.labels = labels

    def sample_columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return the columns of pictures for predictions.csv: their files, and the size in which masks are written."""
        chosen = self.tensors[0][list(positions)].tolist()
        names = [self.names[position] for position in chosen]
        sizes = [size_of(self.pictures[position]) for position in chosen]
        return {"file": names, **size_columns(sizes)}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and masks, int64 of shape (N, H, W)."""
        (positions,) = self[indices]
        images = []
        masks = []
        for position in positions.tolist():
            images.append(self.image(position))
            masks.append(self.mask(position))
        return torch.stack(images), torch.stack(masks)

    def image(self, position: int) -> Tensor:
        """Return a picture as an image, uint8 of shape (C, H, W). Raise PictureError if it cannot be read."""
        path = self.pictures[position]
        try:
            return read_picture(path, self.shape)
        # Pillow raises many kinds of errors if a file is damaged, SyntaxError among them
        except Exception as error:
            raise picture_error(path, position, error) from error

    def mask(self, position: int) -> Tensor:
        """Return the labels of a picture's pixels, int64 of shape (H, W). Raise PictureError if they cannot be read."""
        path = self.masks[position]
        try:
            numbers = read_numbers(path)
        except Exception as error:
            raise picture_error(path, position, error) from error
        height, width = size_of(self.pictures[position])
        if numbers.shape != (height, width):
            rows, columns = numbers.shape
            problem = f"{shown(path)} is {columns}x{rows} pixels, but its picture {width}x{height}"
            raise PictureError(f"{problem}: save a mask of the picture's size")
        numbers = resized(numbers, *self.shape[1:]).astype(np.int64)
        in_table = (numbers >= 0) & (numbers <= HIGHEST)
        labels = np.full(numbers.shape, UNKNOWN, dtype=np.int64)
        labels[in_table] = self.labels[numbers[in_table]]
        if (labels == UNKNOWN).any():
            number = numbers[labels == UNKNOWN][0]
            advice = "add it to data.values, or ignore it: --data.ignore_index"
            raise PictureError(
                f"{shown(path)} has the number {number}, which is no class: {advice}"
            )
        return torch.from_numpy(labels)


class NewPicturesWithSizes(NewPictures):
    """Pictures to predict, whose masks are written in the pictures' sizes."""

    def sample_columns(self, positions: Sequence[int]) -> dict[str, list[Any]]:
        """Return the columns about pictures for predictions.csv: file, height and width, and problem."""
        columns = super().sample_columns(positions)
        sizes: list[tuple[int, int] | tuple[None, None]] = []
        for position, problem in zip(positions, columns["problem"], strict=True):
            if problem:
                sizes.append((None, None))
            else:
                sizes.append(size_of(Path(str(self.file(position)))))
        return {"file": columns.pop("file"), **size_columns(sizes), **columns}


def labels_of_numbers(
    values: Sequence[int], num_classes: int, ignore_index: int | None
) -> np.ndarray[Any, Any]:
    """Return the label of each number in a mask, int64 of shape (65536,): a class, -100 if ignored, or else -1.

    Args:
        values: The number of each class.
        num_classes: Number of classes.
        ignore_index: The number of pixels without a class, if there are such.

    Raises:
        UserError: There is not one number for each class, or none that a mask can have.
    """
    if len(values) != num_classes:
        raise UserError(
            f"data.values has {len(values)} numbers, but there are {num_classes} classes: give one for each"
        )
    labels = np.full(HIGHEST + 1, UNKNOWN, dtype=np.int64)
    if ignore_index is not None:
        check_number(ignore_index, "data.ignore_index")
        labels[ignore_index] = IGNORED_LABEL
    for label, number in enumerate(values):
        check_number(number, "data.values")
        if labels[number] != UNKNOWN:
            problem = f"{number} is twice among data.values and data.ignore_index"
            raise UserError(f"{problem}: give each class a number of its own")
        labels[number] = label
    return labels


def check_number(number: int, option: str) -> None:
    """Raise UserError if no pixel of a mask can have a number."""
    if not 0 <= number <= HIGHEST:
        raise UserError(f"{option} has {number}, but numbers in masks are from 0 to {HIGHEST}")


def read_picture(file: Any, shape: tuple[int, ...]) -> Tensor:
    """Return a picture as an image, uint8 of a shape (C, H, W). Change it to read pictures differently."""
    channels, height, width = shape
    picture = open_picture(file, channels, (width, height)).resize((width, height))
    pixels = np.array(picture).reshape(height, width, channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def read_numbers(path: Path) -> np.ndarray[Any, Any]:
    """Return the numbers in a mask, of shape (H, W). Raise ValueError if it has colours instead."""
    with Image.open(path) as mask:
        if mask.mode not in WITH_NUMBERS:
            advice = "save it as a PNG file with a number for each pixel, grey or with a palette"
            raise ValueError(f"it has colours (mode {mask.mode}), which are no classes: {advice}")
        return np.array(mask)


def size_of(path: Path) -> tuple[int, int]:
    """Return height and width of a picture, upright."""
    with Image.open(path) as picture:
        width, height = picture.size
        if picture.getexif().get(EXIF_ORIENTATION, 1) >= FIRST_ON_ITS_SIDE:
            return width, height
        return height, width


def size_columns(sizes: Sequence[tuple[Any, Any]]) -> dict[str, list[Any]]:
    """Return heights and widths as columns for predictions.csv, which has the masks in these sizes."""
    heights = [height for height, _ in sizes]
    widths = [width for _, width in sizes]
    return {"height": heights, "width": widths}
