"""One line for the user out of jsonargparse's error messages, which list every type that was tried."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from jsonargparse import ArgumentParser


def explain(message: str, options: Iterable[str]) -> str:
    """Return one line that names the key, the value and, from the sub-command's options, the mend."""
    if found := re.match(r"(?:Subcommand .* does not accept option '|unrecognized arguments: --)([\w.]+)", message):
        return f"{found[1]} is not a known key{_nearest(found[1], options)}"
    none = r"the following arguments are required: \w+\.(\w+)|Parser key \"(\w+)\":(?s:.)*class_path 'lightning\.L"
    if found := re.match(none, message):  # the second: a key of a class that was not given
        key = found[1] or found[2]
        return f"{key} is missing: pass a config that has it, such as -c configs/{key}/<name>.yaml"
    # the innermost cause is the first one in the text, and the keys that lead to it stand before it
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        key = f"{_path(message[: found.start()])}.{found[1]}"
        if found[1] in ("class_path", "init_args"):
            return f"{key} stands beside an unknown key: only class_path and init_args go together"
        return f"{key} is not a known key{_nearest(found[1], _arguments(message, found.start()))}"
    if found := re.search(r"module '([^']+)' has no attribute '([^']+)'", message):
        classes = vars(import_module(found[1]))
        return f"{_path(message[: found.start()])}: {found[1]} has no {found[2]}{_nearest(found[2], classes)}"
    if found := re.search(r"Import path (\S+) does not correspond to a (subclass of \w+)", message):
        return f"{_path(message[: found.start()])} is {found[1]}, but must be a {found[2]}"
    leaf = message[message.rfind('Parser key "') :]
    expected = re.findall(r"Expected an? (?!path but)(.+)", re.split(r"Given value|\. Got value", leaf)[0])
    given = re.search(r"(?:Given|Got) value: (?:NestedArg.*val=)?(.*?)\)?(?:\. Got value: .*)?$", leaf, re.M)
    if expected and given:
        wanted = " or ".join(expected).replace("NoneType", "null").replace("typing.", "")
        wanted = re.sub(r"dot import path string: \S+", "a class (package.module.Class)", wanted)
        wanted = re.sub(r"<class '([^']+)'>", r"\1", wanted)
        return f"{_path(message)} is {given[1]}, but must be {wanted}"
    return re.sub(r'Parser key "([^"]+)"', r"\1", " ".join(message.split()))


def _path(message: str) -> str:
    """Return the keys that the message names from the outside to the inside, joined with dots."""
    return ".".join(re.findall(r'Parser key "([^"]+)"', message))


def _arguments(message: str, position: int) -> list[str]:
    """Return the names of the arguments of the class that the message is about at this position."""
    before, after = message[:position], message[position:]
    behind_callable = "expects a function or a callable class" in before
    found = re.findall(r"class_path='([\w.]+)\.(\w+)'", after) if behind_callable else []
    module, name = (found or re.findall(r"class_path '([\w.]+)\.(\w+)'", before)[::-1])[0]
    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(getattr(import_module(module), name), fail_untyped=False)
    return ["class_path", "init_args", *names]


def _nearest(name: str, known: Iterable[str]) -> str:
    match = get_close_matches(name, known, n=1)
    return f": did you mean {match[0]}?" if match else ""
