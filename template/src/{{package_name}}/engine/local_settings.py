"""Merges configs/local.yaml: the settings of this machine, such as the folder of the data. It is not in git.

It comes after configs/default.yaml and before the configs of a command. Under `data` and `model`, it need not name a
class: its arguments go to the chosen class, if that accepts them. A config of the command or an option overrides them
with any value other than null. Read this when a local setting has no effect.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .classes import arguments_of, find_class
from .configs import CLASSES, Given, flat, given, place_of, plain_key, read_config


def with_local_settings(args: Sequence[str], path: Path) -> list[str]:
    """Insert configs/local.yaml into the options: before the other configs, but arguments of chosen classes after."""
    local = read_config(path)
    late = {}
    for key in CLASSES:
        settings = _late_settings(local, key, args)
        if settings:
            late[key] = settings
    end = _end_of_configs(args)
    return [*_early_config(local, path), *args[:end], *_config_option(late), *args[end:]]


def _config_option(settings: dict[str, Any]) -> list[str]:
    """Return settings as a `-c` option; nothing if there are none."""
    if not settings:
        return []
    return ["-c", json.dumps(settings, default=str)]


def _early_config(local: dict[str, Any], path: Path) -> list[str]:
    """Return local.yaml as the first `-c` option, without blocks that name no class."""
    classless = [key for key in CLASSES if _names_no_class(local.get(key))]
    if classless:
        rest = {key: value for key, value in local.items() if key not in classless}
        return _config_option(rest)
    if not local:
        return []
    return ["-c", str(path)]


def _names_no_class(block: Any) -> bool:
    return isinstance(block, dict) and "class_path" not in block


def _late_settings(local: dict[str, Any], key: str, args: Sequence[str]) -> dict[str, Any]:
    """Return the settings of local.yaml that the chosen class accepts and the command does not give."""
    block = local.get(key)
    if not isinstance(block, dict):
        return {}
    values = given(args)
    local_class = block.get("class_path")
    name = _chosen_class(key, values)
    if name is None:
        name = local_class
    if local_class not in (None, name):
        return {}
    known = arguments_of(find_class(name))
    settings: dict[str, Any] = {}
    for path, value in flat(block.get("init_args") or {}):
        parts = path.split(".")
        in_command = place_of(plain_key(f"{key}.{path}"), values)
        is_overridden = in_command is not None and in_command.value is not None
        if parts[0] in known and not is_overridden:
            _set_nested(settings, parts, value)
    if not settings:
        return {}
    return {"class_path": name, "init_args": settings}


def _chosen_class(key: str, values: Sequence[Given]) -> str | None:
    """Return the class that the command gives last for `model` or `data`; None if it gives none."""
    name = None
    for one in values:
        if one.key == key and isinstance(one.value, str):
            name = one.value
    return name


def _set_nested(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in nested dictionaries, which are made where they are missing."""
    *parents, last = path
    for parent in parents:
        settings = settings.setdefault(parent, {})
    settings[last] = value


def _end_of_configs(args: Sequence[str]) -> int:
    """Return the position after the last config."""
    end = 0
    for i, arg in enumerate(args):
        if arg in ("-c", "--config"):
            end = i + 2
        elif arg.startswith(("-c=", "--config=")):
            end = i + 1
    return end
