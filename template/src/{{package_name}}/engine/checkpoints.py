"""Finds the checkpoint of a run, and checks that it fits the model.

Read it if a checkpoint is called damaged, or a checkpoint of another model.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
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


def check_checkpoint(
    path: str | Path, model: LightningModule, weights_only: bool, is_training: bool
) -> None:
    """Raise UserError if a checkpoint cannot be read, or does not fit.

    Args:
        path: The file, or an address.
        model: The model, whose weights are compared with the checkpoint's by name and shape.
        weights_only: Whether the file may hold weights and plain data alone.
        is_training: Whether a training continues from it, which needs the state of the optimizer.
    """
    if "://" in str(path):
        check_address(str(path))
    if is_read_by_lightning_alone(path):
        return
    checkpoint = read_checkpoint(path, weights_only)
    if is_training and "optimizer_states" not in checkpoint:
        raise UserError(
            f"{shown(path)} holds weights alone, as save_weights_only saves them, and no training can continue "
            "from it. Name another checkpoint, or load the weights where your module makes its network."
        )
    saved_shapes = shapes(checkpoint["state_dict"])
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


def check_address(address: str) -> None:
    """Raise UserError if the file system of an address is not installed, or cannot be reached."""
    try:
        files: Any = get_filesystem(address)
        is_there = files.exists(address)
    except Exception as error:  # each file system has its own errors
        problem = " ".join(str(error).split())
        raise UserError(f"checkpoint {address} cannot be read: {problem}") from error
    if not is_there:
        raise UserError(f"there is no checkpoint {address}")


def read_checkpoint(path: str | Path, weights_only: bool) -> dict[str, Any]:
    """Return a checkpoint, without reading its tensors from disk."""
    try:
        checkpoint: dict[str, Any] = torch.load(
            path, map_location="cpu", weights_only=weights_only, mmap=True
        )
        checkpoint["state_dict"]  # or it is no checkpoint
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
    return checkpoint


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
