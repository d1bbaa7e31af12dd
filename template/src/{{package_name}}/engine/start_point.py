"""Chooses the run's directory and the checkpoint from which a command starts.

Read it to see which checkpoint `test` uses, or which directory a run gets.
"""

from pathlib import Path
from typing import NamedTuple

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import UserError, shown
from .checkpoints import best_or_last, find_checkpoint
from .runs import find_run, new_id, read_run

BY_NAME = ("best", "last")  # checkpoints that are found in a run's directory


class Start(NamedTuple):
    """The starting point of a command."""

    directory: Path  # the run's directory
    checkpoint: str | None  # a path; None for fresh weights


def choose_start(
    subcommand: str, config: Namespace, name: str, logs: Path, continued: Path | None
) -> Start:
    """Return the run's directory and the checkpoint of a command, and print the config and the checkpoint.

    Args:
        subcommand: fit, validate, test or predict.
        config: The configuration of the sub-command.
        name: The run's name.
        logs: The folder of all runs.
        continued: The run that `--run` names.

    Raises:
        UserError: There is no such run, or it has no such checkpoint.
    """
    wanted = requested_checkpoint(subcommand, config, continued)
    run = continued
    checkpoint = wanted
    if wanted in BY_NAME:
        run = continued or find_run(name, logs, finished=not config.ckpt_path)
        checkpoint = named_checkpoint(run, wanted, subcommand, config)
    elif wanted:
        run = continued or run_of_checkpoint(Path(wanted))
    if continued:
        rank_zero_info(f"Config: {shown(continued / 'config.yaml')}")
    if wanted:
        found = "none yet, it starts anew"
        if checkpoint:
            found = shown(checkpoint)
        rank_zero_info(f"Checkpoint: {found}")
    # An evaluation belongs to the run of its checkpoint. A fit begins a new run, unless `--run` names one.
    if run is None or (subcommand == "fit" and not continued):
        run = logs / name / new_id()
    return Start(run, checkpoint)


def requested_checkpoint(subcommand: str, config: Namespace, continued: Path | None) -> str | None:
    """Return the checkpoint that the command asks for: `best`, `last` or a path; None for fresh weights."""
    if config.ckpt_path:
        return str(config.ckpt_path)
    if subcommand == "fit" and continued:
        return "last"
    if subcommand == "fit" or config.allow_untrained:
        return None
    return "best"


def named_checkpoint(run: Path, which: str, subcommand: str, config: Namespace) -> str | None:
    """Return the path of a run's best or last checkpoint; None if a resumed fit has none yet.

    Raises:
        UserError: The run has no such checkpoint, and the command needs one.
    """
    weights_only = config.weights_only is not False
    if config.ckpt_path or which == "last":
        found = find_checkpoint(run, which, weights_only)
    else:
        found = best_or_last(run, weights_only)
    if found:
        return str(found)
    if config.ckpt_path or subcommand != "fit":
        raise UserError(
            f"{shown(run)} has no {which} checkpoint: fit --run {run.name}, or --ckpt_path last"
        )
    return checkpoint_in_place_of_last(run, config)


def checkpoint_in_place_of_last(run: Path, config: Namespace) -> str | None:
    """Return another checkpoint of a run without last.ckpt; None if the run ended within its first epoch.

    Raises:
        UserError: A training from the start would overwrite what the run has.
    """
    if not has_trained(run):
        return None
    # A run that was killed just after it had saved has next.ckpt, which would have become last.ckpt.
    for name in ("next", "best"):
        found = find_checkpoint(run, name, config.weights_only is not False)
        if found:
            last = shown(found.with_name("last.ckpt"))
            rank_zero_info(f"{last} is missing: {found.name} takes its place")
            return str(found)
    raise UserError(
        f"{shown(run)} has trained, but its checkpoints are gone: leave out --run for a new run"
    )


def has_trained(run: Path) -> bool:
    """Return whether a run has finished, or has come to the end of an epoch, where a checkpoint is saved."""
    record = read_run(run)
    if record.get("status") == "finished":
        return True
    commands = record.get("commands", [])
    epochs = [command["epochs"] for command in commands if "epochs" in command]
    if epochs:
        return any(epochs)
    # The record of an earlier release has no epochs. A killed run wrote its metrics at the end of an epoch.
    return record.get("status") == "running" and (run / "metrics.csv").exists()


def run_of_checkpoint(path: Path) -> Path | None:
    """Return the run that a checkpoint belongs to; None if the file is not in a run's directory."""
    run = path.absolute().parent.parent
    return run if (run / "config.yaml").exists() else None
