"""Writes the values that BatchSizeFinder and LearningRateFinder find into config.yaml.

Read this when a run with one of them differs from its config.yaml.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_hasattr

from ..utils.project import UserError
from .classes import find_class

RATES = ("lr", "learning_rate")  # attributes that LearningRateFinder sets by default
Settings = dict[str, Any]


def check_callbacks(
    callbacks: list[Callback], config: Settings, model: LightningModule, is_resumed: bool
) -> None:
    """Raise UserError if a callback needs a missing attribute of the module, or cannot work in a resumed run.

    Args:
        callbacks: The callbacks of a fit.
        config: The configuration of the fit.
        model: The module.
        is_resumed: Whether the fit starts from a checkpoint.
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
        if settings["update_attr"] and rate_attribute(settings, model) is None:
            names = " or ".join(rate_names(settings))
            raise UserError(
                f"LearningRateFinder sets the attribute {names}, which {module} does not have. "
                "Give it update_attr: false, and it tells which learning rate it suggests."
            )


def rate_names(settings: Settings) -> Sequence[str]:
    """Return the attributes in which a LearningRateFinder looks for the learning rate."""
    if settings.get("attr_name"):
        return [settings["attr_name"]]
    return RATES


def rate_attribute(settings: Settings, model: LightningModule) -> str | None:
    """Return the first of these attributes that the module has; None if it has none."""
    for name in rate_names(settings):
        if lightning_hasattr(model, name):
            return name
    return None


def finders(config: Settings, kind: Any) -> Iterator[tuple[Settings, Settings]]:
    """Yield the configured callbacks of a class, each with its `init_args`."""
    for entry in config["trainer"].get("callbacks") or []:
        found = find_class(entry["class_path"])
        if isinstance(found, type) and issubclass(found, kind):
            yield entry, entry.get("init_args", {})


def with_found_values(text: str, trainer: Trainer) -> Settings | None:
    """Return a config with the values that the finders found, without the finders; None if it has no finders.

    A resumed run must not search again.
    """
    config: Settings = yaml.safe_load(text)
    model = trainer.lightning_module
    done: list[Settings] = []
    for entry, settings in finders(config, BatchSizeFinder):
        keep(config, settings["batch_arg_name"], model)
        done.append(entry)
    for entry, settings in finders(config, LearningRateFinder):
        if settings["update_attr"]:
            keep(config, str(rate_attribute(settings, model)), model)
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
    """Copy the current value of an attribute into the argument of this name, of the model and of the data."""
    value = lightning_getattr(model, name)
    for block in ("model", "data"):
        arguments = config[block].get("init_args", {})
        if name in arguments:
            arguments[name] = value
    rank_zero_info(f"Found: {name} is {value}")
