"""One line for the user out of jsonargparse's error messages, which list every type that was tried."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from jsonargparse import ArgumentParser

CAUSES = (
    r"Option '(?P<key>[^']+)' is not accepted|arguments are required: (?P<missing>\w+)|named '(?P<module>[^']+)'|"
    r"module '(?P<package>[^']+)' has no attribute '(?P<name>[^']+)'|Multiple subclasses with name (?P<short>\w+)|"
    r"Import path.* does not correspond to a (?P<kind>subclass of \w+)"
)


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
        path, key = _path(message[: cause.start()]), cause["key"]
        if key in ("class_path", "init_args"):
            return f"{path}.{key} stands beside an unknown key: only class_path and init_args go together"
        if key:
            return f"{path}.{key} is not a known key{_nearest(key, _arguments(message, cause.start()))}"
        if cause["name"]:
            near = _nearest(cause["name"], vars(import_module(cause["package"])))
            return f"{path}: {cause['package']} has no {cause['name']}{near}"
        if cause["kind"]:
            return f"{path} is {given[1] if given else 'something else'}, but must be a {cause['kind']}"
        if cause["short"]:
            return f"{path}: there are several classes {cause['short']}, so write package.module.{cause['short']}"
        wrong = f"{path} is {given[1] if given else 'wrong'}, but there is no module {cause['module']}"
        return f"{path}.{cause['missing']} is missing" if cause["missing"] else wrong
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
    match = get_close_matches(name, set(known) - {name}, n=1)
    return f": did you mean {match[0]}?" if match else ""
