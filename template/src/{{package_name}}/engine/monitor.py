"""The metric that says which checkpoint is best: the direction in which it is followed, and files named like ours.

Read this when a monitor is refused.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from ..utils.project import UserError
from .classes import arguments_of, find_class
from .configs import Given, place_of
from .values import told

# Words in the names of metrics of which less is better, or more
LESS_IS_BETTER = {
    *(
        "loss",
        "error",
        "err",
        "mae",
        "mse",
        "rmse",
        "mape",
        "nll",
        "perplexity",
        "wer",
        "cer",
        "fid",
    )
}
MORE_IS_BETTER = {
    *("acc", "accuracy", "auc", "auroc", "f1", "iou", "miou", "dice", "precision", "recall", "r2")
}
WORD = re.compile(r"[a-z0-9]+")  # such as val, acc and best in val/acc_best

# What the run itself writes in checkpoints/
OWN_FILES = ("best", "last", "next")

# Configs of every command, whose mode is that of another metric
OF_EVERY_COMMAND = ("default.yaml", "local.yaml")


def fitting_mode(metric: str) -> str | None:
    """Return `min` or `max`, as the name of a metric says, None if it does not."""
    words = WORD.findall(metric.lower())
    less = any(word in LESS_IS_BETTER for word in words)
    more = any(word in MORE_IS_BETTER for word in words)
    if less == more:
        return None
    return "min" if less else "max"


def check_directions(config: Any, values: Sequence[Given]) -> None:
    """Raise UserError if a metric is followed in the wrong direction, so that the worst counts as the best.

    A direction that is given together with the metric is taken as it is.

    Args:
        config: The configuration of a sub-command.
        values: What configs and options give.
    """
    followers = [("checkpoint", config.checkpoint)]
    callbacks = config.trainer.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if has_default_mode(callback):
            followers.append(("trainer.callbacks", callback.init_args))
    for key, settings in followers:
        metric, mode = settings.get("monitor"), settings.get("mode")
        fitting = fitting_mode(metric) if isinstance(metric, str) else None
        if fitting is None or mode not in ("min", "max") or mode == fitting:
            continue
        if not is_chosen(key, metric, mode, values):
            problem = f"is {metric}, but {key}.mode is {mode}, so that the worst counts as the best"
            mend = f"set --{key}.mode {fitting}"
            raise UserError(told(f"{key}.monitor", f"{problem}: {mend}", values, metric))


def has_default_mode(callback: Any) -> bool:
    """Return whether a callback has the mode that it has if none is given. Another one was chosen."""
    settings = getattr(callback, "init_args", None) or {}
    mode = arguments_of(find_class(getattr(callback, "class_path", None))).get("mode")
    return mode is not None and settings.get("mode") == mode.default


def is_chosen(key: str, metric: str, mode: str, values: Sequence[Given]) -> bool:
    """Return whether the mode was given for this metric: beside it, or later. That of a default config was not."""
    found = place_of(f"{key}.mode", values)
    if found is None or found.value != mode:
        return False
    file = file_of(found)
    if file.name in OF_EVERY_COMMAND:
        return False
    named = place_of(f"{key}.monitor", values, metric)
    return named is None or file == file_of(named) or values.index(found) > values.index(named)


def file_of(value: Given) -> Path:
    """Return the config that gives a value; an option has an empty path."""
    return Path(value.place.rpartition(", line ")[0])


def check_file_names(callbacks: Sequence[Callback], folder: Path) -> None:
    """Raise UserError if a ModelCheckpoint of the owner would overwrite the run's own checkpoints in this folder."""
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.filename not in OWN_FILES:
            continue
        if callback.dirpath is None or Path(callback.dirpath) == folder:
            raise UserError(
                f"trainer.callbacks.filename is {callback.filename}, but the run itself writes "
                f"{callback.filename}.ckpt: choose another name, such as "
                "{epoch}-{step}"
            )
