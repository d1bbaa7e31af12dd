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
from .configs import CLASSES, flat, given, place_of, plain_key, read_config


def with_local_settings(args: Sequence[str], path: Path) -> list[str]:
    """Insert configs/local.yaml into the options: before the other configs, but arguments of chosen classes after."""
    local = read_config(path)
    late = {}
    for key in CLASSES:
        settings = _late_settings(local, key, args)
        if settings:
            late[key] = settings
    end = _end_of_configs(args)
    after = ["-c", json.dumps(late, default=str)] if late else []
    return [*_early_config(local, path), *args[:end], *after, *args[end:]]


def _early_config(local: dict[str, Any], path: Path) -> list[str]:
    """Return local.yaml as the first `-c` option, without blocks that name no class."""
    classless = [key for key in CLASSES if _names_no_class(local.get(key))]
    if classless:
        rest = {key: value for key, value in local.items() if key not in classless}
        return ["-c", json.dumps(rest, default=str)] if rest else []
    return ["-c", str(path)] if local else []


def _names_no_class(block: Any) -> bool:
    return isinstance(block, dict) and "class_path" not in block


def _late_settings(local: dict[str, Any], key: str, args: Sequence[str]) -> dict[str, Any]:
    """Return the settings of local.yaml that the chosen class accepts and the command does not give."""
    block = local.get(key)
    if not isinstance(block, dict):
        return {}
    values = given(args)
    chosen = [one.value for one in values if one.key == key and isinstance(one.value, str)]
    name = chosen[-1] if chosen else block.get("class_path")
    if block.get("class_path") not in (None, name):
        return {}
    known = arguments_of(find_class(name))
    settings: dict[str, Any] = {}
    for path, value in flat(block.get("init_args") or {}):
        there = place_of(plain_key(f"{key}.{path}"), values)
        if path.split(".")[0] not in known or (there and there.value is not None):
            continue
        *parents, last = path.split(".")
        inner = settings
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return {"class_path": name, "init_args": settings} if settings else {}


def _end_of_configs(args: Sequence[str]) -> int:
    """Return the position after the last config."""
    end = 0
    for i, arg in enumerate(args):
        if arg in ("-c", "--config"):
            end = i + 2
        elif arg.startswith(("-c=", "--config=")):
            end = i + 1
    return end
