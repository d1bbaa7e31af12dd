"""Finds the checkpoint of a run, and checks that it fits the model.

Read it if a checkpoint is called damaged, or a checkpoint of another model.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..utils.project import UserError, shown
from .plain_values import foreign_types

# What `torch.load` raises for a file that is cut short, or is no checkpoint
DAMAGED_FILE_ERRORS = (
    EOFError,
    IsADirectoryError,
    KeyError,
    RuntimeError,
    TypeError,
    UnpicklingError,
)


def find_checkpoint(run: Path, which: str, weights_only: bool = True) -> Path | None:
    """Return the `best` or the `last` checkpoint of a run, None if it has none.

    If the last one is damaged, the best one takes its place.
    """
    path = run / "checkpoints" / f"{which}.ckpt"
    if which == "last" and path.exists():
        try:
            torch.load(path, map_location="meta", weights_only=weights_only, mmap=True)
        except DAMAGED_FILE_ERRORS:
            if foreign_types(path):  # the file is whole, and check_checkpoint says more
                return path
            rank_zero_info(f"{shown(path)} is damaged: best.ckpt takes its place")
            path = path.with_name("best.ckpt")
    return path if path.exists() else None


def check_checkpoint(path: str | Path, model: LightningModule, weights_only: bool) -> None:
    """Raise UserError if a checkpoint cannot be read, or if its weights do not fit the model's names and shapes."""
    if is_read_by_lightning_alone(path):
        return
    saved_shapes = shapes(saved_weights(path, weights_only))
    model_shapes = shapes(model.state_dict())
    if saved_shapes == model_shapes:
        return
    if not model.strict_loading or is_overridden("configure_model", model):
        return
    difference = first_difference(saved_shapes, model_shapes)
    raise UserError(
        f"{shown(path)} is a checkpoint of another model: {difference}; "
        "pass the configs that it was trained with, or --run with its run"
    )


def is_read_by_lightning_alone(path: str | Path) -> bool:
    """Return whether a checkpoint is on the web, is one that Lightning finds on a cluster, or is sharded."""
    return "://" in str(path) or path == "hpc" or (Path(path) / ".metadata").exists()


def saved_weights(path: str | Path, weights_only: bool) -> dict[str, Any]:
    """Return the `state_dict` of a checkpoint, without reading its tensors from disk."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=weights_only, mmap=True)
        weights: dict[str, Any] = checkpoint["state_dict"]
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {shown(path)}") from None
    except DAMAGED_FILE_ERRORS as error:
        foreign = ", ".join(foreign_types(Path(path)))
        if foreign:
            raise UserError(
                f"{shown(path)} is no checkpoint of weights and plain data alone: it holds {foreign}. "
                "If you trust whoever wrote it, pass --weights_only false"
            ) from error
        raise UserError(
            f"{shown(path)} is damaged, or is no checkpoint of weights and plain data alone"
        ) from error
    return weights


def shapes(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def first_difference(saved: dict[str, tuple[int, ...]], model: dict[str, tuple[int, ...]]) -> str:
    """Return the first weight whose shapes differ, and both shapes."""
    for name in {**model, **saved}:
        there = saved.get(name, "missing")
        here = model.get(name, "missing")
        if there != here:
            return f"{name} is {there} there and {here} in this one"
    return ""
