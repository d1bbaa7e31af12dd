"""Asks jsonargparse about the arguments of `fit` and of the package's classes, and makes a schema of the answer."""

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

FOLDER = Path(__file__).parents[2]  # of the package


def generate() -> Schema:
    """Return the schema of the configs of `fit`. Print which modules of the package could not be imported, and why."""
    loaded = set(sys.modules)
    broken = import_package()
    gc.freeze()
    gc.enable()
    for name, reason in broken.items():
        print(f"Left out: {name} ({reason})", file=sys.stderr)
    members = package_members()
    classes = all_classes(members)

    # jsonargparse would list the arguments of every network, PyTorch's own too, and fails at some of them
    set_parsing_settings(subclasses_disabled=[lambda cls: cls is nn.Module])
    parser = capture_parser(lambda: CLI([]))
    options = add_built_classes(parser, classes)
    raw = json.loads(parser.get_completion_script("jsonschema"))

    patterns = [re.escape(path) for path in sorted(members)]
    patterns += [rf"{re.escape(name)}\..+" for name in broken]
    return ConfigSchema(raw, options, PACKAGE, patterns, loaded).fit()


def import_package() -> dict[str, str]:
    """Import all modules of the package, so that their classes are known; return those that fail, with the reason."""
    broken = {}
    for name in module_names():
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            reason = f"{type(error).__name__}: {error}"
            broken[name] = " ".join(reason.split())
    return broken


def module_names() -> Iterator[str]:
    """Yield the names of the package's modules. Copies of notebooks have names that cannot be imported."""
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        is_importable = all(part.isidentifier() for part in parts)
        if is_importable and parts != ("__main__",):
            inner = [part for part in parts if part != "__init__"]
            yield ".".join([PACKAGE, *inner])


def package_members() -> dict[str, Any]:
    """Return the package's functions and classes by their paths, also by those of modules that import them."""
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
    """Return whether a module's name is that of the package, or of a module in it."""
    return f"{name}.".startswith(f"{PACKAGE}.")


def all_classes(members: dict[str, Any]) -> list[type]:
    """Return the classes among the members, each of them once."""
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
    """Return the path of a class, to sort by."""
    return cls.__module__, cls.__qualname__


def networks(classes: Iterable[type]) -> list[type]:
    """Return the networks among some classes: all modules of PyTorch but those of Lightning."""
    modules = [cls for cls in classes if issubclass(cls, nn.Module)]
    return [cls for cls in modules if not issubclass(cls, LightningModule)]
