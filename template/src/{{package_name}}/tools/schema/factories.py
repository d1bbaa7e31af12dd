"""Finds the arguments of a class that build objects: networks, and functions such as an OptimizerCallable."""

from collections.abc import Callable
from contextlib import suppress
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from torch import nn


class Factory(NamedTuple):
    """An argument that builds objects."""

    given: int  # number of arguments with which the function is called; 0 for a network
    classes: tuple[type, ...]  # known classes of the objects
    others: tuple[Any, ...]  # other types that the argument takes, such as None


def factories(cls: type) -> dict[str, Factory]:
    """Return the arguments that build objects, by name, of a class and its base classes."""
    found = {}
    for base in reversed(cls.__mro__):
        for name, hint in type_hints(base).items():
            kinds = alternatives(hint)
            for kind in kinds:
                if is_factory(kind):
                    others = tuple(other for other in kinds if other is not kind)
                    found[name] = new_factory(kind, others)
    return found


def type_hints(cls: type) -> dict[str, Any]:
    """Return the type hints of a class's own constructor; empty if they use names that only type checkers import."""
    with suppress(NameError, TypeError):
        return get_type_hints(vars(cls).get("__init__"))
    return {}


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union of types, or the type alone."""
    if get_origin(hint) in (Union, UnionType):
        return get_args(hint)
    return (hint,)


def is_factory(kind: Any) -> bool:
    """Return whether a type is a function or a network."""
    if kind in (Callable, nn.Module):
        return True
    return get_origin(kind) is Callable


def new_factory(kind: Any, others: tuple[Any, ...]) -> Factory:
    """Return the factory for a type, such as `Callable[[Iterable], Optimizer | Scheduler]`."""
    taken: Any = ()
    result = kind
    if get_args(kind):
        taken, result = get_args(kind)
    given = len(taken) if isinstance(taken, list) else 0

    classes = []
    for part in get_args(result) or [result]:
        if isinstance(part, type) and part.__module__ != "builtins":
            classes.append(part)
    return Factory(given, tuple(classes), others)
