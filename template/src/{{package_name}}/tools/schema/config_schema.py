"""Turns jsonargparse's schema of a whole command into a JSON schema of configs.

In a config nothing is required, because other configs have the rest. Classes unknown to the schema are allowed.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from inspect import signature
from pkgutil import resolve_name
from types import NoneType
from typing import Any, NamedTuple

from torch import nn

from .factories import Factory, factories

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest draft that all editors know
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
OBJECT = {"type": "object"}
# JSON of a default that differs between machines, such as "/home/ada/logs", "C:\\logs" or "<function f>"
OF_THIS_MACHINE = re.compile(r'"(/|[A-Za-z]:\\\\|<)')
CONFIG_FILE = r".+\.(ya?ml|json)"  # such as model/mlp.yaml
DOTTED_KEY = r"\."  # such as trainer.max_epochs


class KnownClass(NamedTuple):
    """A class whose arguments are in the schema."""

    names: list[str]  # its path, and also its name if the command line accepts that alone
    alias: str  # the path of the module that defines it
    arguments: str  # name of the definition of its arguments
    description: str


class ConfigSchema:
    """The schema of the configs.

    Args:
        raw: jsonargparse's schema of the command line.
        options: The names of the options that `generate.add_built_classes` has added, by class.
        package: Name of the package. Paths in it, in Lightning and in PyTorch's optimizers must exist.
        members: Patterns of the paths of the package's classes and functions.
        loaded: Modules whose classes the command line also accepts without their modules.
    """

    def __init__(
        self,
        raw: Schema,
        options: Mapping[type, str],
        package: str,
        members: Iterable[str],
        loaded: Set[str],
    ) -> None:
        self.raw = raw
        self.options = options
        self.loaded = loaded
        self.checked = (f"{package}.", "lightning.pytorch.", "torch.optim.")
        checked = "|".join(re.escape(prefix) for prefix in self.checked)
        path = rf"(?!{checked})[^.\s]+(\.[^.\s]+)+"  # such as torchmetrics.Accuracy
        self.definitions: Schema = {"other": matching([*members, path, CONFIG_FILE])}

    def fit(self) -> Schema:
        """Return the schema of the configs of `fit`."""
        schema = self.part(self.raw["properties"]["fit"])
        schema["properties"]["$schema"] = {"type": "string"}  # because some editors look for it
        schema["$schema"] = DRAFT
        schema["patternProperties"] = {DOTTED_KEY: {}}
        schema["$defs"] = self.definitions
        return schema

    def part(self, raw: Schema, left_out: Sequence[str] = ("$ref", "required")) -> Schema:
        """Return a part of the schema in which nothing is required, and lists can be extended."""
        result = without(raw, *left_out)
        if OF_THIS_MACHINE.search(json.dumps(result.get("default"))):
            del result["default"]
        if "$ref" in raw:
            result["allOf"] = [self.definition(referred(raw))]
        if "properties" in raw:
            result["properties"] = self.properties(raw["properties"], left_out)
        if "anyOf" in raw:
            result["anyOf"] = [self.part(one, left_out) for one in raw["anyOf"]]
        for key in ("items", "additionalProperties"):
            if isinstance(raw.get(key), dict):
                result[key] = self.part(raw[key], left_out)
        if "prefixItems" in raw:  # the name of a tuple's items in newer drafts
            del result["prefixItems"]
            result["items"] = [self.part(one, left_out) for one in raw["prefixItems"]]
            result["additionalItems"] = False
        return result

    def properties(self, raw: Schema, left_out: Sequence[str]) -> Schema:
        """Return the properties of a part. Each list gets a second key, `<name>+`, which appends to it."""
        properties = {}
        for name, value in raw.items():
            if name == "$schema":
                continue
            schema = self.part(value, left_out)
            properties[name] = schema
            if is_list(value):
                properties[f"{name}+"] = without(schema, "default")
        return properties

    def definition(self, name: str) -> Schema:
        """Return a reference to a definition of jsonargparse."""
        if name == "Module":  # because jsonargparse has no schema of networks
            return self.built(Factory(0, (nn.Module,), ()))
        raw = self.raw["$defs"][name]
        classes = list(self.classes(raw))
        if classes:
            return self.one_of(name, classes, 0)
        if name not in self.definitions:
            self.definitions[name] = {}  # a placeholder, because the content may refer to it
            # No defaults, because some of W&B's settings change with every call, such as the process id.
            self.definitions[name] = self.part(raw, ("$ref", "required", "default"))
        return reference(name)

    def classes(self, raw: Schema) -> Iterator[Schema]:
        """Yield the raw schema of each class that a part allows."""
        for one in raw.get("anyOf", [raw]):
            if "$ref" in one:
                yield from self.classes(self.raw["$defs"][referred(one)])
            elif "anyOf" in one:
                yield from self.classes(one)
            elif "class_path" in one.get("properties", {}):
                yield one

    def built(self, factory: Factory) -> Schema:
        """Return a reference to the schema of the classes that an argument may build."""
        classes: list[Schema] = []
        for cls in factory.classes:
            if cls in self.options:
                option = self.raw["properties"][self.options[cls]]
                classes += self.classes(option)
        names = [cls.__name__ for cls in factory.classes]
        name = "-".join([*names, str(factory.given)])
        return self.one_of(name, classes, factory.given)

    def one_of(self, name: str, classes: Sequence[Schema], given: int) -> Schema:
        """Return a reference to a schema of some classes, and of any unknown class: a path, arguments, or both.

        Args:
            name: Name of the definition.
            classes: jsonargparse's schemas of the classes.
            given: Number of leading arguments that the program passes itself, and that no config contains.
        """
        if name in self.definitions:
            return reference(name)
        self.definitions[name] = {}  # the arguments may refer to it

        known = self.known_classes(classes, given)
        paths = f"{name}.class_path"
        arguments = f"{name}.init_args"
        self.definitions[paths] = path_schema(known)
        self.definitions[arguments] = self.any_arguments(known)
        with_arguments = class_schema(known, reference(paths), reference(arguments))
        self.definitions[name] = {"anyOf": [reference(paths), with_arguments]}
        return reference(name)

    def known_classes(self, classes: Sequence[Schema], given: int) -> list[KnownClass]:
        """Return the classes whose paths are checked, and define the schemas of their arguments."""
        paths = {}
        for raw in classes:
            path = raw["properties"]["class_path"].get("const", "")
            paths[path] = raw
        namesakes = Counter(path.rpartition(".")[2] for path in paths)

        known = []
        for path, raw in sorted(paths.items()):
            if not path.startswith(self.checked):
                continue
            cls = resolve_name(path)
            names = [path]
            if namesakes[cls.__name__] == 1 and cls.__module__ in self.loaded:
                names.append(cls.__name__)
            alias = f"{cls.__module__}.{cls.__qualname__}"
            description = raw.get("description", "")
            init_args = raw["properties"]["init_args"]
            arguments = self.arguments(path, cls, init_args, given)
            known.append(KnownClass(names, alias, arguments, description))
        return known

    def any_arguments(self, known: Sequence[KnownClass]) -> Schema:
        """Return the schema of arguments whose class is in another config: all arguments of the known classes."""
        found: dict[str, dict[str, Schema]] = {}
        for cls in known:
            properties = self.definitions[cls.arguments].get("properties", {})
            for argument, schema in properties.items():
                kind = json.dumps(without(schema, "description", "default"))
                place = reference(f"{cls.arguments}/properties/{argument}")
                found.setdefault(argument, {})[kind] = place  # keeps one of several equal schemas

        merged = {}
        for argument, kinds in found.items():
            merged[argument] = {"anyOf": list(kinds.values())}
        return {"type": "object", "properties": merged, "additionalProperties": not found}

    def arguments(self, path: str, cls: type, raw: Schema, given: int) -> str:
        """Define the schema of a class's arguments without the first `given` ones. Return the definition's name."""
        name = f"{path}-{given}" if given else path
        if name in self.definitions:
            return name
        self.definitions[name] = {}  # the arguments may refer to it

        schema = self.part(raw)
        properties = schema.setdefault("properties", {})
        parameters = list(signature(cls).parameters)
        for key, factory in factories(cls).items():
            if key in properties or key in parameters:
                described = properties.get(key, {})
                properties[key] = self.factory_schema(factory, described)
        for key in parameters[:given]:
            properties.pop(key, None)
            properties.pop(f"{key}+", None)
        self.definitions[name] = schema
        return name

    def factory_schema(self, factory: Factory, raw: Schema) -> Schema:
        """Return the schema of an argument that builds something.

        Args:
            factory: The classes that it builds.
            raw: jsonargparse's schema of the argument.
        """
        allowed = [self.built(factory)]
        for kind in factory.others:
            if kind is NoneType:
                allowed.append({"type": "null"})
            else:
                allowed.append(raw)
        schema: Schema = {"anyOf": allowed}
        for key in ("description", "default"):
            if key in raw:
                schema[key] = raw[key]
        return schema


def path_schema(known: Sequence[KnownClass]) -> Schema:
    """Return the schema of a class path: a known class, with its description, or any other path."""
    choices: list[Schema] = []
    for cls in known:
        choices.append({"enum": cls.names, "description": cls.description})
    aliases = matching(re.escape(cls.alias) for cls in known)
    return {"anyOf": [*choices, aliases, reference("other")]}


def class_schema(known: Sequence[KnownClass], path: Schema, arguments: Schema) -> Schema:
    """Return the schema of a class with its arguments.

    Args:
        known: The classes whose arguments are checked.
        path: Reference to the schema of the path.
        arguments: Reference to the schema of arguments whose class is in another config.
    """
    rules = []
    for cls in known:
        chosen = {
            "properties": {"class_path": {"enum": [*cls.names, cls.alias]}},
            "required": ["class_path"],
        }
        rules.append(rule(chosen, {"init_args": reference(cls.arguments)}))
    without_class = {"not": {"required": ["class_path"]}}
    rules.append(rule(without_class, {"init_args": arguments}))

    has_class_key = {"anyOf": [{"required": [key]} for key in CLASS_KEYS]}
    return {
        "type": "object",
        "properties": {"class_path": path, "init_args": OBJECT, "dict_kwargs": OBJECT},
        "if": has_class_key,
        "then": {"propertyNames": {"enum": CLASS_KEYS}, "allOf": rules},
        "else": arguments,
    }


def rule(condition: Schema, properties: Schema) -> Schema:
    """Return the schema of an object that has these properties if it meets a condition."""
    return {"if": condition, "then": {"properties": properties}}


def matching(patterns: Iterable[str]) -> Schema:
    """Return the schema of a string that matches one of several patterns."""
    alternatives = "|".join(patterns)
    return {"type": "string", "pattern": f"^({alternatives})$"}


def reference(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"#/$defs/{name}"}


def referred(raw: Schema) -> str:
    """Return the name of the definition that a part refers to."""
    path: str = raw["$ref"]
    return path.rpartition("/")[2]


def without(schema: Schema, *keys: str) -> Schema:
    """Return a schema without some keys."""
    return {key: value for key, value in schema.items() if key not in keys}


def is_list(raw: Schema) -> bool:
    """Return whether a value may be a list of any length."""
    is_array = raw.get("type") == "array"
    if is_array and "prefixItems" not in raw:
        return True
    alternatives = raw.get("anyOf", [])
    return any(is_list(one) for one in alternatives)
