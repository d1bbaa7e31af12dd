"""Masks: the colour of each class, and the size of the picture. Read it if a mask has the wrong colours or size."""

from typing import Any

import numpy as np

COLOURS = 256
BITS = 8


def palette() -> np.ndarray[Any, Any]:
    """Return the colours of the numbers in a mask, uint8 of shape (256, 3): those of PASCAL VOC. 0 is black.

    Of a number's bits, the lowest three are the highest bits of red, green and blue, the next three the next bits, and
    so on. So numbers that are near have colours that are not.
    """
    numbers = np.arange(COLOURS)
    colours = np.zeros((COLOURS, 3), dtype=np.uint8)
    for place in range(BITS):
        bit = BITS - 1 - place
        for channel in range(3):
            is_set = numbers >> (3 * place + channel) & 1
            colours[:, channel] |= (is_set << bit).astype(np.uint8)
    return colours


def resized(mask: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Return a mask, (H, W), in another size. A pixel takes the nearest one's value, because classes have no mean."""
    rows = nearest(mask.shape[0], height)
    columns = nearest(mask.shape[1], width)
    return mask[rows[:, None], columns]


def nearest(size: int, new_size: int) -> np.ndarray[Any, Any]:
    """Return which of `size` pixels in a row is nearest to each of `new_size` pixels in its place."""
    middles = (np.arange(new_size) + 0.5) * size / new_size
    return middles.astype(np.int64)
