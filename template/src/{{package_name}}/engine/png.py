"""Writes PNG files with the standard library alone, because a project need not have Pillow."""

import struct
import zlib
from typing import Any

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = ">IIBBBBB"  # width, height, bits, colours, compression, filter, interlacing
GREY = 0
RGB = 2
PALETTE = 3


def encode_png(pixels: np.ndarray[Any, Any], palette: np.ndarray[Any, Any] | None = None) -> bytes:
    """Return the content of a PNG file.

    Args:
        pixels: Pixels, uint8 of shape (H, W) or (H, W, 3).
        palette: The colour of each number that pixels of shape (H, W) have, uint8 of shape (256, 3); grey if None.
    """
    height, width = pixels.shape[:2]
    colours = RGB if pixels.ndim == 3 else GREY
    palette_chunk = b""
    if palette is not None:
        colours = PALETTE
        palette_chunk = chunk(b"PLTE", palette.tobytes())
    header = struct.pack(HEADER, width, height, 8, colours, 0, 0, 0)
    # Each row begins with the number of its filter: 0, which changes nothing.
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    data = zlib.compress(rows.tobytes())
    first = SIGNATURE + chunk(b"IHDR", header) + palette_chunk
    return first + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a part of the file: its length, kind, content and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
