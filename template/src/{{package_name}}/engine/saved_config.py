"""The text of config.yaml, from which `--run` gets the values that were given."""

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
from .secrets import without_secrets

# Options that say what to do now, not what the run is: config.yaml leaves them out
ACTIONS = (
    "ckpt_path",
    "run",
    "allow_untrained",
    "test_after_fit",
    "git_commit_before_fit",
    "weights_only",
)

# Such as 1e-3, which PyYAML writes without quotes, and which jsonargparse reads as a number
LIKE_A_NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|[-+]?\.?(inf|nan)|0[ox]\w+", re.IGNORECASE)


# Writes YAML in which every text is read back as a text. PyYAML has no types, so a class statement would be an error
ConfigDumper: Any = type("ConfigDumper", (yaml.SafeDumper,), {})


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if LIKE_A_NUMBER.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


ConfigDumper.add_representer(str, represent_text)


def represent_member(dumper: yaml.SafeDumper, member: str) -> yaml.ScalarNode:
    """Return a member of a text Enum as its text, which is the default of an argument of type str."""
    return represent_text(dumper, str.__str__(member))


ConfigDumper.add_multi_representer(str, represent_member)


def with_given_texts(dumped: Any, given: Any) -> Any:
    """Return dumped settings in which texts are as they were given.

    jsonargparse dumps the arguments of a class inside another one by way of YAML, which makes a number of '1e-3'.
    """
    if isinstance(dumped, dict) and isinstance(given, dict):
        by_text = {str(key): value for key, value in given.items()}  # JSON has only texts as keys
        return {
            key: with_given_texts(value, by_text.get(key, value)) for key, value in dumped.items()
        }
    if isinstance(dumped, list) and isinstance(given, list | tuple) and len(dumped) == len(given):
        return [with_given_texts(*pair) for pair in zip(dumped, given, strict=True)]
    if isinstance(dumped, str) and isinstance(given, dict) and "class_path" not in given:
        return given  # of an argument that may be a text, too, as the duration of Timer
    is_text = type(given) is str  # a member of a text Enum is a str too, but is dumped by its name
    return given if is_text else dumped


def config_text(parser: ArgumentParser, config: Namespace) -> str:
    """Return a parsed configuration as YAML, without actions and credentials.

    It says which credentials it leaves out.
    """
    config = config.clone()
    for key in ACTIONS:
        config.pop(key, None)
    values: dict[str, Any] = json.loads(parser.dump(config, format="json", skip_unset=False))
    values = with_given_texts(values, config.as_dict())
    left_out: list[str] = []
    values = without_secrets(values, left_out)
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


set_dumper("yaml", as_yaml)  # jsonargparse's own knows no members of text Enums


def forget_actions(
    config: Namespace, defaults: Namespace, saved: Path, values: Sequence[Given]
) -> None:
    """Set back what a saved config says to do: what this command does, its own options and configs alone decide.

    A run from somebody else must not load another checkpoint, load it unsafely, or commit what it finds here.

    Args:
        config: The configuration of a sub-command, which is changed.
        defaults: The sub-command's defaults.
        saved: The run's config.yaml.
        values: What configs and options give.
    """
    own = {value.key for value in values if not value.place.startswith(f"{shown(saved)}, line ")}
    for key in ACTIONS:
        if key in config and key not in own:
            config[key] = defaults.get(key)
