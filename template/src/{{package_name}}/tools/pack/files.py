"""The files of packed pictures, which `pack` writes and data_modules/packed.py reads.

    info.json           shape, classes, mean and standard deviation, and what the pictures were packed from
    train/images.npy    the pictures, uint8 (N, C, H, W)
    train/labels.npy    their labels, int64 (N,)
    train/names.npy     the names of their files in UTF-8, if they have names

The folders `val` and `test` have the same files. The arrays are in NumPy's format, which other programs read too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.project import UserError, shown

INFO = "info.json"
IMAGES = "images.npy"
LABELS = "labels.npy"
NAMES = "names.npy"
LEVELS = 256  # of a pixel

# Errors of a file that is not as it was written
DAMAGED = (EOFError, KeyError, OSError, TypeError, ValueError)


@dataclass(frozen=True)
class PackedInfo:
    """What info.json says of packed pictures."""

    shape: list[int]  # (C, H, W)
    classes: list[str]
    mean: float  # of all pixels of the training pictures, from 0 to 1
    std: float
    sets: dict[str, int]  # the number of pictures of each set
    origin: dict[str, str]  # the SHA-256 of what they were packed from


class MappedArray:
    """An array in a file, of which only what is used is read, and kept by the system as long as there is memory.

    Another process gets the path instead of the content.

    Args:
        path: A file in NumPy's format.

    Raises:
        UserError: The file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # As a plain array, because NumPy's class for mapped ones is slower.
            self.array: np.ndarray[Any, Any] = np.asarray(np.load(path, mmap_mode="r"))
        except DAMAGED as error:
            raise damaged(path, error) from error

    def __reduce__(self) -> Any:
        return MappedArray, (self.path,)


class MappedNames(Sequence[str]):
    """Names in a file, of which only those that are asked for become Python's texts."""

    def __init__(self, path: Path) -> None:
        self.names = MappedArray(path)

    def __len__(self) -> int:
        return len(self.names.array)

    def __getitem__(self, position: Any) -> Any:
        return bytes(self.names.array[position]).decode("utf-8", "surrogateescape")


def write_names(path: Path, names: Sequence[str]) -> None:
    """Write names as bytes of one length, so that each is found without the others."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    np.save(path, np.array(encoded, dtype=np.bytes_))


def read_info(folder: Path) -> PackedInfo:
    """Return what info.json says. Raise UserError if it is damaged."""
    path = folder / INFO
    try:
        return PackedInfo(**json.loads(path.read_text(encoding="utf-8")))
    except DAMAGED as error:
        raise damaged(path, error) from error


def check_array(file: MappedArray, shape: Sequence[int], dtype: str) -> None:
    """Raise UserError if an array has another shape or type than info.json says."""
    found = (tuple(file.array.shape), str(file.array.dtype))
    expected = (tuple(shape), dtype)
    if found != expected:
        problem = f"it has {described(*found)} instead of {described(*expected)}"
        raise damaged(file.path, problem)


def described(shape: tuple[int, ...], dtype: str) -> str:
    """Return the type and the shape of an array as text."""
    return f"{dtype} {shape}"


def damaged(path: Path, problem: Any) -> UserError:
    """Return the error for a file that cannot be used."""
    reason = " ".join(str(problem).split())
    advice = f"remove {shown(path.parent)}, and pack the pictures again"
    return UserError(f"{shown(path)} is damaged ({reason}): {advice}")
