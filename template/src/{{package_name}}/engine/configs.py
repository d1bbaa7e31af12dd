"""Reads configs and options as the user wrote them, each value with its file and line.

Read this when a config is refused, or when a message names the wrong file or line.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..utils.project import UserError, shown

MAPPINGS = ("trainer", "checkpoint")  # blocks of keys and values
CLASSES = ("model", "data")  # blocks that name a class
MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key <<
CONFLICT = "<<<<<<< "  # begins the first side of a conflict
TEXT_TAG = "tag:yaml.org,2002:str"
OPTION_ALONE = re.compile(r"-c|--[\w.+]+")  # such as --name, but not --name=exp1
ALLOWED_AT_FIRST = ("-h", "--help", "--print_")  # options before the sub-command
LONGEST_VALUE = 80  # characters of a value in a message
YAML_OF_JSON = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}
CLASS_WORDS = ("class_path", "init_args")  # parts of a key that the command line leaves out


class Given(NamedTuple):
    """A value that a config or an option gives to a key."""

    key: str  # dotted, as on the command line: without class_path and init_args
    value: Any
    place: str  # such as "configs/local.yaml, line 3"; empty for an option


def plain_key(key: str) -> str:
    """Return a key as on the command line: `model.net` for `model.init_args.net`."""
    parts = key.removesuffix("+").split(".")
    return ".".join(part for part in parts if part not in CLASS_WORDS)


def after_place(place: str, message: str) -> str:
    """Return a message with the place that it is about in front, if that is known."""
    if not place:
        return message
    return f"{place}: {message}"


def described(value: Any) -> str:
    """Return a value as YAML on one line, at most 80 characters long."""
    text = value
    if not isinstance(value, str) or not value:
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = YAML_OF_JSON.get(text, text)
    text = " ".join(text.split())
    if len(text) > LONGEST_VALUE:
        text = f"{text[: LONGEST_VALUE - 1]}…"
    return text


def kind_of(value: Any) -> str:
    """Describe a YAML value: "a list", "a mapping", or the value itself."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return described(value)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the content of a config as nested dictionaries.

    `path` may also be YAML itself, such as '{trainer: {max_epochs: 1}}'. A missing file gives an empty dictionary,
    because jsonargparse reports it later.

    Raises:
        UserError: The config is not YAML with keys and values.
    """
    root = _root(path)
    if root is None or _built(root) is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        kind = kind_of(_built(root))
        advice = "but must be keys and values, such as seed_everything: 1"
        raise UserError(f"{shown(path)} is {kind}, {advice}")
    _check_keys(root, shown(path))
    _check_blocks(root, shown(path))
    return dict(_built(root))


def flat(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested config: each dotted key with its value."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def given(args: Sequence[str]) -> list[Given]:
    """Return all values from configs and options, in order, each with its place."""
    found: list[Given] = []
    for option, value in options(args):
        if option in ("-c", "--config"):
            found += _given_in_config(value)
        elif option.startswith("--"):
            found.append(Given(plain_key(option[2:]), value, ""))
    return found


def _given_in_config(config: str) -> list[Given]:
    """Return all values of a config: a file, or YAML itself, whose values have no place."""
    root = _root(config)
    if root is None:
        return []
    place = ""
    if not config.lstrip().startswith("{"):
        place = shown(config)
    return list(_given_in(root, "", place))


def options(args: Sequence[str]) -> list[tuple[str, str]]:
    """Return each option with its value, for both `--name value` and `--name=value`."""
    pairs: list[tuple[str, str]] = []
    for arg, following in pairwise([*args, ""]):
        option, equals, value = arg.partition("=")
        if not equals:
            value = following
        if arg.startswith("-"):
            pairs.append((option, value))
    return pairs


def place_of(key: str, values: Sequence[Given], value: Any = None) -> Given | None:
    """Return where a key was last given with this value; otherwise where it was last given; None if nowhere."""
    last = None
    last_same = None
    for one in values:
        if one.key != key:
            continue
        last = one
        if value is not None and str(one.value) == str(value):
            last_same = one
    return last_same or last


def _root(path: str | Path) -> yaml.Node | None:
    """Parse the YAML of a file, or of a text that is YAML itself. Return None if it is empty or missing."""
    text = str(path)
    try:
        if not text.lstrip().startswith("{"):
            text = Path(path).read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        if root:
            _built(root)  # raises an error for tags such as !!python/object
        return root
    except OSError:
        return None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{shown(path)} is no text in UTF-8: {error.reason} at byte {error.start}"
        ) from error
    except yaml.MarkedYAMLError as error:
        check_no_conflict(text, shown(path))
        raise UserError(f"{shown(path)}{_yaml_problem(error)}") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{shown(path)} is not YAML: {problem}") from error


def check_no_conflict(text: str, place: str) -> None:
    """Raise UserError if git or an update has left both sides of a conflict in a file."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(CONFLICT):
            problem = f"{place}, line {number}: here begins a conflict of an update or a merge"
            raise UserError(f"{problem}. Keep one of its two sides, and remove the three marks")


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """Return the line of an error in YAML, and what is wrong there."""
    line = ""
    if error.problem_mark:
        line = f", line {error.problem_mark.line + 1}"
    problem = error.problem or ""
    if problem.startswith("but"):  # half a sentence, for example for two documents
        problem = f"{error.context} {problem}"
    return f"{line} is not YAML of plain values: {problem}"


def _built(node: yaml.Node) -> Any:
    """Return parsed YAML as Python objects."""
    return yaml.SafeLoader("").construct_document(node)


def _check_keys(node: yaml.Node, place: str, path: str = "") -> None:
    """Raise UserError if a mapping has a key twice, or a top-level key is not text."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_keys(child, place, path)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        if key_node.tag == MERGE_TAG:
            continue
        key = key_node.value
        whole = f"{path}{key}"
        line = line_of(key_node)
        here = f"{place}, line {line}"
        if not path and key_node.tag != TEXT_TAG:
            raise UserError(f"{here}: {key} is no key: keys are words, such as trainer")
        if key in lines:
            twice = f"{whole} is given twice, in line {lines[key]} too"
            raise UserError(f"{here}: {twice}. Remove one of them.")
        lines[key] = line
        _check_keys(value_node, place, f"{whole}.")


def line_of(node: yaml.Node) -> int:
    """Return the line of parsed YAML in its file, counted from 1."""
    return int(node.start_mark.line) + 1


def _check_blocks(root: yaml.MappingNode, place: str) -> None:
    """Raise UserError if a block that needs keys and values, or a class, has another form."""
    for key, line, node in _nodes(root):
        wanted = _wanted_block(key, node)
        if wanted:
            kind = kind_of(_built(node))
            raise UserError(f"{place}, line {line}: {key} is {kind}, but must be {wanted}")


def _wanted_block(key: str, node: yaml.Node) -> str | None:
    """Return what the value of a key must be; None if it is that, or may be anything."""
    value = _built(node)
    if key.endswith(".class_path") and not isinstance(value, str):
        return "a class (package.module.Class)"
    if isinstance(node, yaml.MappingNode):
        return None
    if key in MAPPINGS and not _is_file(value):
        return "keys and values"
    if key in CLASSES and not isinstance(value, str | None):
        return "a class: class_path, and init_args for its arguments"
    if key.endswith(".init_args"):
        return "keys and values, the arguments of a class"
    return None


def _is_file(value: Any) -> bool:
    """Return whether a value is the path of a file. jsonargparse reads that file instead."""
    return isinstance(value, str) and Path(value).is_file()


def _nodes(node: yaml.Node, path: str = "") -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield all dotted keys with their lines and nodes. Items of a list have the key of the list."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = f"{path}.{key_node.value}".removeprefix(".")
            yield key, line_of(key_node), value_node
            yield from _nodes(value_node, key)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child, path)


def _given_in(root: yaml.Node, path: str, file: str) -> Iterator[Given]:
    """Yield each value of parsed YAML with its key and place."""
    for key, line, node in _nodes(root, path):
        place = ""
        if file:
            place = f"{file}, line {line}"
        # `model: {class_path: X}` gives the key model the value X, as `--model X` does
        yield Given(plain_key(key), _built(node), place)


def without_value(args: Sequence[str]) -> str:
    """Return the first option without a value; an empty text if there is none."""
    for argument, following in pairwise([*args, "--"]):
        takes_value = OPTION_ALONE.fullmatch(argument) and argument != "--print_config"
        is_followed_by_option = following == "-c" or following.startswith("--")
        if takes_value and is_followed_by_option:
            return argument
    return ""


def requested_run(args: Sequence[str]) -> str | None:
    """Return the value of `--run`. It is needed before parsing, because it decides on the first config."""
    wanted = None
    for option, value in options(args):
        if option == "--run":
            wanted = value
    if wanted is None:
        return None
    if not wanted or wanted.startswith("--"):
        raise UserError("--run needs a value: <directory|id|name|last>")
    return wanted


def check_order(args: Sequence[str], verbs: Sequence[str]) -> None:
    """Raise UserError if options stand before the sub-command, because jsonargparse would not know them there."""
    if not args:
        return
    first = args[0]
    if not first.startswith("-") or first.startswith(ALLOWED_AT_FIRST):
        return
    for arg in args:
        if arg in verbs:
            advice = f"begin with {arg}, and give its options after it"
            raise UserError(f"{first} stands before {arg}: {advice}")


def without_empty_configs(args: Sequence[str]) -> list[str]:
    """Return the arguments without empty configs, such as a file of comments only."""
    kept: list[str] = []
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in ("-c", "--config"):
            kept.append(word)
            continue
        pair = [word]
        if not equals:
            value = next(words, "")
            pair.append(value)
        if not value:
            raise UserError(
                f"{option} needs a value: the path of a config, such as configs/data/<name>.yaml"
            )
        if read_config(value) or not Path(value).is_file():
            kept += pair
    return kept
