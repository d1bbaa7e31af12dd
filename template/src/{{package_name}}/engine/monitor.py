"""Checks that monitored metrics are logged, and their mode. Checks the file names of ModelCheckpoint callbacks.

Read this when a monitor, or a file name of checkpoints, is refused.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from ..utils.project import UserError
from .classes import arguments_of, find_class
from .configs import Given, place_of
from .messages import nearest
from .values import told

# Words in the names of metrics for which lower is better, or higher
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

# The stage in the name of a metric, such as val in val/acc and in val_acc
STAGE = re.compile(r"[^/_]*")

# Checkpoints that the run itself writes
OWN_FILES = ("best", "last", "next")

# Configs of every command. Their mode was chosen for another metric.
OF_EVERY_COMMAND = ("default.yaml", "local.yaml")


def fitting_mode(metric: str) -> str | None:
    """Return the mode that the name of a metric suggests, `min` or `max`; None if it suggests none."""
    words = WORD.findall(metric.lower())
    less = any(word in LESS_IS_BETTER for word in words)
    more = any(word in MORE_IS_BETTER for word in words)
    if less == more:
        return None
    if less:
        return "min"
    return "max"


def check_directions(config: Any, values: Sequence[Given]) -> None:
    """Raise UserError if a metric is monitored with the wrong mode, so that the worst value counts as the best.

    A mode that was given together with the metric is accepted as it is.

    Args:
        config: The configuration of a sub-command.
        values: The values from configs and options.
    """
    followers = [("checkpoint", config.checkpoint)]
    callbacks = config.trainer.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if has_default_mode(callback):
            followers.append(("trainer.callbacks", callback.init_args))
    for key, settings in followers:
        metric = settings.get("monitor")
        mode = settings.get("mode")
        if not isinstance(metric, str):
            continue
        fitting = fitting_mode(metric)
        if fitting is None or mode not in ("min", "max") or mode == fitting:
            continue
        if not is_chosen(key, metric, mode, values):
            problem = f"is {metric}, but {key}.mode is {mode}, so that the worst counts as the best"
            mend = f"set --{key}.mode {fitting}"
            raise UserError(told(f"{key}.monitor", f"{problem}: {mend}", values, metric))


def has_default_mode(callback: Any) -> bool:
    """Return whether a callback has its default mode. A user has chosen any other mode on purpose."""
    settings = getattr(callback, "init_args", None) or {}
    mode = arguments_of(find_class(getattr(callback, "class_path", None))).get("mode")
    return mode is not None and settings.get("mode") == mode.default


def is_chosen(key: str, metric: str, mode: str, values: Sequence[Given]) -> bool:
    """Return whether the mode was chosen for this metric: given in the same config, or later.

    The mode in a config of every command does not count.
    """
    found = place_of(f"{key}.mode", values)
    if found is None or found.value != mode:
        return False
    file = file_of(found)
    if file.name in OF_EVERY_COMMAND:
        return False
    named = place_of(f"{key}.monitor", values, metric)
    return named is None or file == file_of(named) or values.index(found) > values.index(named)


def file_of(value: Given) -> Path:
    """Return the path of the config that gives a value; an empty path for an option."""
    return Path(value.place.rpartition(", line ")[0])


class MonitoredMetrics(Callback):
    """Refuses a callback whose metric the sanity check does not log, because it would fail after the first epoch."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = logged_metrics(trainer)
        stages = {stage(name) for name in logged}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
            monitor = getattr(callback, "monitor", None)
            if not isinstance(monitor, str) or monitor in logged or stage(monitor) not in stages:
                continue  # training may log what no validation does
            mend = nearest(monitor, logged) or ": name one of them."
            raise UserError(
                f"{name_of(callback)} is {monitor}, but validation logs {', '.join(logged)}{mend} "
                "If your module logs it later than in the sanity check, set --trainer.num_sanity_val_steps 0"
            )


def logged_metrics(trainer: Trainer) -> list[str]:
    """Return the names of all logged metrics, sorted."""
    return sorted(trainer.callback_metrics)


def stage(metric: str) -> str:
    """Return the first word in the name of a metric, which is its stage: val for val/acc and val_acc."""
    match = STAGE.match(metric)
    return match[0] if match else ""


def name_of(callback: Callback) -> str:
    """Return the option that says which metric a callback monitors."""
    is_own = isinstance(callback, ModelCheckpoint) and callback.filename == "best"
    return "checkpoint.monitor" if is_own else f"monitor of {type(callback).__name__}"


def check_file_names(callbacks: Sequence[Callback], folder: Path) -> None:
    """Raise UserError if a ModelCheckpoint of the user would overwrite the run's own checkpoints."""
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.filename not in OWN_FILES:
            continue
        if callback.dirpath is None or Path(callback.dirpath) == folder:
            raise UserError(
                f"trainer.callbacks.filename is {callback.filename}, but the run itself writes "
                f"{callback.filename}.ckpt: choose another name, such as "
                "{epoch}-{step}"
            )
