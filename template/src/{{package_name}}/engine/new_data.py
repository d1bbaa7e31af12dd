"""Predictions of new data: `predict --run exp1 --data.predict pictures`.

Read this to see what a run keeps for them, and where their files go.
"""

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ..utils.new_data import FILE
from ..utils.project import UserError, write

FOLDER = "new"  # in the run's directory
SOURCE = "source.txt"  # in a folder of predictions: the path of the data
NOTHING = "{}"
UNSAFE = re.compile(r"[^\w.-]+")  # such as "[:" in train[:10], which not every file system allows


def new_data_of(config: Namespace) -> str | None:
    """Return the value of `--data.predict`; None without it."""
    path = arguments_of_data(config).get("predict")
    # A data module of the user's own may have another kind of argument of this name.
    return path if path and isinstance(path, str) else None


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


def predictions_folder(directory: Path, source: str) -> Path:
    """Return the folder for predictions of new data: `new/<name of the data>` in the run's directory.

    Other data of the same name have a folder with a number: `new/pictures-2`.
    """
    path = str(Path(source).absolute())
    name = UNSAFE.sub("_", Path(path).stem)
    for number in count(1):
        folder = directory / FOLDER / (name if number == 1 else f"{name}-{number}")
        said = folder / SOURCE
        if not said.exists() or said.read_text(encoding="utf-8").strip() == path:
            return folder
    raise AssertionError("unreachable")
