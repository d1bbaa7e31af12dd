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
OPTION_ALONE = re.compile(r"-c|--[\w.+]+")  # such as --name, but not --name=exp1
CLASS_WORDS = ("class_path", "init_args")  # parts of a key that the command line leaves out


class Given(NamedTuple):
    """A value that a config or an option gives to a key."""

    key: str  # dotted, as on the command line: without class_path and init_args
    value: Any
    place: str  # such as "configs/local.yaml, line 3"; empty for an option


def plain_key(key: str) -> str:
    """Return a key as on the command line: `model.net` for `model.init_args.net`."""
    return ".".join(part for part in key.removesuffix("+").split(".") if part not in CLASS_WORDS)


def described(value: Any) -> str:
    """Return a value as YAML on one line, at most 80 characters long."""
    text = (
        value
        if isinstance(value, str) and value
        else json.dumps(value, default=str, ensure_ascii=False)
    )
    text = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(text, text)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:79]}…"


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
        raise UserError(
            f"{shown(path)} is {kind_of(_built(root))}, but must be keys and values, such as seed_everything: 1"
        )
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
            root = _root(value)
            place = "" if value.lstrip().startswith("{") else shown(value)
            found += _given_in(root, "", place) if root else []
        elif option.startswith("--"):
            found.append(Given(plain_key(option[2:]), value, ""))
    return found


def options(args: Sequence[str]) -> list[tuple[str, str]]:
    """Return each option with its value, for both `--name value` and `--name=value`."""
    pairs: list[tuple[str, str]] = []
    for arg, after in zip(args, [*args[1:], ""], strict=False):
        option, equals, value = arg.partition("=")
        if arg.startswith("-"):
            pairs.append((option, value if equals else after))
    return pairs


def place_of(key: str, values: Sequence[Given], value: Any = None) -> Given | None:
    """Return where a key was last given with this value; otherwise where it was last given; None if nowhere."""
    here = [one for one in values if one.key == key]
    same = [one for one in here if value is not None and str(one.value) == str(value)]
    return next(reversed(same or here), None)


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
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or ""
        if problem.startswith("but"):  # half a sentence, for example for two documents
            problem = f"{error.context} {problem}"
        raise UserError(f"{shown(path)}{line} is not YAML of plain values: {problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{shown(path)} is not YAML: {' '.join(str(error).split())}") from error


def _built(node: yaml.Node) -> Any:
    """Return parsed YAML as Python objects."""
    return yaml.SafeLoader("").construct_document(node)


def _check_keys(node: yaml.Node, place: str, path: str = "") -> None:
    """Raise UserError if a mapping has a key twice, or a top-level key is not text."""
    children = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.SequenceNode):
        for child in children:
            _check_keys(child, place, path)
        return
    seen: dict[str, int] = {}
    for key_node, value_node in children:
        key, line = key_node.value, key_node.start_mark.line + 1
        whole = f"{path}{key}"
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not path and key_node.tag != "tag:yaml.org,2002:str":
            raise UserError(
                f"{place}, line {line}: {key} is no key: keys are words, such as trainer"
            )
        if key in seen:
            raise UserError(
                f"{place}, line {line}: {whole} is given twice, in line {seen[key]} too. Remove one of them."
            )
        seen[key] = line
        _check_keys(value_node, place, f"{whole}.")


def _check_blocks(root: yaml.MappingNode, place: str) -> None:
    """Raise UserError if a block that needs keys and values, or a class, has another form."""
    for key, line, node in _nodes(root):
        is_mapping = isinstance(node, yaml.MappingNode)
        wanted = ""
        if key in MAPPINGS and not is_mapping and not _is_file(node):
            wanted = "keys and values"
        elif key in CLASSES and not is_mapping and not isinstance(_built(node), str | None):
            wanted = "a class: class_path, and init_args for its arguments"
        elif key.endswith(".init_args") and not is_mapping:
            wanted = "keys and values, the arguments of a class"
        elif key.endswith(".class_path") and not isinstance(_built(node), str):
            wanted = "a class (package.module.Class)"
        if wanted:
            raise UserError(
                f"{place}, line {line}: {key} is {kind_of(_built(node))}, but must be {wanted}"
            )


def _is_file(node: yaml.Node) -> bool:
    """Return whether a value is the path of a file. jsonargparse reads that file instead."""
    value = _built(node)
    return isinstance(value, str) and Path(value).is_file()


def _nodes(node: yaml.Node, path: str = "") -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield all dotted keys with their lines and nodes. Items of a list have the key of the list."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = f"{path}.{key_node.value}".removeprefix(".")
            yield key, key_node.start_mark.line + 1, value_node
            yield from _nodes(value_node, key)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child, path)


def _given_in(root: yaml.Node, path: str, file: str) -> Iterator[Given]:
    """Yield each value of parsed YAML with its key and place."""
    for key, line, node in _nodes(root, path):
        place = f"{file}, line {line}" if file else ""
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
    wanted = [value for option, value in options(args) if option == "--run"]
    if wanted and (not wanted[-1] or wanted[-1].startswith("--")):
        raise UserError("--run needs a value: <directory|id|name|last>")
    return wanted[-1] if wanted else None


def check_order(args: Sequence[str], verbs: Sequence[str]) -> None:
    """Raise UserError if options stand before the sub-command, because jsonargparse would not know them there."""
    is_option = (
        bool(args)
        and args[0].startswith("-")
        and not args[0].startswith(("-h", "--help", "--print_"))
    )
    verb = next((arg for arg in args if arg in verbs), None)
    if is_option and verb:
        raise UserError(
            f"{args[0]} stands before {verb}: begin with {verb}, and give its options after it"
        )


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
