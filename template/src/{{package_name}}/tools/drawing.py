"""Pictures of what a test found: a confusion matrix, and images with their classes. The ground is white."""

from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import cast

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

RIGHT, WRONG = (33, 102, 172), (178, 24, 43)
LARGEST = 1200  # pixels of a matrix's side
TILE = 128  # pixels of an image's


def draw_confusion(matrix: Tensor, names: Sequence[str]) -> Image.Image:
    """Draw a matrix, int64 (K, K), of how often each class (row) was given each class (column).

    Blue is right, red is wrong, and the darker, the larger the share of the row: its root, so that rare mistakes are
    seen. Numbers and names are left out where they do not fit.
    """
    count = len(matrix)
    cell = min(48, LARGEST // count)  # 0 if there are more classes than pixels
    side, size = min(cell * count or LARGEST, LARGEST), min(14, cell - 2)
    share = (matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)).sqrt()
    colour = torch.where(torch.eye(count)[..., None] > 0, torch.tensor(RIGHT), torch.tensor(WRONG))
    cells = (255 - share[..., None] * (255 - colour)).round().byte()
    labels = [clipped(name, size, 160) for name in names] if size > 8 else []
    widest = ceil(max((font(size).getlength(label) for label in labels), default=0))
    upward = widest > cell - 4
    left, below = 36 + widest, 36 + (widest if upward else size) * bool(labels)
    picture = Image.new("RGB", (left + side + 12, 12 + side + below), "white")
    picture.paste(
        Image.fromarray(cells.numpy()).resize((side, side), Image.Resampling.BOX), (left, 12)
    )
    draw = ImageDraw.Draw(picture)
    for i, label in enumerate(labels):
        middle = int((i + 0.5) * cell)
        draw.text((left - 6, 12 + middle), label, "black", font(size), "rm")
        if upward:
            write_upward(picture, (left + middle - size // 2 - 1, 12 + side + 6), label, size)
        else:
            draw.text((left + middle, 12 + side + 6), label, "black", font(size), "mt")
        for at in (i * cell, (i + 1) * cell):
            draw.line([(left + at, 12), (left + at, 12 + side)], "lightgrey")
            draw.line([(left, 12 + at), (left + side, 12 + at)], "lightgrey")
    draw.rectangle([left, 12, left + side, 12 + side], outline="grey")
    draw.text((left + side // 2, picture.height - 8), "predicted", "black", font(14), "ms")
    write_upward(picture, (6, 12 + side // 2 - 14), "true", 14)
    sizes = [
        size for size in range(14, 7, -1) if font(size).getlength(str(int(matrix.max()))) < cell - 3
    ]
    for row, column in matrix.nonzero().tolist() if sizes else []:
        ink = "white" if share[row, column] > 0.6 else "black"
        place = left + int((column + 0.5) * cell), 12 + int((row + 0.5) * cell)
        draw.text(place, str(int(matrix[row, column])), ink, font(sizes[0]), "mm")
    return picture


def draw_images(images: Sequence[tuple[Tensor, str, str]]) -> Image.Image:
    """Draw images, uint8 (C, H, W), C being 1 or 3, five in a row; below each, its class and the predicted one."""
    picture = Image.new(
        "RGB", (5 * (TILE + 12) + 12, ceil(len(images) / 5) * (TILE + 52) + 12), "white"
    )
    draw = ImageDraw.Draw(picture)
    for i, (image, *classes) in enumerate(images):
        left, top = 12 + i % 5 * (TILE + 12), 12 + i // 5 * (TILE + 52)
        tile = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
        if times := TILE // max(tile.size):
            tile = ImageOps.scale(tile, times, Image.Resampling.NEAREST)
        else:
            tile = ImageOps.contain(tile, (TILE, TILE))
        picture.paste(tile, (left, top + TILE - tile.height))
        for line, (word, name, ink) in enumerate(
            zip(("true", "predicted"), classes, (RIGHT, WRONG), strict=True)
        ):
            text = clipped(f"{word}: {name}", 13, TILE)
            draw.text((left, top + TILE + 4 + 16 * line), text, ink, font(13))
    return picture


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, which is there on every machine, in a size of pixels."""
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


def drawable(names: Sequence[str]) -> list[str]:
    """Return the names, with a class's number for one that has letters which the font lacks, such as Chinese ones."""
    # a letter that it lacks looks like this one, which no font has
    missing = bytes(font(14).getmask("\U0010ffff"))
    lacking = {
        letter for letter in set().union(*names) if bytes(font(14).getmask(letter)) == missing
    }
    return [str(i) if lacking & set(name) else name for i, name in enumerate(names)]


def clipped(text: str, size: int, width: int) -> str:
    """Return a text, or as much of its beginning as has room in so many pixels."""
    if font(size).getlength(text) <= width:
        return text
    while font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def write_upward(picture: Image.Image, place: tuple[int, int], text: str, size: int) -> None:
    """Write a text that is read from below and ends at a place, its left upper corner."""
    box = Image.new("L", (ceil(font(size).getlength(text)), sum(font(size).getmetrics())))
    ImageDraw.Draw(box).text((0, 0), text, 255, font(size))
    picture.paste("black", place, box.transpose(Image.Transpose.ROTATE_90))
