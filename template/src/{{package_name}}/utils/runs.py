"""What a run starts from: another run, a checkpoint, and code that is committed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..engine.git import complaint, run_git
from .project import UserError, shown

UNREADABLE = (EOFError, IsADirectoryError, KeyError, RuntimeError, TypeError, UnpicklingError)


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run's `run.json` says, nothing if it has none."""
    with suppress(OSError, ValueError):
        return dict(json.loads((directory / "run.json").read_text(encoding="utf-8")))
    return {}


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training in a run, until this one ends in whatever way; raise UserError if one does."""
    lock = FileLock(run / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=1)  # the list of runs has it for a moment
    except Timeout:
        what = "is training in another process: wait for its end, or stop that one, or leave out --run for a new run"
        raise UserError(f"{shown(run)} {what}") from None
    except OSError:  # the file system has no locks
        pass
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows, where the next line does it
            Path(lock.lock_file).unlink()
        lock.release()


def find_run(wanted: str, logs: Path, finished: bool = False) -> Path:
    """Return a run's directory by its path or id, or that of the newest run of a name, or of all if it is `last`."""
    if Path(wanted).name != wanted and (Path(wanted) / "config.yaml").exists():
        return Path(wanted).absolute()
    runs = [
        path.parent
        for path in logs.glob("*/*/config.yaml")
        if wanted in ("last", *path.parts[-3:-1])
    ]
    for run in sorted(runs, key=lambda run: run.name, reverse=True):  # ids sort by time
        if not finished or read_run(run).get("status") == "finished":
            return run
    what = f"{'finished run of' if runs else 'run'} {wanted} in {shown(logs)}"
    raise UserError(
        f"there is no {what}: train one with fit, or name another with --run <directory|id|name|last>"
    )


def find_checkpoint(run: Path, which: str, weights_only: bool = True) -> Path | None:
    """Return the `best` or the `last` checkpoint of a run, if it has one; instead of a damaged last one, the best."""
    path = run / "checkpoints" / f"{which}.ckpt"
    if which == "last" and path.exists():
        try:
            torch.load(path, map_location="meta", weights_only=weights_only, mmap=True)
        except UNREADABLE:
            rank_zero_info(f"{shown(path)} is damaged: best.ckpt takes its place")
            path = path.with_name("best.ckpt")
    return path if path.exists() else None


def check_checkpoint(path: str | Path, model: LightningModule, weights_only: bool) -> None:
    """Raise UserError if a checkpoint cannot be read, or has not the model's weights by name and shape."""
    if (
        "://" in str(path) or path == "hpc" or (Path(path) / ".metadata").exists()
    ):  # Lightning's, one is a sharded one
        return
    try:
        saved = torch.load(path, map_location="cpu", weights_only=weights_only, mmap=True)[
            "state_dict"
        ]
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {shown(path)}") from None
    except UNREADABLE as error:
        raise UserError(
            f"{shown(path)} is damaged, or is no checkpoint of weights and plain data alone"
        ) from error
    there, here = (
        {key: tuple(value.shape) for key, value in state.items()}
        for state in (saved, model.state_dict())
    )
    if there != here and model.strict_loading and not is_overridden("configure_model", model):
        key = next(key for key in {**here, **there} if there.get(key) != here.get(key))
        shapes = (
            f"{key} is {there.get(key, 'missing')} there and {here.get(key, 'missing')} in this one"
        )
        advice = "pass the configs that it was trained with, or --run with its run"
        raise UserError(f"{shown(path)} is a checkpoint of another model: {shapes}; {advice}")


@rank_zero_only
def commit_all(root: Path, message: str) -> None:
    """Commit all changes below a folder; say so where there are none, and raise UserError if git refuses."""
    status = run_git(root, "status", "--porcelain", "--untracked-files=normal", ".")
    if status.returncode:
        rank_zero_info("Git: nothing to commit, no repository")
        return
    if not status.stdout:
        rank_zero_info("Git: nothing to commit, the tree is clean")
        return
    for command in (["add", "--all", "."], ["commit", "--quiet", "--message", message]):
        done = run_git(root, *command)
        if done.returncode:
            advice = "see to that, or leave out --git_commit_before_fit"
            raise UserError(f"cannot commit before fit ({complaint(done)}): {advice}")
    rank_zero_info(f"Git: committed {message}")
