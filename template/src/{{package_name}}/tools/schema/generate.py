"""Generates the schema of configs from jsonargparse's schema of `fit` and of the package's classes."""

import gc
import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Union

from jsonargparse import ArgumentParser, capture_parser, set_parsing_settings
from lightning.pytorch import LightningModule
from torch import nn

from ...cli import CLI
from ..options import PACKAGE
from .config_schema import ConfigSchema, Schema
from .factories import factories

FOLDER = Path(__file__).parents[2]  # the package


def generate() -> Schema:
    """Return the schema of the configs of `fit`. Print the modules of the package whose import fails, and why."""
    loaded = set(sys.modules)
    broken = import_package()
    gc.freeze()
    gc.enable()
    for name, reason in broken.items():
        print(f"Left out: {name} ({reason})", file=sys.stderr)
    members = package_members()
    classes = all_classes(members)

    # Otherwise jsonargparse lists the arguments of every network, including PyTorch's own, and fails for some.
    set_parsing_settings(subclasses_disabled=[lambda cls: cls is nn.Module])
    parser = capture_parser(lambda: CLI([]))
    options = add_built_classes(parser, classes)
    raw = json.loads(parser.get_completion_script("jsonschema"))

    patterns = [re.escape(path) for path in sorted(members)]
    patterns += [rf"{re.escape(name)}\..+" for name in broken]
    return ConfigSchema(raw, options, PACKAGE, patterns, loaded).fit()


def import_package() -> dict[str, str]:
    """Import all modules of the package, so that their classes are known. Return failed modules with the reason."""
    broken = {}
    for name in module_names():
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            reason = f"{type(error).__name__}: {error}"
            broken[name] = " ".join(reason.split())
    return broken


def module_names() -> Iterator[str]:
    """Yield the names of the package's modules. Files whose names are no identifiers are skipped."""
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        is_importable = all(part.isidentifier() for part in parts)
        if is_importable and parts != ("__main__",):
            inner = [part for part in parts if part != "__init__"]
            yield ".".join([PACKAGE, *inner])


def package_members() -> dict[str, Any]:
    """Return the package's functions and classes by path, including paths of modules that import them."""
    members = {}
    for name, module in list(sys.modules.items()):
        if not is_in_package(name):
            continue
        for key, value in vars(module).items():
            origin = getattr(value, "__module__", "")
            if callable(value) and is_in_package(origin):
                members[f"{name}.{key}"] = value
    return members


def is_in_package(name: str) -> bool:
    """Return whether a module is the package itself or inside it."""
    return f"{name}.".startswith(f"{PACKAGE}.")


def all_classes(members: dict[str, Any]) -> list[type]:
    """Return the classes among the members, each once."""
    classes: dict[type, None] = {}
    for path in sorted(members):
        if isinstance(members[path], type):
            classes[members[path]] = None
    return list(classes)


def add_built_classes(parser: ArgumentParser, classes: Iterable[type]) -> dict[type, str]:
    """Add an option for each class that an argument may build, because jsonargparse only describes types of options.

    Returns:
        The option's name by the class.
    """
    built: set[type] = {nn.Module}
    for cls in classes:
        for factory in factories(cls).values():
            built.update(factory.classes)

    options = {}
    for index, base in enumerate(sorted(built, key=path_of)):
        known = [base]
        if base is nn.Module:
            known = networks(classes)
        if known:
            options[base] = str(index)
            parser.add_argument(f"--{index}", type=Union[tuple(known)])  # noqa: UP007
    return options


def path_of(cls: type) -> tuple[str, str]:
    """Return the module and the name of a class, as a sort key."""
    return cls.__module__, cls.__qualname__


def networks(classes: Iterable[type]) -> list[type]:
    """Return the networks among some classes: subclasses of nn.Module, but not of LightningModule."""
    modules = [cls for cls in classes if issubclass(cls, nn.Module)]
    return [cls for cls in modules if not issubclass(cls, LightningModule)]
