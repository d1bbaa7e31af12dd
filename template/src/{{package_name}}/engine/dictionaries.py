"""Refuses options that set a key within a dictionary or a list and would change something else than what is meant.

Read this when such an option is refused. An option may set a key at the first level of a dictionary.
"""

from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import Namespace

from ..utils.project import UserError
from .configs import Given, place_of


def check_options_in_dictionaries(config: Namespace, values: Sequence[Given]) -> None:
    """Raise UserError for an option such as `--model.cfg.a.b`, where `cfg` is a dictionary, not a class.

    Args:
        config: The configuration of a sub-command.
        values: The values from configs and options.
    """
    for position, one in enumerate(values):
        path = one.key.split(".")
        depth = depth_in_dictionary(config, path)
        if one.place or depth < 2:
            continue
        top = ".".join(path[: 1 - depth])
        below = path[1 - depth :]
        dictionary = {}
        before = place_of(top, values[:position])
        if before:
            dictionary = before.value
        whole = as_option(with_key(dictionary, below, one.value))
        problem = f"{one.key} is deep within a dictionary, which would lose its other keys"
        raise UserError(f"{problem}: give all of {top}, as --{top} '{whole}'")


def check_options_in_lists(config: Namespace, values: Sequence[Given]) -> None:
    """Raise UserError for an option such as `--model.param_groups.freeze`, because it changes the last entry alone.

    It is meant so if the list itself is given, or an entry appended, by an option before.

    Args:
        config: The configuration of a sub-command.
        values: The values from configs and options.
    """
    options = [one.key for one in values if not one.place]
    for position, key in enumerate(options):
        parent = key.rpartition(".")[0]
        entries = entries_at(config, parent.split("."))
        if len(entries) > 1 and parent not in options[:position]:
            problem = f"{key} would change the last of {len(entries)} entries alone"
            raise UserError(f"{problem}: give all, as --{parent} '{as_option(entries)}'")


def entries_at(config: Any, path: Sequence[str]) -> list[dict[str, Any]]:
    """Return the list of dictionaries at a key; an empty list if there is something else."""
    node = config
    for part in path:
        if not isinstance(node, Namespace):
            return []
        node = value_of(node, part)
    if isinstance(node, list) and all(isinstance(entry, dict) for entry in node):
        return node
    return []


def with_key(dictionary: Any, path: Sequence[str], text: str) -> dict[str, Any]:
    """Return a copy of a dictionary in which a nested key is set to a value, parsed from YAML."""
    copy = {}
    if isinstance(dictionary, dict):
        copy = dict(dictionary)
    name, *below = path
    if below:
        copy[name] = with_key(copy.get(name), below, text)
    else:
        copy[name] = yaml.safe_load(text)
    return copy


def as_option(value: Any) -> str:
    """Return a dictionary or a list as YAML on one line, such as {a: 1, b: [2, 3]}."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text.strip()


def depth_in_dictionary(config: Any, path: Sequence[str]) -> int:
    """Return how many parts of a key are keys of a dictionary. Classes and dataclasses are a Namespace, so 0."""
    node = config
    for number, part in enumerate(path):
        if isinstance(node, list) and node:
            node = node[-1]  # --trainer.callbacks.patience means the last callback
        if isinstance(node, dict):
            return len(path) - number
        if not isinstance(node, Namespace):
            return 0
        node = value_of(node, part)
    return 0


def value_of(block: Namespace, name: str) -> Any:
    """Return the value of a key of a block, or of an argument of its class; None if it has none."""
    init_args = block.get("init_args")
    if isinstance(init_args, Namespace):
        return init_args.get(name)
    return block.get(name)
