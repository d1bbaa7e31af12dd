"""Parses jsonargparse's nested messages: the key, its value, and the types that it accepts.

Read this together with messages.py, which turns the result into one line.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

# The layers of jsonargparse's nested messages, each with an example. `rest` is the next layer.
# Parser key "model": Does not …
PARSER_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":?(?P<rest>.*)', re.DOTALL)
# Problem with given class_path 'my.Net': Option …
OF_CLASS = re.compile(r"Problem with given class_path '(?P<cls>[^']+)':(?P<rest>.*)", re.DOTALL)
# Type Callable[[int], Module] expects a function or a callable class: Option … Got value: x
OF_CALLABLE = re.compile(
    r"Type .*? expects a function or a callable class: "
    r"(?P<rest>.*?)(?:\.? Got value: ?(?P<value>(?:(?! Got value:).)*))?$",
    re.DOTALL,
)
# Does not validate … Subtypes: [int, str] Errors: - Expected a int - … Given value: x
UNION = re.compile(
    r"Does not validate against any of the Union subtypes\nSubtypes: \[(?P<types>[^\n]*)\]\nErrors:\n"
    r"(?P<errors>.*)\nGiven value type: [^\n]*\nGiven value: ?(?P<value>.*)",
    re.DOTALL,
)
# NestedArg(key='lr', val='x')
NESTED = re.compile(r"NestedArg\(key='(?P<key>[^']+)', val=(?P<value>.*)\)", re.DOTALL)
# Namespace(class_path='torch.optim.SGD', init_args=…)
CLASS_OF = re.compile(r"class_path='(?P<cls>[^']+)'")
# Expected a <class 'int'>. Got value: x
GOT = re.compile(r"(?P<what>.*?)\.? Got value: ?(?P<value>[^\n]*).*", re.DOTALL)
LITERAL_TYPE = re.compile(r"(?:typing\.)?Literal\[(.*)\]")  # typing.Literal['min', 'max']
TUPLE_TYPE = re.compile(r"(?:typing\.)?tuple\[(.*)\]")  # tuple[float, float]
LIST_TYPE = re.compile(  # list[int]
    r"(?:collections\.abc\.|typing\.)?(?:list|tuple|Iterable|Sequence|List)\b"
)
CALLABLE_TYPE = re.compile(  # Callable[[Iterable], torch.optim.SGD]
    r".*Callable\[\[.*\], (?:typing\.Union\[)?([\w.]+)"
)
CLASS_TYPE = re.compile(r"<class '(.*)'>")  # <class 'int'>
# - Expected a path but …, with other reasons below it
NO_PATH = re.compile("- Expected a path but")
CONTAINERS = ("[", "(", "{")  # how values with elements begin
CLASS_WORDS = ("init_args", "class_path")
# What the messages about an unknown key say: it is named by them, not by the layers around
UNKNOWN_KEY = ("not accepted", "unrecognized", "Unexpected keys")
# The least helpful errors of a union
NOT_OF_TYPE = ("Expected a ", "Expected an ", "Not a valid subclass")


@dataclass
class Mistake:
    """The content of a nested message of jsonargparse: its innermost error, and the path to it."""

    keys: list[str] = field(default_factory=list)
    text: str = ""
    value: Any = None
    element: str | None = None  # the wrong one in a value that is a list or a dictionary
    cls: str | None = None  # class that has the key as its argument
    types: list[str] = field(default_factory=list)
    unplaced: str = ""  # a nested key that no layer has placed yet
    nested: bool = False  # whether `unplaced` is the last part of `key`

    @property
    def key(self) -> str:
        return ".".join(self.keys)


def readable(types: Sequence[str]) -> str:
    """Return types in readable form: int for `<class 'int'>`, 'a' or 'b' for `Literal['a', 'b']`."""
    names = list(dict.fromkeys(readable_type(text) for text in types))
    return " or ".join(names)


def readable_type(text: str) -> str:
    text = text.strip()
    literal = LITERAL_TYPE.fullmatch(text)
    if literal:
        return literal[1].replace(", ", " or ")
    pair = TUPLE_TYPE.fullmatch(text)
    if pair and "..." not in text:
        return f"a list of {len(split_types(pair[1]))}"
    if LIST_TYPE.match(text):
        return "a list"
    result = CALLABLE_TYPE.match(text)
    if result:
        return with_article(result[1].rpartition(".")[2])
    name = CLASS_TYPE.sub(r"\1", text)
    if name == "NoneType":
        return "null"
    if name in ("collections.abc.Iterable", "collections.abc.Sequence", "list", "tuple"):
        return "a list"
    if "." not in name:
        return name
    return with_article(name.rpartition(".")[2])


def with_article(name: str) -> str:
    if name[0] in "AEIOU":
        return f"an {name}"
    return f"a {name}"


def split_types(text: str) -> list[str]:
    """Split the types of a union at its commas, except for those within brackets."""
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
    """Return the items of a bulleted list, each with its continuation lines."""
    items: list[str] = []
    for line in dedent(text).strip("\n").splitlines():
        if line.startswith("- "):
            items.append(line[2:])
        elif items:
            items[-1] += f"\n{line.removeprefix('  ')}"
    return items


def read_message(message: str) -> Mistake:
    """Return the innermost error of a nested message, with the keys that lead to it."""
    mistake = Mistake()
    text: str | None = message
    rest = ""
    while text is not None:
        rest = dedent(text).strip("\n ")
        text = read_layer(rest, mistake)
    read_innermost(rest, mistake)
    mistake.keys = without_class_words(mistake.keys)
    return mistake


def read_layer(text: str, mistake: Mistake) -> str | None:
    """Store the content of the outermost layer, and return the next layer; None at the innermost one."""
    for pattern, read in LAYERS:
        match = pattern.match(text)
        if match:
            return read(match, mistake)
    return None


def read_parser_key(match: re.Match[str], mistake: Mistake) -> str:
    mistake.keys.append(match["key"])
    mistake.types = []
    mistake.cls = None
    mistake.unplaced = ""
    return match["rest"]


def read_class(match: re.Match[str], mistake: Mistake) -> str:
    mistake.cls = match["cls"]
    return match["rest"]


def read_callable(match: re.Match[str], mistake: Mistake) -> str:
    mistake.value = match["value"]
    owner = CLASS_OF.search(match["value"] or "")
    if owner:
        mistake.cls = owner["cls"]
    return match["rest"]


def read_union(match: re.Match[str], mistake: Mistake) -> str:
    mistake.value = match["value"]
    mistake.types = split_types(match["types"])
    read_nested_argument(mistake)
    return most_helpful(bullets(match["errors"]))


def read_path(match: re.Match[str], mistake: Mistake) -> str:
    return most_helpful(bullets(match.string)[1:])


LAYERS: list[tuple[re.Pattern[str], Callable[[re.Match[str], Mistake], str]]] = [
    (PARSER_KEY, read_parser_key),
    (OF_CLASS, read_class),
    (OF_CALLABLE, read_callable),
    (UNION, read_union),
    (NO_PATH, read_path),
]


def read_innermost(text: str, mistake: Mistake) -> None:
    """Store the text of the innermost layer, and its value unless an outer layer had one."""
    got = GOT.fullmatch(text)
    if got:
        text = got["what"]
        if mistake.value is None:
            mistake.value = got["value"]
        elif str(mistake.value).startswith(CONTAINERS) and mistake.value != got["value"]:
            mistake.element = got["value"]
        read_nested_argument(mistake)
    mistake.text = text
    is_unknown = any(words in text for words in UNKNOWN_KEY)
    name = mistake.unplaced.partition(".")[0]
    if name and not is_unknown and name not in CLASS_WORDS:
        mistake.keys.append(mistake.unplaced)
        mistake.nested = True


def read_nested_argument(mistake: Mistake) -> None:
    """Split a value of the form NestedArg(key=…, val=…) into its key and value."""
    inner = NESTED.match(str(mistake.value))
    if inner:
        mistake.unplaced = inner["key"]
        mistake.value = inner["value"].strip("'")


def without_class_words(keys: Sequence[str]) -> list[str]:
    """Return the parts of dotted keys as on the command line, without class_path and init_args."""
    parts = ".".join(keys).split(".")
    return [part for part in parts if part and part not in CLASS_WORDS]


def most_helpful(errors: Sequence[str]) -> str:
    """Return the first error of a union that says more than "wrong type". Without one, return the first error."""
    helpful = [error for error in errors if not error.startswith(NOT_OF_TYPE)]
    return (helpful or [*errors, ""])[0]
