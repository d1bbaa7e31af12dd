"""A JSON schema of configs as they are, in parts and with any classes, from what jsonargparse says of its arguments."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from inspect import signature
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from torch import nn

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that all editors know
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")


class Factory(NamedTuple):
    """An argument of a class that is a function, such as an OptimizerCallable, or a network."""

    given: int  # so many arguments the function is called with
    classes: tuple[type, ...]  # of which it returns an object, as far as known
    others: tuple[Any, ...]  # what else is fine, such as None


def factories(cls: type) -> dict[str, Factory]:
    """Return the arguments of a class, and of those it inherits from, that are functions or networks."""
    found = {}
    for base in reversed(cls.__mro__):
        hints: dict[str, Any] = {}
        with suppress(NameError, TypeError):  # names that only type checkers know; no function
            hints = get_type_hints(vars(base).get("__init__"))
        for name, hint in hints.items():
            kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
            for kind in kinds:
                if kind in (Callable, nn.Module) or get_origin(kind) is Callable:
                    taken, result = get_args(kind) or ((), kind)
                    classes = [one for one in get_args(result) or [result] if isinstance(one, type)]
                    classes = [one for one in classes if one.__module__ != "builtins"]
                    given = len(taken) if isinstance(taken, list) else 0
                    found[name] = Factory(
                        given, tuple(classes), tuple(one for one in kinds if one is not kind)
                    )
    return found


class ConfigSchema:
    """The schema of the configs.

    Args:
        raw: What jsonargparse says of the command line.
        bases: Of classes that functions return, the option that has them as its type.
        package: Name of the package, whose classes must exist, as Lightning's and PyTorch's must.
        members: Patterns of the paths of its classes and functions.
        loaded: Modules whose classes the command line knows by their short names too.
    """

    def __init__(
        self,
        raw: Schema,
        bases: Mapping[type, str],
        package: str,
        members: Iterable[str],
        loaded: Set[str],
    ) -> None:
        self.raw, self.bases, self.loaded = raw, bases, loaded
        self.checked = (f"{package}.", "lightning.pytorch.", "torch.optim.")
        others = (
            rf"(?!{'|'.join(map(re.escape, self.checked))})[^.\s]+(\.[^.\s]+)+",
            r".+\.(ya?ml|json)",
        )
        self.definitions: Schema = {
            "other": {"type": "string", "pattern": f"^({'|'.join([*members, *others])})$"}
        }

    def fit(self) -> Schema:
        """Return the schema of what `fit` takes."""
        schema = self.part(self.raw["properties"]["fit"])
        schema["properties"]["$schema"] = {"type": "string"}  # which some editors look for
        dots: Schema = {r"\.": {}}  # trainer.max_epochs: 3 is fine too
        return {"$schema": DRAFT, **schema, "patternProperties": dots, "$defs": self.definitions}

    def part(self, raw: Schema, left_out: Sequence[str] = ("$ref", "required")) -> Schema:
        """Return a part of the schema in which nothing is required, and lists may be added to."""
        result = {key: value for key, value in raw.items() if key not in left_out}
        if re.search(
            r'"(/|[A-Za-z]:\\\\|<)', json.dumps(result.get("default"))
        ):  # a path or an object of this machine
            del result["default"]
        if "$ref" in raw:
            result["allOf"] = [self.definition(raw["$ref"].rpartition("/")[2])]
        for key in ("items", "additionalProperties"):
            if isinstance(raw.get(key), dict):
                result[key] = self.part(raw[key], left_out)
        for key in ("anyOf", "prefixItems"):
            if key in raw:
                result[key] = [self.part(one, left_out) for one in raw[key]]
        if "prefixItems" in result:
            result |= {"items": result.pop("prefixItems"), "additionalItems": False}
        if "properties" in raw:
            result["properties"] = properties = {}
            for name, value in raw["properties"].items():
                if name != "$schema":
                    properties[name] = self.part(value, left_out)
                    if is_list(value):
                        properties[f"{name}+"] = {
                            k: v for k, v in properties[name].items() if k != "default"
                        }
        return result

    def definition(self, name: str) -> Schema:
        """Return a reference to what jsonargparse defines under a name."""
        if name == "Module":  # of which it says nothing
            return self.built(Factory(0, (nn.Module,), ()))
        raw = self.raw["$defs"][name]
        if classes := list(self.classes(raw)):
            return self.one_of(name, classes, 0)
        if name not in self.definitions:
            self.definitions[name] = {}  # what it holds may refer to it
            # as a default, W&B's settings have the number of the process, and more that is different each time
            self.definitions[name] = self.part(raw, ("$ref", "required", "default"))
        return reference(name)

    def classes(self, raw: Schema) -> Iterator[Schema]:
        """Yield what jsonargparse says of each class that may be somewhere."""
        for one in raw.get("anyOf", [raw]):
            if "$ref" in one:
                yield from self.classes(self.raw["$defs"][one["$ref"].rpartition("/")[2]])
            elif "anyOf" in one:
                yield from self.classes(one)
            elif "class_path" in one.get("properties", {}):
                yield one

    def built(self, factory: Factory) -> Schema:
        """Return a reference to the classes whose objects a function may return."""
        options = [
            self.raw["properties"][self.bases[cls]] for cls in factory.classes if cls in self.bases
        ]
        name = "-".join([*(cls.__name__ for cls in factory.classes), str(factory.given)])
        return self.one_of(
            name, [one for option in options for one in self.classes(option)], factory.given
        )

    def one_of(self, name: str, classes: Sequence[Schema], given: int) -> Schema:
        """Return a reference to these classes and unknown ones: a path, arguments, or both.

        Those arguments with which a function is called, so many, do not count.
        """
        if name in self.definitions:
            return reference(name)
        self.definitions[name] = {}
        paths = {one["properties"]["class_path"].get("const", ""): one for one in classes}
        short = Counter(path.rpartition(".")[2] for path in paths)
        choices, aliases, rules, anything = (
            list[Schema](),
            list[str](),
            list[Schema](),
            dict[str, dict[str, Schema]](),
        )
        for path, one in sorted(paths.items()):
            if not path.startswith(self.checked):
                continue
            cls = resolve_name(path)
            names = [
                path,
                *(
                    [cls.__name__]
                    if short[cls.__name__] == 1 and cls.__module__ in self.loaded
                    else []
                ),
            ]
            aliases.append(f"{cls.__module__}.{cls.__qualname__}")
            choices.append({"enum": names, "description": one.get("description", "")})
            key = self.arguments(path, cls, one["properties"]["init_args"], given)
            for argument, schema in self.definitions[key].get("properties", {}).items():
                what = json.dumps(
                    {k: v for k, v in schema.items() if k not in ("description", "default")}
                )
                anything.setdefault(argument, {})[what] = reference(f"{key}/properties/{argument}")
            chosen = {
                "properties": {"class_path": {"enum": [*names, aliases[-1]]}},
                "required": ["class_path"],
            }
            rules.append({"if": chosen, "then": {"properties": {"init_args": reference(key)}}})
        others = {"type": "string", "pattern": f"^({'|'.join(map(re.escape, aliases))})$"}
        self.definitions[f"{name}.class_path"] = {"anyOf": [*choices, others, reference("other")]}
        self.definitions[f"{name}.init_args"] = {
            "type": "object",
            "properties": {
                argument: {"anyOf": [*kinds.values()]} for argument, kinds in anything.items()
            },
            "additionalProperties": not anything,
        }
        arguments = reference(f"{name}.init_args")
        rules.append(
            {
                "if": {"not": {"required": ["class_path"]}},
                "then": {"properties": {"init_args": arguments}},
            }
        )
        of_class = {"class_path": reference(f"{name}.class_path")} | {
            key: {"type": "object"} for key in CLASS_KEYS[1:]
        }
        with_class = {
            "type": "object",
            "properties": of_class,
            "if": {"anyOf": [{"required": [key]} for key in CLASS_KEYS]},
            "then": {"propertyNames": {"enum": CLASS_KEYS}, "allOf": rules},
            "else": arguments,
        }
        self.definitions[name] = {"anyOf": [reference(f"{name}.class_path"), with_class]}
        return reference(name)

    def arguments(self, path: str, cls: type, raw: Schema, given: int) -> str:
        """Return the name of the definition that has the arguments of a class, without those that are given."""
        name = f"{path}-{given}" if given else path
        if name not in self.definitions:
            self.definitions[name] = {}
            schema = self.part(raw)
            parameters, properties = signature(cls).parameters, schema.setdefault("properties", {})
            for key, factory in factories(cls).items():
                if key in properties or key in parameters:
                    said = properties.get(key, {})
                    kept = {k: v for k, v in said.items() if k in ("description", "default")}
                    others = [
                        {"type": "null"} if kind is NoneType else said for kind in factory.others
                    ]
                    properties[key] = {**kept, "anyOf": [self.built(factory), *others]}
            for key in [*parameters][:given]:
                for one in (key, f"{key}+"):
                    properties.pop(one, None)
            self.definitions[name] = schema
        return name


def reference(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"#/$defs/{name}"}


def is_list(raw: Schema) -> bool:
    """Return whether a value may be a list of any length."""
    array = raw.get("type") == "array" and "prefixItems" not in raw
    return array or any(is_list(one) for one in raw.get("anyOf", []))
