"""BatchSizeFinder and LearningRateFinder: config.yaml gets the values that they find, as if these had been given.

Read this when a run with one of them is not what its config.yaml says.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_hasattr

from ..utils.project import UserError
from .classes import find_class

RATES = ("lr", "learning_rate")  # the attributes that LearningRateFinder looks for
Settings = dict[str, Any]


def check_callbacks(
    callbacks: list[Callback], config: Settings, model: LightningModule, is_resumed: bool
) -> None:
    """Raise UserError if a callback needs an attribute that the module does not have, or a new training.

    Args:
        callbacks: The callbacks of a fit.
        config: Its configuration.
        model: The module.
        is_resumed: Whether it starts from a checkpoint.
    """
    module = type(model).__name__
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, BatchSizeFinder | LearningRateFinder) and is_resumed:
            raise UserError(
                f"{name} searches before a new training, and this one starts from a checkpoint. Leave it out."
            )
        if isinstance(callback, BackboneFinetuning) and not hasattr(model, "backbone"):
            raise UserError(
                f"{name} freezes the attribute backbone, which {module} does not have. Name the pretrained "
                "part of your module so, or write your own BaseFinetuning."
            )
    for _, settings in finders(config, LearningRateFinder):
        names = [settings["attr_name"]] if settings.get("attr_name") else RATES
        if settings["update_attr"] and not any(lightning_hasattr(model, name) for name in names):
            raise UserError(
                f"LearningRateFinder sets the attribute {' or '.join(names)}, which {module} does not have. "
                "Give it update_attr: false, and it tells which learning rate it suggests."
            )


def finders(config: Settings, kind: Any) -> Iterator[tuple[Settings, Settings]]:
    """Yield the callbacks of this kind in a configuration, each with its arguments."""
    for entry in config["trainer"].get("callbacks") or []:
        found = find_class(entry["class_path"])
        if isinstance(found, type) and issubclass(found, kind):
            yield entry, entry.get("init_args", {})


def with_found_values(text: str, trainer: Trainer) -> Settings | None:
    """Return the settings of a config.yaml with what was found in place of the callbacks; None if there are none."""
    config: Settings = yaml.safe_load(text)
    model = trainer.lightning_module
    done: list[Settings] = []
    for entry, settings in finders(config, BatchSizeFinder):
        keep(config, settings["batch_arg_name"], model)
        done.append(entry)
    for entry, settings in finders(config, LearningRateFinder):
        if settings["update_attr"]:
            names = [settings["attr_name"]] if settings.get("attr_name") else RATES
            keep(config, next(name for name in names if lightning_hasattr(model, name)), model)
        done.append(entry)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # not declared
        if isinstance(callback, LearningRateFinder) and callback.optimal_lr:
            rate = callback.optimal_lr.suggestion()
            rank_zero_info(f"LearningRateFinder suggests the learning rate {rate or '(none)'}")
    if not done:
        return None
    rest = [entry for entry in config["trainer"]["callbacks"] if entry not in done]
    config["trainer"]["callbacks"] = rest or None
    return config


def keep(config: Settings, name: str, model: LightningModule) -> None:
    """Put the present value of an attribute into the settings of the model and the data that have it."""
    value = lightning_getattr(model, name)
    for block in ("model", "data"):
        arguments = config[block].get("init_args", {})
        if name in arguments:
            arguments[name] = value
    rank_zero_info(f"Found: {name} is {value}")
