"""Draws images with their masks for the report of a segmentation's test, on white."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .report.drawing import clipped, font

# Title, image, mask and predicted mask
Row = tuple[str, Tensor, Tensor, Tensor]
Picture = Image.Image

TILE = 192  # pixels of an image's longer side
MARGIN = 12
TEXT = 13  # size of the letters
LINE = 20  # pixels from one line to the next
TITLES = ("image", "mask", "prediction")
SQUARE = 12  # pixels of a colour's side in the legend
LABEL = 130  # pixels for a colour and its class in the legend
SHARE = 0.6  # of the class's colour, where it covers the image
UNCOLOURED = 0  # the first class is usually the background, which stays as it is


def draw_overlays(
    rows: Sequence[Row], names: Sequence[str], colours: np.ndarray[Any, Any]
) -> Picture:
    """Draw a row for each image: the image, its mask over it, and the predicted mask over it; then the colours.

    Args:
        rows: Title, image, uint8 (C, H, W) with 1 or 3 channels, mask and predicted mask, int64 (H, W), of each.
        names: Names of the classes.
        colours: Colour of each class, uint8 (256, 3).
    """
    tiles = [three_tiles(row, colours) for row in rows]
    across = TILE + MARGIN
    heights = [LINE + row[0].height + MARGIN for row in tiles]
    legend_columns = 3 * across // LABEL
    legend_rows = math.ceil((len(names) - 1) / legend_columns)
    width = MARGIN + 3 * across
    height = MARGIN + LINE + sum(heights) + legend_rows * LINE
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)

    for column, title in enumerate(TITLES):
        draw.text((MARGIN + column * across, MARGIN), title, "black", font(TEXT))
    top = MARGIN + LINE
    for row, three, row_height in zip(rows, tiles, heights, strict=True):
        title = row[0]
        draw.text((MARGIN, top), title, "black", font(TEXT))
        for column, tile in enumerate(three):
            picture.paste(tile, (MARGIN + column * across, top + LINE))
        top += row_height
    for number, name in enumerate(names[1:]):  # without the background, which has no colour
        legend_row, column = divmod(number, legend_columns)
        corner = (MARGIN + column * LABEL, top + legend_row * LINE)
        draw_label(draw, corner, name, colours[number + 1])
    return picture


def three_tiles(row: Row, colours: np.ndarray[Any, Any]) -> list[Picture]:
    """Return an image, its mask over it, and the predicted mask over it, all resized."""
    _, image, true, predicted = row
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    layers = [pixels, covered(pixels, true, colours), covered(pixels, predicted, colours)]
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return [Image.fromarray(layer).resize(size, Image.Resampling.NEAREST) for layer in layers]


def covered(
    pixels: np.ndarray[Any, Any], mask: Tensor, colours: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return an image, uint8 (H, W, 3), covered with the colours of a mask, int64 (H, W). Ignored pixels are white."""
    classes = mask.numpy()
    is_ignored = (classes < 0) | (classes >= len(colours))
    cover = colours[np.where(is_ignored, 0, classes)].astype(np.float64)
    cover[is_ignored] = 255
    mixed = SHARE * cover + (1 - SHARE) * pixels
    return np.where((classes == UNCOLOURED)[..., None], pixels, mixed).astype(np.uint8)


def draw_label(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, colour: np.ndarray[Any, Any]
) -> None:
    """Draw a class's colour and its name."""
    left, top = corner
    red, green, blue = colour.tolist()
    draw.rectangle([left, top, left + SQUARE, top + SQUARE], fill=(red, green, blue))
    text = clipped(name, TEXT, LABEL - SQUARE - MARGIN)
    draw.text((left + SQUARE + 6, top - 1), text, "black", font(TEXT))
