"""Classes that a config names: how they are found, what arguments they take, and why one cannot be imported."""

import inspect
import traceback
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

from ..utils.project import project_root, shown


def find_class(name: Any) -> Any:
    """Return the class or function of a dotted name, None if there is none or its import fails."""
    try:
        return resolve_name(str(name))
    except Exception:  # what a module does when it is imported is the user's
        return None


def arguments_of(cls: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class by name, those that it hands on to its bases included."""
    found: dict[str, inspect.Parameter] = {}
    for base in getattr(cls, "__mro__", ()):
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                found.setdefault(name, parameter)
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def takes_none(cls: Any, name: str) -> bool:
    """Return whether an argument may be None, as far as its type says."""
    for base in getattr(cls, "__mro__", ()):
        if name not in inspect.signature(base.__init__).parameters:
            continue
        try:
            hint = get_type_hints(base.__init__).get(name, Any)
        except Exception:  # a name that only type checkers import
            return True
        return hint not in (int, float, bool, str)
    return True


def import_problem(name: Any) -> str | None:
    """Return why the module of a dotted name cannot be imported, with file and line; None if it can, or is missing."""
    module, _, attribute = str(name).rpartition(".")
    if not module or not all(part.isidentifier() for part in [*module.split("."), attribute]):
        return None
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        # a module of the name itself is missing, which is another mistake than an import in it that fails
        return None if f"{module}.".startswith(f"{error.name}.") else blame(error)
    except Exception as error:
        return blame(error)
    return None


def blame(error: BaseException) -> str:
    """Return an error with the place of it, the last one in the project's own code: "src/x.py, line 3: …"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}, line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = own_place(error)
    return f"{place}: {reason}" if place else reason


def own_place(error: BaseException) -> str | None:
    """Return file and line of the last step in the owner's code that led to an error, None if there is none."""
    source = project_root() / "src"
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(step.filename)
        in_template = "engine" in path.parts or path.name in ("__main__.py", "main.py")
        if path.is_relative_to(source) and not in_template:
            return f"{shown(path)}, line {step.lineno}"
    return None
