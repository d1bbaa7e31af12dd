"""Reads jsonargparse's nested messages: which key is meant, what it was given, and what it should be.

Read this with messages.py, which says in a line what is found here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

# jsonargparse nests its messages: these are the layers, each with an example, and `rest` is the layer within
PARSER_KEY = re.compile(
    r'Parser key "(?P<key>[^"]+)":?(?P<rest>.*)', re.DOTALL
)  # Parser key "model": Does not …
OF_CLASS = re.compile(
    r"Problem with given class_path '(?P<cls>[^']+)':(?P<rest>.*)", re.DOTALL
)  # … 'my.Net': Option …
OF_CALLABLE = re.compile(  # Type Callable[[int], Module] expects a function or a callable class: Option … Got value: x
    r"Type .*? expects a function or a callable class: "
    r"(?P<rest>.*?)(?:\.? Got value: ?(?P<value>(?:(?! Got value:).)*))?$",
    re.DOTALL,
)
UNION = re.compile(  # Does not validate … Subtypes: [int, str] Errors: - Expected a int - … Given value: x
    r"Does not validate against any of the Union subtypes\nSubtypes: \[(?P<types>[^\n]*)\]\nErrors:\n"
    r"(?P<errors>.*)\nGiven value type: [^\n]*\nGiven value: ?(?P<value>.*)",
    re.DOTALL,
)
NESTED = re.compile(
    r"NestedArg\(key='(?P<key>[^']+)', val=(?P<value>.*)\)", re.DOTALL
)  # NestedArg(key='lr', val='x')
CLASS_OF = re.compile(
    r"class_path='(?P<cls>[^']+)'"
)  # Namespace(class_path='torch.optim.SGD', init_args=…)
GOT = re.compile(
    r"(?P<what>.*?)\.? Got value: ?(?P<value>[^\n]*).*", re.DOTALL
)  # Expected a <class 'int'>. Got value: x
NOT_OF_TYPE = (
    "Expected a ",
    "Expected an ",
    "Not a valid subclass",
)  # of the errors of a union, the least helpful


@dataclass
class Mistake:
    """What jsonargparse's nested messages say at their innermost."""

    keys: list[str] = field(default_factory=list)
    text: str = ""
    value: Any = None
    cls: str | None = None  # whose argument the key is
    types: list[str] = field(default_factory=list)
    nested: bool = False  # whether the key's last part is one that its value has no place for

    @property
    def key(self) -> str:
        return ".".join(self.keys)


def readable(types: Sequence[str]) -> str:
    """Return types as one says them: `<class 'int'>` is int, `Literal['a', 'b']` is 'a' or 'b'."""
    names = list(dict.fromkeys(readable_type(text) for text in types))
    return " or ".join(names)


def readable_type(text: str) -> str:
    text = text.strip()
    literal = re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", text)  # typing.Literal['min', 'max']
    if literal:
        return literal[1].replace(", ", " or ")
    pair = re.fullmatch(r"(?:typing\.)?tuple\[(.*)\]", text)  # tuple[float, float]
    if pair and "..." not in text:
        return f"a list of {len(split_types(pair[1]))}"
    if re.match(
        r"(?:collections\.abc\.|typing\.)?(?:list|tuple|Iterable|Sequence|List)\b", text
    ):  # list[int]
        return "a list"
    result = re.match(
        r".*Callable\[\[.*\], (?:typing\.Union\[)?([\w.]+)", text
    )  # Callable[[Iterable], torch.optim.SGD]
    if result:
        return with_article(result[1].rpartition(".")[2])
    name = re.sub(r"<class '(.*)'>", r"\1", text)  # <class 'int'>
    if name == "NoneType":
        return "null"
    if name in ("collections.abc.Iterable", "collections.abc.Sequence", "list", "tuple"):
        return "a list"
    return with_article(name.rpartition(".")[2]) if "." in name else name


def with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def split_types(text: str) -> list[str]:
    """Return the types of a union: the commas within brackets do not separate."""
    parts = [""]
    depth = 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def bullets(text: str) -> list[str]:
    """Return the items of a list of lines, each with the lines that belong to it."""
    items: list[str] = []
    for line in dedent(text).strip("\n").splitlines():
        if line.startswith("- "):
            items.append(line[2:])
        elif items:
            items[-1] += f"\n{line.removeprefix('  ')}"
    return items


def read_message(message: str) -> Mistake:
    """Return the innermost of jsonargparse's nested messages, with the keys that lead there."""
    mistake, rest = Mistake(), message
    nested = ""
    while True:
        rest = dedent(rest).strip("\n ")
        if match := PARSER_KEY.match(rest):
            mistake.keys.append(match["key"])
            mistake.types, mistake.cls, nested = [], None, ""
            rest = match["rest"]
        elif match := OF_CLASS.match(rest):
            mistake.cls = match["cls"]
            rest = match["rest"]
        elif match := OF_CALLABLE.match(rest):
            mistake.value = match["value"]
            owner = CLASS_OF.search(match["value"] or "")
            mistake.cls = owner["cls"] if owner else mistake.cls
            rest = match["rest"]
        elif match := UNION.match(rest):
            mistake.value = match["value"]
            mistake.types = split_types(match["types"])
            inner = NESTED.match(match["value"])
            if inner:
                nested, mistake.value = inner["key"], inner["value"].strip("'")
            rest = most_helpful(bullets(match["errors"]))
        elif rest.startswith("- Expected a path but"):
            rest = most_helpful(bullets(rest)[1:])
        else:
            break
    if got := GOT.fullmatch(rest):
        rest = got["what"]
        mistake.value = got["value"] if mistake.value is None else mistake.value
        if inner := NESTED.match(str(mistake.value)):
            nested, mistake.value = inner["key"], inner["value"].strip("'")
    mistake.text = rest
    is_unknown = "not accepted" in rest or "unrecognized" in rest
    if nested and not is_unknown and nested.split(".")[0] not in ("init_args", "class_path"):
        mistake.keys.append(nested)
        mistake.nested = True
    mistake.keys = [
        part
        for key in mistake.keys
        for part in key.split(".")
        if part not in ("init_args", "class_path")
    ]
    return mistake


def most_helpful(errors: Sequence[str]) -> str:
    """Return the error of a union that says more than that a value is not of a type; without one, the first."""
    helpful = [error for error in errors if not error.startswith(NOT_OF_TYPE)]
    return (helpful or [*errors, ""])[0]
