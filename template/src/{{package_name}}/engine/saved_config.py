"""Writes config.yaml so that `--run` reads back the same values. Read it if a value changes on the way."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper
from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import shown
from .configs import Given
from .new_data import forget_new_data
from .secrets import without_secrets

# Options that are actions. config.yaml describes the run, and leaves them out.
ACTIONS = (
    "ckpt_path",
    "run",
    "allow_untrained",
    "test_after_fit",
    "git_commit_before_fit",
    "weights_only",
)

# Options that config.yaml has only if they are given
INITIAL_WEIGHTS = ("init_from", "init_include", "init_rename")

# Such as 1e-3, which PyYAML writes without quotes, and which jsonargparse reads as a number
LIKE_A_NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|[-+]?\.?(inf|nan)|0[ox]\w+", re.IGNORECASE)


# Writes YAML in which every text is read back as a text.
# Made with type(), because type checkers reject a subclass statement: PyYAML has no type hints.
ConfigDumper: Any = type("ConfigDumper", (yaml.SafeDumper,), {})


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if LIKE_A_NUMBER.fullmatch(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


ConfigDumper.add_representer(str, represent_text)


def represent_member(dumper: yaml.SafeDumper, member: str) -> yaml.ScalarNode:
    """Represent a member of a text Enum by its text. Such a member may be the default of a str argument."""
    return represent_text(dumper, str.__str__(member))


ConfigDumper.add_multi_representer(str, represent_member)


def with_given_texts(dumped: Any, given: Any) -> Any:
    """Return dumped settings with all texts as they were given.

    jsonargparse dumps arguments of nested classes through YAML, which turns the text '1e-3' into a number.
    """
    if isinstance(dumped, dict) and isinstance(given, dict):
        by_text = {str(key): value for key, value in given.items()}  # JSON has only texts as keys
        return {
            key: with_given_texts(value, by_text.get(key, value)) for key, value in dumped.items()
        }
    if isinstance(dumped, list) and isinstance(given, list | tuple) and len(dumped) == len(given):
        return [with_given_texts(*pair) for pair in zip(dumped, given, strict=True)]
    if isinstance(dumped, str) and isinstance(given, dict) and "class_path" not in given:
        return given  # the argument also accepts a text, like the duration of Timer
    is_text = type(given) is str  # a member of a text Enum is a str too, but is dumped by its name
    return given if is_text else dumped


def config_values(parser: ArgumentParser, config: Namespace, left_out: list[str]) -> dict[str, Any]:
    """Return a parsed configuration as plain values, without actions and credentials.

    The keys of the credentials are appended to `left_out`.
    """
    config = config.clone()
    for key in ACTIONS:
        config.pop(key, None)
    for key in INITIAL_WEIGHTS:
        if not config.get(key):
            config.pop(key, None)
    forget_new_data(config)
    values: dict[str, Any] = json.loads(parser.dump(config, format="json", skip_unset=False))
    values = with_given_texts(values, config.as_dict())
    return dict(without_secrets(values, left_out))


def config_text(parser: ArgumentParser, config: Namespace) -> str:
    """Return a parsed configuration as YAML, without actions and credentials. Print which credentials are left out."""
    left_out: list[str] = []
    values = config_values(parser, config, left_out)
    if left_out:
        keys = ", ".join(key.replace(".init_args", "") for key in left_out)
        rank_zero_info(
            f"config.yaml leaves out what looks like a credential: {keys}. "
            "With --run, pass the config that has it again."
        )
    return as_yaml(values)


def as_yaml(values: Any) -> str:
    """Return plain values as YAML in which every text is read back as a text."""
    text: str = yaml.dump(
        values, Dumper=ConfigDumper, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text


set_dumper("yaml", as_yaml)  # because jsonargparse's own dumper cannot write text Enums


def given_here(saved: Path, values: Sequence[Given]) -> list[Given]:
    """Return the values from this command's own options and configs, without those of the run's config.yaml."""
    return [value for value in values if not value.place.startswith(f"{shown(saved)}, line ")]


def forget_actions(
    config: Namespace, defaults: Namespace, saved: Path, values: Sequence[Given]
) -> None:
    """Reset actions in a saved config, so that only this command's own options and configs decide on them.

    A run from somebody else must not load another checkpoint, load it unsafely, or commit files here.

    Args:
        config: The configuration of a sub-command, which is changed.
        defaults: The sub-command's defaults.
        saved: The run's config.yaml.
        values: The values from configs and options.
    """
    own = {value.key for value in given_here(saved, values)}
    for key in ACTIONS:
        if key in config and key not in own:
            config[key] = defaults.get(key)
