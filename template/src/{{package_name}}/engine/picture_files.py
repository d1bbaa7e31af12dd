"""Reads picture files. Read it if a picture is refused, or looks different to the network.

It needs NumPy and Pillow alone, so that a script without PyTorch can have a copy of this file.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

UNKNOWN_RANGE = ("I", "F")  # Pillow's modes of 32-bit pixels, of which any number may be white
SIXTEEN_BITS = "I;16"  # what Pillow's modes of 16-bit pixels begin with


def read_pixels(file: Path | BytesIO, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return a picture as an image, uint8 of a shape (C, H, W): the largest square in its middle, resized."""
    channels, height, width = shape
    picture = open_picture(file, channels, (2 * width, 2 * height))
    picture = ImageOps.fit(picture, (width, height))
    pixels = np.array(picture).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def open_picture(file: Path | BytesIO, channels: int, size: tuple[int, int]) -> Any:
    """Return Pillow's picture in a file, upright, grey or RGB. Transparent parts become white.

    Args:
        file: The file, or its content.
        channels: 1 for grey, 3 for RGB.
        size: Width and height that are enough. A larger JPEG is decoded at half its size or less, which is faster.
    """
    with Image.open(file) as opened:
        opened.draft(None, size)
        picture: Any = ImageOps.exif_transpose(opened)
        if picture.mode in UNKNOWN_RANGE:
            problem = f"what is black and white in mode {picture.mode} is unknown"
            raise ValueError(f"{problem}: save 8 or 16 bits")
    if picture.mode.startswith(SIXTEEN_BITS):
        # without this, Pillow would make all that is over 255 white
        picture = picture.point(lambda value: value * (1 / 256))
    if picture.has_transparency_data:
        picture = on_white(picture)
    return picture.convert("L" if channels == 1 else "RGB")


def on_white(picture: Any) -> Any:
    """Return a picture with white where it is transparent. Its colours there are not meant to be seen."""
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder and its folders, sorted, without hidden ones and those in hidden folders."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not is_hidden:
            found.append(path)
    return sorted(found)


def names_and_sizes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the names and sizes of all files in a folder, which is faster than that of the files."""
    sizes = {}
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        sizes[name] = path.stat().st_size
    lines = [f"{name} {size}\n" for name, size in sorted(sizes.items())]
    text = "".join(lines)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {f"{folder.resolve().name}/ (names and sizes)": digest}
