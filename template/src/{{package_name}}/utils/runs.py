"""What a run starts from: a checkpoint, and code that is committed."""

import subprocess
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden

from .project import UserError, shown


def find_checkpoint(runs: Path, run_id: str, which: str) -> Path:
    """Return the `best` or the `last` checkpoint of a run below `logs/<name>`; of the newest one if the id is `*`."""
    found = list(runs.glob(f"{run_id}/checkpoints/{which}.ckpt"))
    if not found:
        advice = "train one with fit, or pass --name <run name>, --ckpt_path last or --ckpt_path <file>"
        raise UserError(f"no {which} checkpoint in {shown(runs / run_id)}: {advice}")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def check_checkpoint(path: str | Path, model: LightningModule, weights_only: bool) -> None:
    """Raise UserError if a checkpoint cannot be read, or has not the model's weights by name and shape."""
    if "://" in str(path) or path == "hpc" or (Path(path) / ".metadata").exists():  # Lightning's, one is a sharded one
        return
    try:
        saved = torch.load(path, map_location="cpu", weights_only=weights_only, mmap=True)["state_dict"]
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {shown(path)}") from None
    except (EOFError, IsADirectoryError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise UserError(f"{shown(path)} is damaged, or is no checkpoint of weights and plain data alone") from error
    own = model.state_dict()
    shapes = {key: [tuple(s[key].shape) if key in s else "missing" for s in (saved, own)] for key in {**own, **saved}}
    different = next((key for key, (there, here) in shapes.items() if there != here), None)
    if different and model.strict_loading and not is_overridden("configure_model", model):
        there, here = shapes[different]
        other = f"{shown(path)} is a checkpoint of another model: {different} is {there} there and {here} in this one"
        raise UserError(f"{other}; pass the configs that it was trained with, or the config.yaml of its run")


@rank_zero_only
def commit_all(root: Path, message: str) -> None:
    """Commit all changes below a folder; say so where there are none, and raise UserError if git refuses."""
    git = partial(subprocess.run, cwd=root, capture_output=True, text=True, check=False)
    status = git(["git", "status", "--porcelain", "."])
    if status.returncode or not status.stdout:
        rank_zero_info(f"Git: nothing to commit, {'no repository' if status.returncode else 'the tree is clean'}")
        return
    for command in (["git", "add", "--all", "."], ["git", "commit", "--quiet", "-m", message]):
        if (done := git(command)).returncode:
            reason = " ".join((done.stderr or done.stdout).split())
            raise UserError(f"cannot commit before fit ({reason}): see to that, or leave out --git_commit_before_fit")
    rank_zero_info(f"Git: committed {message}")
