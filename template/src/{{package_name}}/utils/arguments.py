"""The arguments: configs read, classes that are replaced dropped, and jsonargparse's error messages in one line."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from .project import UserError, shown

CAUSES = (
    r"Option '(?P<key>[^']+)' is not accepted|arguments are required: (?P<missing>\w+)|No module named '[^']+'|"
    r"module '(?P<package>[^']+)' has no attribute '(?P<name>[^']+)'|Multiple subclasses with name \w+.*|"
    r"Import path.* does not correspond to a subclass of \w+"
)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return what a config sets, nothing if it cannot be read; raise UserError if it is not YAML with keys."""
    try:
        return dict((yaml.safe_load(Path(path).read_text()) or {}).items())
    except (AttributeError, UnicodeError, yaml.YAMLError) as error:
        raise UserError(f"{shown(path)} is not YAML with keys: {' '.join(str(error).split())}") from error
    except OSError:
        return {}


def drop_replaced(args: Sequence[str]) -> list[str]:
    """Return the arguments, with a reset before each that replaces the class of an optimizer, logger and so on.

    Else jsonargparse hands the old class's arguments on to the new one, where it has arguments of the same names. Kept
    are where a logger saves, and the arguments of the model and the data module, which say what the task is.
    """
    result: list[str] = []
    known: dict[str, tuple[str, Any]] = {}
    options_start = 0  # no reset comes between two options, so that it drops none
    for arg, following in zip(args, [*args, ""][1:], strict=True):
        option, equals, value = arg.partition("=")
        is_config = option in ("-c", "--config")
        value = value if equals else following
        for path, new in _flat(read_config(value)) if is_config else [(option.lstrip("-"), value)]:
            key = path.replace(".init_args", "").removesuffix(".class_path")
            place, old = known.get(key, ("", ""))
            replaced = place.endswith(".class_path") and str(old).rpartition(".")[2] != str(new).rpartition(".")[2]
            if replaced and "." in key:
                at = len(result) if is_config else options_start
                saves = known.get(f"{key}.save_dir", (place, old))
                for reset in (dict([(place, old), saves]), {place.removesuffix(".class_path"): None}):
                    result[at:at] = ["-c", json.dumps(Namespace(reset).as_dict())]  # type: ignore[no-untyped-call]
            if is_config:
                known[key] = path, new
        result.append(arg)
        options_start = len(result) + (not equals) if is_config else options_start
    return result


def _flat(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield from _flat(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]


def explain(message: str, options: Iterable[str]) -> str:
    """Return one line that names the key, the value and what to do; of the known options it names the nearest."""
    if found := re.match(r"(?:Subcommand .* does not accept option '|unrecognized arguments: --)([\w.]+)", message):
        return f"{found[1]} is not a known key{_nearest(found[1], options)}"
    none = r"the following arguments are required: \w+\.(\w+)|Parser key \"(\w+)\":(?s:.)*class_path 'lightning\.L"
    if found := re.match(none, message):  # the second: a key of a class that was not given
        key = found[1] or found[2]
        return f"{key} is missing: pass a config that has it, such as -c configs/{key}/<name>.yaml"
    leaf = message[message.rfind('Parser key "') :]
    given = re.search(r"(?:Given|Got) value: (?:NestedArg.*val=)?(.*?)\)?(?:\. Got value: .*)?$", leaf, re.M)
    # the innermost cause is the first one in the text, and the keys that lead to it stand before it
    if cause := re.search(CAUSES, message):
        path, key, value = _path(message[: cause.start()]), cause["key"], f" is {given[1]}" if given else ""
        if key in ("class_path", "init_args"):
            return f"{path}.{key} stands beside an unknown key: only class_path and init_args go together"
        if key:
            return f"{path}.{key} is not a known key{_nearest(key, _arguments(message, cause.start()))}"
        if cause["name"]:
            near = _nearest(cause["name"], vars(import_module(cause["package"])))
            return f"{path}: {cause['package']} has no {cause['name']}{near}"
        return f"{path}.{cause['missing']} is missing" if cause["missing"] else f"{path}{value}: {cause[0]}"
    expected = re.findall(r"Expected an? (?!path but)(.+)", re.split(r"Given value|\. Got value", leaf)[0])
    if expected and given:
        wanted = re.sub(r"dot import path string: \S+", "a class (package.module.Class)", "\n".join(expected))
        wanted = re.sub(r"<class '([^']+)'>|typing\.", r"\1", wanted).replace("NoneType", "null")
        return f"{_path(message)} is {given[1]}, but must be {' or '.join(dict.fromkeys(wanted.splitlines()))}"
    return re.sub(r'Parser key "([^"]+)"', r"\1", " ".join(message.split()))


def _path(message: str) -> str:
    return ".".join(re.findall(r'Parser key "([^"]+)"', message))


def _arguments(message: str, position: int) -> list[str]:
    before, after = message[:position], message[position:]  # the class stands behind if it is one behind a Callable
    found = re.findall(r"class_path='([\w.]+)\.(\w+)'", after) if "or a callable class" in before else []
    module, name = (found or re.findall(r"class_path '([\w.]+)\.(\w+)'", before)[::-1])[0]
    parser = ArgumentParser(exit_on_error=False)
    return ["class_path", *parser.add_class_arguments(getattr(import_module(module), name), fail_untyped=False)]


def _nearest(name: str, known: Iterable[str]) -> str:
    return next((f": did you mean {match}?" for match in get_close_matches(name, set(known) - {name}, n=1)), "")
