"""Finds the classes that a config names, their arguments, and the reason why an import fails.

Read this when a class is not found, or an error names the wrong file and line.
"""

import inspect
import traceback
from collections.abc import Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..utils.project import project_root, shown

# Types of plain values and containers, of which None is none
NEVER_NONE = (int, float, str, Sequence, Mapping, Set)


def find_class(name: Any) -> Any:
    """Return the class or function of a dotted name; None if it does not exist or its import fails."""
    try:
        return resolve_name(str(name))
    except Exception:  # code of the user runs on import and may raise anything
        return None


def arguments_of(cls: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class by name, including those that it passes to its bases by `**kwargs`."""
    found: dict[str, inspect.Parameter] = {}
    for base in getattr(cls, "__mro__", ()):
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        passes_on = False
        for name, parameter in parameters.items():
            if parameter.kind == parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind != parameter.VAR_POSITIONAL and name != "self":
                found.setdefault(name, parameter)
        if not passes_on:
            break
    return found


def takes_none(cls: Any, name: str) -> bool:
    """Return whether an argument accepts None, by its type hint."""
    for base in getattr(cls, "__mro__", ()):
        if name not in inspect.signature(base.__init__).parameters:
            continue
        try:
            hint = get_type_hints(base.__init__).get(name, Any)
        except Exception:  # a hint may use a name that only type checkers import
            return True
        return not rules_out_none(hint)
    return True


def rules_out_none(hint: Any) -> bool:
    """Return whether a type hint is made of plain values and containers alone, such as int | list[str]."""
    kind = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return all(rules_out_none(one) for one in get_args(hint))
    if kind is Literal:
        return None not in get_args(hint)
    return isinstance(kind, type) and issubclass(kind, NEVER_NONE)


def import_problem(name: Any) -> str | None:
    """Return why the import of a dotted name's module fails, with file and line; None if it works or is missing."""
    module = str(name).rpartition(".")[0]
    are_words = all(part.isidentifier() for part in str(name).split("."))
    if not module or not are_words:
        return None
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        is_named_module = f"{module}.".startswith(f"{error.name}.")
        if is_named_module:  # only a failing import inside it is reported here
            return None
        return blame(error)
    except Exception as error:
        return blame(error)
    return None


def blame(error: BaseException) -> str:
    """Return an error as text, after its last place in the project's own code: "src/x.py, line 3: …"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}, line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    reason = type(error).__name__
    if text:
        reason = f"{reason}: {text}"
    place = own_place(error)
    if place is None:
        return reason
    return f"{place}: {reason}"


def own_place(error: BaseException) -> str | None:
    """Return file and line of the traceback's last frame in the user's code; None if there is none."""
    source = project_root() / "src"
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(step.filename)
        in_template = "engine" in path.parts or path.name in ("__main__.py", "main.py")
        if path.is_relative_to(source) and not in_template:
            return f"{shown(path)}, line {step.lineno}"
    return None
