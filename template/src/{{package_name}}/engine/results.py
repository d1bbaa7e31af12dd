"""Says of which checkpoint and which settings an evaluation's results are.

Read this when `run.json` keeps results apart from the run's own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .configs import described, flat, plain_key, read_config
from .runs import new_id, read_run

# Arguments that change the speed of an evaluation, or only the training, but not the results
WITHOUT_INFLUENCE = ("batch_size", "num_workers", "compile", "optimizer", "lr_scheduler")
# Of files whose SHA-256 is checked, the place does not matter.
PLACES = ("data_dir", "mirrors")


class Results(NamedTuple):
    """What an evaluation evaluates, and where its files go."""

    directory: Path  # the run's; a new folder in it, if these are not the run's own results
    checkpoint: (
        str | None
    )  # relative to the run's directory if it is there; None for untrained weights
    changes: dict[str, Any]  # settings that differ from the run's, and change the results
    of_the_run: bool  # whether these are the run's own results

    @property
    def difference(self) -> str:
        """The difference to the run's own results, such as `last.ckpt, data.test_size 100`."""
        parts = ["untrained weights"]
        if self.checkpoint:
            parts = [Path(self.checkpoint).name]
        for key, value in self.changes.items():
            parts.append(f"{key} {described(value)}")
        return ", ".join(parts)


def results_of(subcommand: str, run: Path, checkpoint: str | None, config: Any) -> Results:
    """Return what an evaluation evaluates, compared with the run's own checkpoint and settings.

    Args:
        subcommand: validate, test or predict.
        run: The run's directory.
        checkpoint: The path of the checkpoint; None for untrained weights.
        config: The configuration of the command, as plain values.
    """
    named = name_in(run, checkpoint)
    if not (run / "config.yaml").exists():  # this command begins the run
        return Results(run, named, {}, of_the_run=True)
    saved = read_config(run / "config.yaml")
    ignored = set(WITHOUT_INFLUENCE)
    if read_run(run).get("data"):
        ignored.update(PLACES)
    before = relevant(saved, subcommand)
    now = relevant(config, subcommand)
    changes = dict(changed(before, now, ignored))
    if is_own_checkpoint(run, checkpoint) and not changes:
        return Results(run, named, changes, of_the_run=True)
    return Results(run / "other" / new_id(), named, changes, of_the_run=False)


def name_in(run: Path, checkpoint: str | None) -> str | None:
    """Return the path of a checkpoint, relative to the run's directory if it is there."""
    if not checkpoint:
        return checkpoint
    place = Path(checkpoint).absolute()
    if not place.is_relative_to(run):
        return checkpoint
    return place.relative_to(run).as_posix()


def is_own_checkpoint(run: Path, checkpoint: str | None) -> bool:
    """Return whether the results of a checkpoint are those of the run: best.ckpt, or last.ckpt without one."""
    if not checkpoint:
        return False
    own = run / "checkpoints" / "best.ckpt"
    if not own.exists():
        own = own.with_name("last.ckpt")
    return Path(checkpoint).absolute().resolve() == own.resolve()


def relevant(config: dict[str, Any], subcommand: str) -> dict[str, Any]:
    """Return the settings that may change the results, with keys as on the command line."""
    verb = {"validate": "val"}.get(subcommand, subcommand)
    trainer = config.get("trainer") or {}
    limits = {key: trainer.get(key) for key in ("precision", f"limit_{verb}_batches")}
    blocks: dict[str, Any] = {"trainer": limits}
    for name in ("data", "model"):
        if name in config:
            blocks[name] = config[name]
    return {plain_key(key): value for key, value in flat(blocks)}


def changed(
    saved: dict[str, Any], now: dict[str, Any], ignored: set[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the settings that differ. A setting that only one of them has is an argument of another release."""
    for key, value in now.items():
        is_ignored = not ignored.isdisjoint(key.split("."))
        if key in saved and saved[key] != value and not is_ignored:
            yield key, value
