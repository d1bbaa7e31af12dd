"""Writes PNG files with the standard library alone, because a project need not have Pillow."""

import struct
import zlib
from typing import Any

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = ">IIBBBBB"  # width, height, bits, colours, compression, filter, interlacing
GREY = 0
RGB = 2


def encode_png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Return the content of a PNG file of pixels, uint8 of shape (H, W) or (H, W, 3)."""
    height, width = pixels.shape[:2]
    colours = RGB if pixels.ndim == 3 else GREY
    header = struct.pack(HEADER, width, height, 8, colours, 0, 0, 0)
    # Each row begins with the number of its filter: 0, which changes nothing.
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    data = zlib.compress(rows.tobytes())
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a part of the file: its length, kind, content and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
