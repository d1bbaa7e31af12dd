"""Writes the predictions that are no cells of a table: masks and images as PNG, other arrays as NumPy's .npy.

Read this when such a file is missing, or is no picture.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .masks import palette, resized
from .png import encode_png

FOLDER = "predictions"  # beside predictions.csv
PART = "predictions.files.part"  # until all are written
WHITE = 255
SIZE = ("height", "width")  # columns about a sample: the size of its picture, which its masks get
CHANNELS = (1, 3)  # grey, RGB
SEPARATORS = str.maketrans("/\\", "__")  # which a value's name may contain, such as val/mask


def is_of_arrays(values: Any) -> bool:
    """Return whether values have more than two dimensions: those of a batch, or those of each sample in a list."""
    if isinstance(values, list | tuple):
        return len(values) > 0 and all(is_array(value) for value in values)
    return is_array(values)


def is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return False
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 2


class PredictionFiles:
    """The files of a prediction, which take the place of earlier ones when all are written.

    Args:
        folder: The folder of predictions.csv.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.part = folder / PART

    def write(
        self,
        name: str,
        values: Sequence[Any],
        stems: Sequence[str],
        sizes: Sequence[tuple[int, int] | None],
    ) -> list[str]:
        """Write an array for each sample, and return the files' paths relative to predictions.csv.

        Args:
            name: Name of the value, which is the name of their folder.
            values: The arrays.
            stems: Names of the files, without a suffix. A sample whose name is empty gets no file.
            sizes: Height and width of the samples' pictures, in which masks are written; None if unknown.
        """
        name = name.translate(SEPARATORS)
        folder = self.part / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for value, stem, size in zip(values, stems, sizes, strict=True):
            path = ""
            if stem:
                array = as_array(value)
                if size and array.ndim == 2:
                    array = resized(array, *size)
                file = write_array(array, folder, stem)
                path = f"{FOLDER}/{name}/{file}"
            paths.append(path)
        return paths

    def replace(self) -> None:
        """Put the files in their place. Those of earlier predictions of the same values are removed."""
        if not self.part.exists():
            return
        for folder in self.part.iterdir():
            target = self.folder / FOLDER / folder.name
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            folder.replace(target)
        self.part.rmdir()

    def remove(self) -> None:
        """Remove incomplete files."""
        shutil.rmtree(self.part, ignore_errors=True)


def picture_sizes(known: Mapping[str, Sequence[Any]], count: int) -> list[tuple[int, int] | None]:
    """Return height and width of the samples' pictures, None where they are unknown.

    Args:
        known: The columns about the samples.
        count: The number of samples.
    """
    if not known.keys() >= set(SIZE):
        return [None] * count
    sizes: list[tuple[int, int] | None] = []
    for height, width in zip(*(known[name] for name in SIZE), strict=True):
        sizes.append((height, width) if height and width else None)
    return sizes


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return a tensor or an array as an array of NumPy, which has no bfloat16."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:
            value = value.float()
        value = value.numpy()
    found: np.ndarray[Any, Any] = value
    return found


def write_array(array: np.ndarray[Any, Any], folder: Path, stem: str) -> str:
    """Write an array as a PNG file if it is an image or a mask, else as .npy. Return the file's name."""
    pixels = pixels_of(array)
    if pixels is None:
        name = f"{stem}.npy"
        np.save(folder / name, array, allow_pickle=False)
        return name
    name = f"{stem}.png"
    colours = palette() if is_mask(array) else None
    (folder / name).write_bytes(encode_png(pixels, colours))
    return name


def is_mask(array: np.ndarray[Any, Any]) -> bool:
    """Return whether an array has a class for each pixel: whole numbers, (H, W). Pixels of an image are uint8."""
    return array.ndim == 2 and np.issubdtype(array.dtype, np.integer) and array.dtype != np.uint8


def pixels_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return an image or a mask as pixels, uint8 of shape (H, W) or (H, W, 3); None for another array.

    Whole numbers from 0 to 255 stay as they are, such as the classes in a mask. True, and 1.0 of an image whose values
    are in [0, 1], are white.
    """
    channels_first = array
    if array.ndim != 3:
        channels_first = array[None]
    if channels_first.ndim != 3 or channels_first.shape[0] not in CHANNELS or not array.size:
        return None
    low = array.min()
    high = array.max()
    is_whole = np.issubdtype(array.dtype, np.integer)
    if array.dtype == bool:
        shades = channels_first * WHITE
    elif is_whole and low >= 0 and high <= WHITE:
        shades = channels_first
    elif np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        shades = (channels_first * WHITE).round()
    else:
        return None
    pixels = shades.astype(np.uint8)
    if len(pixels) > 1:
        return pixels.transpose(1, 2, 0)
    only_channel: np.ndarray[Any, Any] = pixels[0]
    return only_channel
