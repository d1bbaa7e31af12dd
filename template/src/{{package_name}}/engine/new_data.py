"""Predictions of new data: `predict --run exp1 --data.predict pictures`.

Read this to see what a run keeps for them, and where their files go.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace

from ..utils.new_data import FILE
from ..utils.project import UserError, write

FOLDER = "new"  # in the run's directory
SOURCE = "source.txt"  # in a folder of predictions: which data they are about
NOTHING = "{}"
UNSAFE = re.compile(r"[^\w.-]+")  # such as "[:" in train[:10], which not every file system allows


class NewData(NamedTuple):
    """Data that `--data.predict` names."""

    name: str  # of their folder in the run's directory
    source: str  # what tells them from other data of this name


def new_data_of(config: Namespace) -> NewData | None:
    """Return the data that `--data.predict` names; None without it."""
    arguments = arguments_of_data(config)
    given = arguments.get("predict")
    # A data module of the user's own may have another kind of argument of this name.
    if not given or not isinstance(given, str):
        return None
    path = Path(os.path.abspath(given))  # noqa: PTH100  # keeps links
    if path.exists():
        name = path.name if path.is_dir() else path.stem
        source = str(path)
    else:  # such as a split of the dataset that `path` names
        name = given
        source = " ".join(filter(None, [arguments.get("path"), given]))
    # Dots would name the folder above, or a hidden one.
    return NewData(UNSAFE.sub("_", name).strip(".") or "data", source)


def arguments_of_data(config: Namespace) -> Any:
    """Return the data module's arguments; an empty dictionary if there is none."""
    data = config.get("data")
    return (data and data.get("init_args")) or {}


def pass_run_to_data(config: Namespace, subcommand: str, directory: Path) -> None:
    """Tell a data module that predicts new data which run was trained, if it has an argument `run`.

    Raises:
        UserError: The command is not `predict`.
    """
    if not new_data_of(config):
        return
    if subcommand != "predict":
        raise UserError("data.predict is an option of predict alone: leave it out")
    arguments = arguments_of_data(config)
    if "run" in arguments:
        arguments["run"] = str(directory)


def forget_new_data(config: Namespace) -> None:
    """Remove from a configuration what says which data one command predicts."""
    arguments = arguments_of_data(config)
    if "predict" in arguments and isinstance(arguments["predict"], str | None):
        del arguments["predict"]
        arguments.pop("run", None)


def write_learned(directory: Path, data: Any) -> None:
    """Write what the data module has learned from the training data, if it says so."""
    text = learned_text(data)
    if text != NOTHING:
        write(directory / FILE, f"{text}\n")


def learned_text(data: Any) -> str:
    """Return what a data module has learned from the training data, as JSON.

    Raises:
        UserError: It is no plain data.
    """
    learned = getattr(data, "learned", None)
    if not callable(learned):
        return NOTHING
    try:
        return json.dumps(learned(), ensure_ascii=False)
    except TypeError as error:
        name = type(data).__name__
        raise UserError(f"{name}.learned must return plain values alone, but: {error}") from error


def predictions_folder(directory: Path, data: NewData) -> Path:
    """Create the folder for predictions of new data, `new/<name>` in the run's directory, and return it.

    Other data of the same name have a folder with a number: `new/pictures-2`.
    """
    number = 1
    folder = directory / FOLDER / data.name
    while is_of_other_data(folder, data):
        number += 1
        folder = directory / FOLDER / f"{data.name}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / SOURCE, f"{data.source}\n")
    return folder


def is_of_other_data(folder: Path, data: NewData) -> bool:
    """Return whether a folder has predictions of other data."""
    source = folder / SOURCE
    return source.exists() and source.read_text(encoding="utf-8").strip() != data.source


def remove_unused_folder(folder: Path) -> None:
    """Remove a folder for predictions of new data if nothing was predicted."""
    if (folder / "predictions.csv").exists():
        return
    (folder / SOURCE).unlink(missing_ok=True)
    with suppress(OSError):  # another process may still have files there
        folder.rmdir()
        folder.parent.rmdir()
