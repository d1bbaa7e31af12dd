"""Gives every logger the run's name and directory. Read it if a logger writes to the wrong folder."""

import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ..utils.project import UserError
from .encoding import check_characters

# Lightning's default, which stands for "no name"
NO_NAME = "lightning_logs"
# Such as exp1 and resnet-18.v2
RUN_NAME = re.compile(r"\w[\w.-]*")
DUMMY_LOGGER = {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"}


def logger_settings(trainer: Namespace) -> list[Any]:
    """Return the `init_args` of each configured logger."""
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    return [logger.get("init_args", {}) for logger in loggers if isinstance(logger, Namespace)]


def run_name(config: Namespace) -> str:
    """Return the run's name: from `--name`, otherwise from a logger, otherwise `default`.

    Raises:
        UserError: The name is not a valid folder name on every system.
    """
    names = [config.name]
    for settings in logger_settings(config.trainer):
        if settings.get("name") != NO_NAME:
            names.append(settings.get("name"))
    name = next((str(name) for name in names if name), "default")
    check_characters(name)
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"name is {name}, but must be letters, digits, '_', '-' and '.' alone")
    return name


def place_loggers(trainer: Namespace, directory: Path) -> None:
    """Set the directory, name and id of each logger to those of the run."""
    name, run_id = directory.parts[-2:]
    places = {
        "save_dir": str(directory),
        "name": name,
        "experiment_name": name,
        "id": run_id,
        "run_name": run_id,
    }
    for settings in logger_settings(trainer):
        for key, value in {**places, **folder_settings(settings, directory)}.items():
            if key in settings:
                settings[key] = value


def folder_settings(settings: Any, directory: Path) -> dict[str, str]:
    """Return `name` and `version` of TensorBoardLogger (the run's directory) or CSVLogger (a new folder in it)."""
    if "version" not in settings or "id" in settings:  # settings of another logger
        return {}
    version = ""
    if "flush_logs_every_n_steps" in settings:  # of CSVLogger
        version = csv_folder(directory)
    return {"name": "", "version": version}


def csv_folder(directory: Path) -> str:
    """Return a new folder in the run's directory, because CSVLogger deletes an older metrics.csv."""
    number = 1
    folder = "csv"
    while (directory / folder).exists():
        number += 1
        folder = f"csv_{number}"
    return folder


def disable_loggers(trainer: Namespace, is_fit: bool) -> None:
    """Replace the loggers of a fast run by a dummy, because some callbacks require a logger."""
    if is_fit or logger_settings(trainer):
        trainer.logger = DUMMY_LOGGER
