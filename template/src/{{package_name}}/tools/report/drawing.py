"""Draws pictures for the report of a test: a confusion matrix, and images with their classes, on white."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import cast

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

Color = tuple[int, int, int]
Point = tuple[int, int]
Picture = Image.Image

RIGHT: Color = (33, 102, 172)  # blue
WRONG: Color = (178, 24, 43)  # red
LARGEST = 1200  # pixels of a matrix's side
LARGEST_CELL = 48
LARGEST_TEXT = 14
SMALLEST_TEXT = 8
LONGEST_LABEL = 160  # pixels
MARGIN = 12
TITLE = 36  # pixels for "true" or "predicted" and the space around it
DARK = 0.6  # above this shade, white text is easier to read than black text

COLUMNS = 5  # images in a row
TILE = 128  # pixels of an image's side
CAPTION = 40  # pixels below an image, for two lines of text
CAPTION_TEXT = 13
LINE = 16  # pixels from one line to the next
NO_LETTER = "\U0010ffff"  # no font has it


@dataclass
class Layout:
    """Sizes of a confusion matrix's picture, in pixels.

    Args:
        cell: Side of a cell; 0 if there are more classes than pixels.
        side: Side of the matrix.
        text: Size of the labels.
        labels: The classes' names; none if they do not fit.
    """

    cell: int
    side: int
    text: int
    labels: list[str]

    @property
    def label_width(self) -> int:
        """Width of the widest label."""
        widest = 0.0
        for label in self.labels:
            width = font(self.text).getlength(label)
            widest = max(widest, width)
        return ceil(widest)

    @property
    def upward(self) -> bool:
        """Whether the labels of the columns are too wide to be written from left to right."""
        return self.label_width > self.cell - 4

    @property
    def left(self) -> int:
        """Space to the left of the matrix."""
        return TITLE + self.label_width

    @property
    def below(self) -> int:
        """Space below the matrix."""
        if not self.labels:
            return TITLE
        if self.upward:
            return TITLE + self.label_width
        return TITLE + self.text

    def middle(self, index: int) -> int:
        """Return the distance from the matrix's edge to the middle of a row or column."""
        return int((index + 0.5) * self.cell)


def draw_confusion(matrix: Tensor, names: Sequence[str]) -> Picture:
    """Draw a confusion matrix.

    Blue is right, red is wrong. A darker cell has a larger share of its row. The shade is the square root of the
    share, so that rare mistakes are visible. Numbers and names are left out if they do not fit.

    Args:
        matrix: How often each class (row) was predicted as each class (column), int64 (K, K).
        names: Names of the classes.
    """
    layout = new_layout(names)
    totals = matrix.sum(dim=1, keepdim=True).clamp(min=1)
    shades = (matrix / totals).sqrt()
    width = layout.left + layout.side + MARGIN
    height = MARGIN + layout.side + layout.below
    picture = Image.new("RGB", (width, height), "white")
    cells = draw_cells(shades, layout.side)
    picture.paste(cells, (layout.left, MARGIN))

    for index in range(len(layout.labels)):
        draw_label(picture, layout, index)
    draw_frame(picture, layout)
    draw_numbers(picture, layout, matrix, shades)
    return picture


def new_layout(names: Sequence[str]) -> Layout:
    """Return the sizes of a picture for these classes."""
    count = len(names)
    cell = min(LARGEST_CELL, LARGEST // count)
    side = min(cell * count or LARGEST, LARGEST)
    text = min(LARGEST_TEXT, cell - 2)
    labels: list[str] = []
    if text > SMALLEST_TEXT:
        labels = [clipped(name, text, LONGEST_LABEL) for name in names]
    return Layout(cell, side, text, labels)


def draw_cells(shades: Tensor, side: int) -> Picture:
    """Draw the cells of a matrix in their shades, from 0 (white) to 1."""
    count = len(shades)
    diagonal = torch.eye(count, dtype=torch.bool).unsqueeze(2)
    right = torch.tensor(RIGHT)
    wrong = torch.tensor(WRONG)
    color = torch.where(diagonal, right, wrong)
    darkness = shades.unsqueeze(2) * (255 - color)
    cells = (255 - darkness).round().byte()
    image = Image.fromarray(cells.numpy())
    return image.resize((side, side), Image.Resampling.BOX)


def draw_label(picture: Picture, layout: Layout, index: int) -> None:
    """Write a class's name beside its row and below its column, and draw the lines around both."""
    draw = ImageDraw.Draw(picture)
    label = layout.labels[index]
    left = layout.left
    right = left + layout.side
    bottom = MARGIN + layout.side
    middle = layout.middle(index)

    beside = (left - 6, MARGIN + middle)
    draw.text(beside, label, "black", font(layout.text), "rm")
    if layout.upward:
        start = middle - layout.text // 2 - 1
        corner = (left + start, bottom + 6)
        write_upward(picture, corner, label, layout.text)
    else:
        below = (left + middle, bottom + 6)
        draw.text(below, label, "black", font(layout.text), "mt")

    start = index * layout.cell
    for line in (start, start + layout.cell):
        x = left + line
        y = MARGIN + line
        draw.line([(x, MARGIN), (x, bottom)], "lightgrey")
        draw.line([(left, y), (right, y)], "lightgrey")


def draw_frame(picture: Picture, layout: Layout) -> None:
    """Draw the matrix's edge, and write the titles of its axes."""
    draw = ImageDraw.Draw(picture)
    right = layout.left + layout.side
    bottom = MARGIN + layout.side
    draw.rectangle([layout.left, MARGIN, right, bottom], outline="grey")

    half = layout.side // 2
    below = (layout.left + half, picture.height - 8)
    draw.text(below, "predicted", "black", font(LARGEST_TEXT), "ms")
    corner = (6, MARGIN + half - LARGEST_TEXT)
    write_upward(picture, corner, "true", LARGEST_TEXT)


def draw_numbers(picture: Picture, layout: Layout, matrix: Tensor, shades: Tensor) -> None:
    """Write the numbers that are not 0 into their cells, if they fit."""
    longest = str(int(matrix.max()))
    size = largest_size(longest, layout.cell - 3)
    if size is None:
        return

    draw = ImageDraw.Draw(picture)
    for row, column in matrix.nonzero().tolist():
        number = str(int(matrix[row, column]))
        color = "white" if shades[row, column] > DARK else "black"
        x = layout.left + layout.middle(column)
        y = MARGIN + layout.middle(row)
        draw.text((x, y), number, color, font(size), "mm")


def largest_size(text: str, width: int) -> int | None:
    """Return the largest font size in which a text is narrower than `width` pixels; None if there is none."""
    for size in range(LARGEST_TEXT, SMALLEST_TEXT - 1, -1):
        if font(size).getlength(text) < width:
            return size
    return None


def draw_images(images: Sequence[tuple[Tensor, str, str]]) -> Picture:
    """Draw images, five in a row, each with its class and the predicted class below it.

    Args:
        images: Each image, uint8 (C, H, W) with 1 or 3 channels, its class and the predicted class.
    """
    rows = ceil(len(images) / COLUMNS)
    across = TILE + MARGIN
    down = TILE + CAPTION + MARGIN
    width = COLUMNS * across + MARGIN
    height = rows * down + MARGIN
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for index, (image, true, predicted) in enumerate(images):
        row, column = divmod(index, COLUMNS)
        left = MARGIN + column * across
        top = MARGIN + row * down
        bottom = top + TILE

        tile = as_tile(image)
        picture.paste(tile, (left, bottom - tile.height))
        first = (left, bottom + 4)
        second = (left, bottom + 4 + LINE)
        draw_caption(draw, first, f"true: {true}", RIGHT)
        draw_caption(draw, second, f"predicted: {predicted}", WRONG)
    return picture


def draw_caption(draw: ImageDraw.ImageDraw, corner: Point, text: str, color: Color) -> None:
    """Write a line below an image, or as much of it as fits."""
    line = clipped(text, CAPTION_TEXT, TILE)
    draw.text(corner, line, color, font(CAPTION_TEXT))


def as_tile(image: Tensor) -> Picture:
    """Resize an image to a tile. A small image is scaled by a whole number, so that its pixels stay sharp."""
    pixels = image.permute(1, 2, 0).squeeze(2).numpy()
    tile = Image.fromarray(pixels)
    times = TILE // max(tile.size)
    if times:
        return ImageOps.scale(tile, times, Image.Resampling.NEAREST)
    return ImageOps.contain(tile, (TILE, TILE))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's built-in font, because every machine has it. `size` is in pixels."""
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


def drawable(names: Sequence[str]) -> list[str]:
    """Return the names of classes. A name with letters that the font lacks, such as Chinese, becomes the number."""
    found = []
    for index, name in enumerate(names):
        if all(has_letter(letter) for letter in name):
            found.append(name)
        else:
            found.append(str(index))
    return found


@cache
def has_letter(letter: str) -> bool:
    """Return whether the font has a letter. It draws the same box for all missing letters."""
    box = font(LARGEST_TEXT).getmask(NO_LETTER)
    drawn = font(LARGEST_TEXT).getmask(letter)
    return bytes(drawn) != bytes(box)


def clipped(text: str, size: int, width: int) -> str:
    """Return a text, shortened with "…" if it is wider than `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    while font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def write_upward(picture: Picture, corner: Point, text: str, size: int) -> None:
    """Write a text from the bottom to the top. `corner` is the upper left corner of its box."""
    width = ceil(font(size).getlength(text))
    height = sum(font(size).getmetrics())
    box = Image.new("L", (width, height))
    draw = ImageDraw.Draw(box)
    draw.text((0, 0), text, 255, font(size))
    upward = box.transpose(Image.Transpose.ROTATE_90)
    picture.paste("black", corner, upward)
