"""Finds the checkpoint of a run, and checks that it fits the model.

Read it if a checkpoint is refused as damaged, or as the checkpoint of another model.
"""

import errno
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..utils.project import UserError, shown
from .configs import read_config
from .plain_values import foreign_types

# Errors of `torch.load` for a truncated file, or for a file that is no checkpoint
DAMAGED_FILE_ERRORS = (
    BadZipFile,
    EOFError,
    IsADirectoryError,
    KeyError,
    RuntimeError,
    TypeError,
    UnpicklingError,
)


def find_checkpoint(run: Path, which: str, weights_only: bool = True) -> Path | None:
    """Return the path of a run's `best` or `last` checkpoint; None if it has none.

    If last.ckpt is damaged, best.ckpt is returned instead.
    """
    path = run / "checkpoints" / f"{which}.ckpt"
    if which == "last" and path.exists():
        try:
            load_mapped(path, "meta", weights_only)
        except DAMAGED_FILE_ERRORS:
            if foreign_types(path):  # the file is complete: check_checkpoint explains more
                return path
            rank_zero_info(f"{shown(path)} is damaged: best.ckpt takes its place")
            path = path.with_name("best.ckpt")
    return path if path.exists() else None


def best_or_last(run: Path, weights_only: bool = True) -> Path | None:
    """Return the best checkpoint of a run; None if it has none.

    A run whose `checkpoint.monitor` is null keeps no best checkpoint, and its last one is returned.
    """
    settings = read_config(run / "config.yaml").get("checkpoint") or {}
    which = "best"
    if not settings.get("monitor", "best"):
        which = "last"
    return find_checkpoint(run, which, weights_only)


def check_checkpoint(
    path: str | Path, model: LightningModule, weights_only: bool, is_training: bool
) -> None:
    """Raise UserError if a checkpoint cannot be read, or does not fit the model.

    Args:
        path: The file, or a URL.
        model: The model. Its weights are compared with the checkpoint's by name and shape.
        weights_only: Whether the file may hold only weights and plain data.
        is_training: Whether training continues from it, which needs the optimizer's state.
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
    """Return whether only Lightning can read a checkpoint: a URL, a sharded one, or `hpc`, which it finds itself."""
    return "://" in str(path) or path == "hpc" or (Path(path) / ".metadata").exists()


def check_address(address: str) -> None:
    """Raise UserError if nothing is at a URL, or its file system is not installed or cannot be reached."""
    try:
        files: Any = get_filesystem(address)
        is_there = files.exists(address)
    except Exception as error:  # each file system has its own errors
        problem = " ".join(str(error).split())
        raise UserError(f"checkpoint {address} cannot be read: {problem}") from error
    if not is_there:
        raise UserError(f"there is no checkpoint {address}")


def read_checkpoint(path: str | Path, weights_only: bool) -> dict[str, Any]:
    """Return a checkpoint. Its tensors stay memory-mapped on disk.

    Raises:
        UserError: The file is missing, is damaged, or holds more than weights and plain data.
    """
    checkpoint = load_file(path, weights_only)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(not_a_checkpoint(path))
    return checkpoint


def load_file(path: str | Path, weights_only: bool) -> Any:
    """Return what `torch.save` has written to a file. Its tensors stay memory-mapped on disk.

    Raises:
        UserError: The file is missing, is damaged, or holds more than weights and plain data.
    """
    try:
        return load_mapped(path, "cpu", weights_only)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {shown(path)}") from None
    except DAMAGED_FILE_ERRORS as error:
        foreign = ", ".join(foreign_types(Path(path)))
        if foreign:
            raise UserError(
                f"{shown(path)} is no checkpoint of weights and plain data alone: it holds {foreign}. "
                "If you trust whoever wrote it, pass --weights_only false"
            ) from error
        raise UserError(not_a_checkpoint(path)) from error


def load_mapped(path: str | Path, device: str, weights_only: bool) -> Any:
    """Return what `torch.load` reads, with tensors that stay on disk.

    Raises:
        EOFError: The file is cut short, or its bytes have changed, of which PyTorch would load whatever they mean.
    """
    try:
        loaded = torch.load(path, map_location=device, weights_only=weights_only, mmap=True)
    except OSError as error:
        if error.errno != errno.EINVAL:  # which PyTorch raises for some lengths
            raise
        raise EOFError(f"{path} is cut short") from error
    changed = changed_part(Path(path), Path(path).stat().st_mtime_ns)
    if changed:
        raise EOFError(f"{changed} in {path} has changed")
    return loaded


@cache
def changed_part(path: Path, written: int) -> str | None:
    """Return a part of a checkpoint whose checksum is wrong; None if there is none.

    It reads the whole file, and so only once, unless it was written anew.

    Args:
        path: The file. One that is no zip archive, as before PyTorch 1.6, has no checksums.
        written: When it was written, in nanoseconds.
    """
    if not is_zipfile(path):
        return None
    with ZipFile(path) as archive:
        return archive.testzip()


def not_a_checkpoint(path: str | Path) -> str:
    return f"{shown(path)} is damaged, or is no checkpoint of weights and plain data alone"


def shapes(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def first_difference(saved: dict[str, tuple[int, ...]], model: dict[str, tuple[int, ...]]) -> str:
    """Describe the first weight whose shape differs, with both shapes."""
    for name in {**model, **saved}:
        there = saved.get(name, "missing")
        here = model.get(name, "missing")
        if there != here:
            return f"{name} is {there} there and {here} in this one"
    return ""
