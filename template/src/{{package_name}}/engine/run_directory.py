"""Finds the folder of all runs, for every command. Read it if your runs are on another disk.

It is `logs/` of the project, unless `trainer.default_root_dir` names another folder: in configs/default.yaml, in
configs/local.yaml, in a config of the command, or as an option. The last one counts.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..utils.project import UserError, project_root, shown

OPTION = "--trainer.default_root_dir"
OPTION_HELP = (
    "the folder of the runs, as for fit; that of configs/local.yaml, or logs/, if left out"
)
OF_EVERY_COMMAND = ("default.yaml", "local.yaml")
NO_TEXT_FILE = (OSError, ValueError)  # ValueError: no UTF-8, or characters that no path can have


def logs_folder(arguments: Sequence[str] = ()) -> Path:
    """Return the folder of all runs, for a command with these arguments of `fit`.

    A path in default.yaml or local.yaml is relative to the project's root, because these configs are shared by all
    working directories. Any other path is relative to the working directory, as in the shell.

    Raises:
        UserError: One of the configs is not YAML with keys.
    """
    root = project_root()
    folder = root / "logs"
    for name in OF_EVERY_COMMAND:
        path = root / "configs" / name
        if path.exists():
            found = _setting(path.read_text(encoding="utf-8"), path)
            if found:
                folder = _absolute(found, root)
    for chosen in _given(arguments):
        if chosen:
            folder = _absolute(chosen, Path.cwd())
        else:
            folder = root / "logs"
    return folder


def chosen_folder(option: str | None) -> Path:
    """Return the folder of all runs, for a command that has only this option."""
    if option:
        return logs_folder([OPTION, option])
    return logs_folder()


def _absolute(path: str, start: Path) -> Path:
    """Make a path absolute, relative to `start`. Remove `..`, because the path is printed and recorded."""
    return Path(os.path.abspath(start / Path(path).expanduser()))  # noqa: PTH100  # keeps links


def _given(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the folders named by the configs and options among the arguments, in their order; "" for null."""
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not equals and i + 1 < len(arguments):
            value = arguments[i + 1]
        if option == OPTION:
            if value == "null":
                value = ""
            yield value
        if option in ("-c", "--config"):
            found = _setting(*_read(value))
            if found:
                yield found


def _read(config: str) -> tuple[str, Path | None]:
    """Return the text and the path of a config. A config that is itself YAML has no path."""
    path = Path(config)
    try:
        return path.read_text(encoding="utf-8"), path
    except NO_TEXT_FILE:
        if path.suffix in (".yaml", ".yml"):
            return "", path
        return config, None


def _setting(text: str, path: Path | None) -> str | None:
    """Return the folder that a config names; None if it names none."""
    try:
        config: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = text
        if path:
            where = shown(path)
        problem = " ".join(str(error).split())
        raise UserError(f"{where} is not YAML with keys: {problem}") from error
    for key in ("trainer", "default_root_dir"):
        if not isinstance(config, dict):
            return None
        config = config.get(key)
    if not isinstance(config, str):
        return None
    return config


if __name__ == "__main__":  # for scripts/train.sbatch
    print(shown(logs_folder(sys.argv[1:])))
