"""Divides the rows of a table into those to train, to validate and to test on."""

import pandas
import torch
from torch import Tensor

from ..utils.project import UserError
from .in_memory import ImageTensors

Rows = pandas.DataFrame


def hold_out(
    rows: Rows, labels: Tensor, size: float, name: str, seed: int, fold: slice | None = None
) -> tuple[Rows, Rows]:
    """Split rows at random; return the others, and those that are held out, both in the order of the table.

    Args:
        rows: The rows.
        labels: Their labels, of shape (N,). Class numbers keep their shares.
        size: How many rows to hold out, or a share below 1.
        name: Name of the option that says so.
        seed: Seed of the split.
        fold: Positions to hold out instead, in the order of `shuffled_by_class`.
    """
    count = count_of(size, len(rows), name)
    numbered = ImageTensors(torch.arange(len(rows)), labels)
    kept, held_out = numbered.split(count, seed, fold)
    return rows_at(rows, kept.tensors[0]), rows_at(rows, held_out.tensors[0])


def count_of(size: float, rows: int, name: str) -> int:
    """Return how many rows to hold out; raise UserError if these are none, or all.

    Args:
        size: Their number, or a share below 1.
        rows: The number of all.
        name: Name of the option.
    """
    count = round(size) if size >= 1 else round(size * rows)
    if not 0 < count < rows:
        problem = f"{name} is {size}, which is {count} of {rows} rows"
        raise UserError(f"{problem}: hold out some, but not all")
    return count


def rows_at(rows: Rows, positions: Tensor) -> Rows:
    """Return the rows at some positions, in the order of the table."""
    return rows.iloc[positions.sort().values.numpy()]
