"""Turns errors into one line that names the key, the value and the remedy.

Read this when a message does not help, or when a new version of jsonargparse changes its messages. Each rule below
has an example of a message of jsonargparse, and the tests provoke each.
"""

import re
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException

from ..utils.project import UserError, shown
from .classes import arguments_of, blame, find_class, import_problem, own_place
from .configs import Given, after_place, described, place_of, without_value
from .parse_errors import CONTAINERS, Mistake, read_message, readable, readable_type, with_article
from .values import told

# Errors that these modules raise are about values, not about code
LIBRARIES = (
    "lightning.",
    "torch.optim.",
    "torch.utils.data.dataloader",
    "torch.utils.data.sampler",
)
# Errors whose text says what to put right
CLEAR_ERRORS = (UserError, MisconfigurationException, ModuleNotFoundError, OSError)
LOST_PROCESS = re.compile(r"gloo|NCCL|Dist\w+Error")  # DistBackendError: NCCL error …
# Part of Lightning's KeyError "Trying to restore optimizer state but checkpoint contains only the model."
WEIGHTS_ALONE = "checkpoint contains only the model"
WORD = re.compile(r"\w+")  # LightningModule and Callback in Union[LightningModule, Callback]
DOTTED_NAME = re.compile(
    r"\w+(?:\.\w+)+"
)  # my_project.utils.x.Entry in list[my_project.utils.x.Entry]
# An error of a logger that records at a server: No API key configured. Use `<client> login` to log in.
NO_API_KEY = re.compile(r"No API key configured\. Use `(?P<command>\w+ login)`")
# InvalidCxxCompiler: No working C++ compiler found
NO_COMPILER = re.compile(r"InvalidCxx|find C c")
# Lightning's RuntimeError under distributed training
UNUSED_PARAMETERS = "parameters that were not used in producing the loss"
# Lightning's error about DataLoader(dataset, 64) in predict, which it rebuilds by keywords
BY_POSITION = re.compile(r"passed to its parent's `(?P<name>\w+)=")
# RuntimeError of cross-entropy: expected target dtype to be Long or Byte, but got Float
LABEL_TYPE = re.compile(r"expected target dtype to be Long or Byte, but got (?P<type>\w+)")
# IndexError of PyTorch's losses: Target 3 is out of bounds.
LABEL_OUT_OF_RANGE = re.compile(r"Target (?P<label>-?\d+) is out of bounds")


class Rule(NamedTuple):
    """Explains one kind of message of jsonargparse."""

    example: str
    pattern: re.Pattern[str]
    # Returns the key, and what is wrong with it
    explain: Callable[[re.Match[str], Mistake, Sequence[str]], tuple[str, str]]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ": did you mean …?" with the most similar known name; an empty text if none is similar."""
    close = get_close_matches(name, {*known} - {name}, n=1)
    if not close:
        return ""
    return f": did you mean {close[0]}?"


def nearest_key(name: str, keys: Iterable[str]) -> str:
    """Return ": did you mean …?" for a dotted key.

    If there are keys with the same parent, only these are proposed. Otherwise it is a key with the same last part.
    """
    known = {*keys} - {name}
    parent, _, last = name.rpartition(".")
    alike = sorted(key for key in known if key.rpartition(".")[2] == last)
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    if parent and beside:
        close = get_close_matches(last, beside, n=1)
        if not close:
            return ""
        return f": did you mean {beside[close[0]]}?"
    if alike:
        return f": did you mean {alike[0]}?"
    return nearest(name, known)


def joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def unknown_key(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    name = match["name"]
    if mistake.cls and name in ("class_path", "init_args"):
        problem = "stands beside an unknown key: only class_path and init_args go together"
        return joined(mistake.key, name), problem
    if mistake.cls:
        known = arguments_of(find_class(mistake.cls))
        first, _, rest = name.partition(".")
        if rest and first in known:  # it is the key below that is unknown
            return joined(mistake.key, name), "is not a known key"
        return joined(mistake.key, first), f"is not a known key{nearest(first, known)}"
    return name, f"is not a known key{nearest_key(name, options)}"


def stray_word(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    word = match["word"].split()[0]
    name = word.partition("=")[0].lstrip("-")
    if Path(word).is_file():
        return word, f"stands alone: did you mean -c {word}?"
    if name in options:
        return word, f"is not an option: did you mean --{word.lstrip('-')}?"
    if close := nearest_key(name, options):
        return word, f"is not an option{close.replace('mean ', 'mean --')}"
    return word, "is not an option. Options begin with two dashes, such as --name exp1"


def missing_argument(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    name = match["name"]
    if mistake.cls or mistake.keys:
        return joined(mistake.key, name), "is missing"
    return name, f"is missing: pass a config that has it, such as -c configs/{name}/<name>.yaml"


def unknown_entry(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    name = match["name"]
    kinds = [find_class(path) for path in DOTTED_NAME.findall(" ".join(mistake.types))]
    known = [key for kind in kinds for key in getattr(kind, "__annotations__", {})]
    return joined(mistake.key, name), f"is not a known key{nearest(name, known)}"


def missing_entry(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    return joined(mistake.key, match["name"]), "is missing"


def missing_value(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    return str(mistake.value or match["option"]), "needs a value"


def missing_attribute(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    module = match["module"]
    name = match["name"]
    known = vars(find_class(module) or object)
    return f"{mistake.key}:", f"{module} has no {name}{nearest(name, known)}"


def missing_module(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    problem = match[0][0].lower() + match[0][1:]
    return mistake.key, f"is {described(mistake.value)}, but there is {problem}"


def no_class(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    problem = f"is {described(mistake.value)}, which names no class"
    close = nearest(str(mistake.value), short_names())
    if close:
        return mistake.key, f"{problem}{close}"
    classes = [name for name in map(readable_type, mistake.types) if is_class(name)]
    wanted = "one"
    if classes:
        wanted = classes[0]
    return mistake.key, f"{problem}: write {wanted} as package.module.Class"


def short_names() -> list[str]:
    """Return the names of classes that a config may give without their modules."""
    modules = (
        "lightning.pytorch.callbacks",
        "lightning.pytorch.loggers",
        "torch.optim",
        "torch.optim.lr_scheduler",
    )
    return [
        name
        for module in modules
        for name, value in vars(import_module(module)).items()
        if isinstance(value, type)
    ]


def is_class(name: str) -> bool:
    """Return whether a readable type is a class: `a LightningModule` is, `a list` and `int` are not."""
    return name.startswith(("a ", "an ")) and not name.startswith("a list")


def other_class(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    bases = WORD.findall(match["base"].removeprefix("Union"))
    names = " or ".join(with_article(base) for base in bases)
    return mistake.key, f"is {described(mistake.value)}, but must be {names}"


def no_mapping(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    return mistake.key, f"is {described(mistake.value)}, but must be keys and values"


def no_config(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    key = mistake.key or match[0].partition(":")[0]
    what = f"keys and values, such as --{key}.<key> <value>, or a file of them"
    return key, f"is {described(match['value'])}, but must be {what}"


def no_file(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    problem = "this is no file"
    if "exist" in match["what"]:
        problem = "there is no such file"
    return f"{shown(match['path'])}:", problem


def of_dictionary(mistake: Mistake) -> bool:
    """Return whether a key has a dictionary type, such as dict[str, int]."""
    return any(name.startswith(("dict[", "collections.abc.Mapping[")) for name in mistake.types)


def of_class(mistake: Mistake) -> bool:
    """Return whether a key has a class as its type."""
    return any(is_class(readable_type(name)) for name in mistake.types)


def looks_like_mapping(mistake: Mistake) -> bool:
    """Return whether a text or a list of texts is meant, but YAML reads keys and values, as in `a: 1`."""
    names = readable(mistake.types).split(" or ")
    if "str" not in names or "a list" not in names:
        return False
    text = str(mistake.value)
    return ": " in text and not text.startswith(CONTAINERS)


def wrong_type(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    value = described(mistake.value)
    if mistake.nested and of_dictionary(mistake):
        return mistake.key, f"is {value}, but must be {readable([match['type']])}"
    if mistake.nested:
        problem = "is not a known key"
        if of_class(mistake):
            parent = ".".join(mistake.keys[:-1])
            problem = f"{problem}: it belongs to a class, but {parent} names none"
        return mistake.key, problem
    if mistake.element:
        types = readable([match["type"]])
        return mistake.key, f"is {value}, where {mistake.element} must be {types}"
    types = readable(mistake.types or [match["type"]])
    problem = f"is {value}, but must be {types}"
    if looks_like_mapping(mistake):
        problem += f""": write it as '["{value}"]'"""
    if of_class(mistake) and isinstance(mistake.value, str):
        problem += nearest(mistake.value, short_names())
    return mistake.key, problem


def out_of_limits(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    limits = match["limits"].replace("v", "")  # v>=0 and v<=1
    return mistake.key, f"is {described(mistake.value)}, but must be {limits}"


def no_number(match: re.Match[str], mistake: Mistake, options: Sequence[str]) -> tuple[str, str]:
    wanted = "a number"
    if match["type"].endswith("Int"):
        wanted = "a whole number"
    return mistake.key, f"is {described(mistake.value)}, but must be {wanted}"


def no_sub_command(
    match: re.Match[str], mistake: Mistake, options: Sequence[str]
) -> tuple[str, str]:
    word = match.groupdict().get("word")
    verbs = WORD.findall(match["verbs"])
    all_verbs = f"{', '.join(verbs[:-1])} or {verbs[-1]}"
    if not word:
        return "The sub-command", f"is missing: begin with {all_verbs}"
    near = nearest(word, verbs) or ":"
    return word, f"is no sub-command{near} Begin with {all_verbs}"


RULES = [
    Rule(
        "Unexpected keys: {'freez'}",  # of a TypedDict
        re.compile(r"Unexpected keys: \{'(?P<name>[^']*)'"),
        unknown_entry,
    ),
    Rule(
        "Missing required keys: {'params'}",
        re.compile(r"Missing required keys: \{'(?P<name>[^']*)'"),
        missing_entry,
    ),
    Rule(
        "Option 'optimizr' is not accepted",
        re.compile(r"Option '(?P<name>[\w.]+)' is not accepted"),
        unknown_key,
    ),
    Rule(
        "Subcommand 'fit' does not accept option 'trainer.max_epoch'",
        re.compile(r"Subcommand '\w+' does not accept option '(?P<name>[\w.]+)'"),
        unknown_key,
    ),
    Rule(
        "unrecognized arguments: --optimizr.lr=0.1",
        re.compile(r"unrecognized arguments: --(?P<name>[\w.+]+)"),
        unknown_key,
    ),
    Rule(
        "unrecognized arguments: max_epochs=3",
        re.compile(r"unrecognized arguments: (?P<word>.+)"),
        stray_word,
    ),
    Rule(
        "the following arguments are required: fit.model",
        re.compile(
            r"the following arguments are required: (?:(?:fit|validate|test|predict)\.)?(?P<name>\w+)"
        ),
        missing_argument,
    ),
    Rule(
        "argument --data: expected one argument",
        re.compile(r"argument (?P<option>\S+): expected one argument"),
        missing_value,
    ),
    Rule(
        "module 'torch.optim' has no attribute 'Adan'",
        re.compile(r"module '(?P<module>\S+)' has no attribute '(?P<name>\w+)'"),
        missing_attribute,
    ),
    Rule("No module named 'nothing'", re.compile(r"No module named '.+'"), missing_module),
    Rule(
        "Expected a dot import path string: Missing",
        re.compile("Expected a dot import path string"),
        no_class,
    ),
    Rule(
        "Unexpected import path format: .nan", re.compile("Unexpected import path format"), no_class
    ),
    Rule(
        "Expected an import path or a subclass spec, but got [1]",
        re.compile("Expected an import path or"),
        no_class,
    ),
    Rule(
        "Unexpected import object <module 'os'>", re.compile("Unexpected import object"), no_class
    ),
    Rule(
        "Import path torch.nn.Linear does not correspond to a subclass of LightningModule",
        re.compile(r"Import path (?:\S+ )?does not correspond to a subclass of (?P<base>\w+)"),
        other_class,
    ),
    Rule(
        "Expected 'torch.nn.Linear' to be a subclass of <class 'Optimizer'>.",
        re.compile(r"Expected '\S+' to be a subclass of (?:<class ')?(?P<base>[\w\[\], ]+)"),
        other_class,
    ),
    Rule(
        "Expected 'os.system' to be a function that returns <class 'Module'>.",
        re.compile(
            r"Expected '\S+' to be a (?P<base>function that returns) <class '(?P<cls>\w+)'>"
        ),
        lambda match, mistake, options: (
            mistake.key,
            f"is {described(mistake.value)}, but must be a {match['cls']}, or a function that is said to return one",
        ),
    ),
    Rule(
        "Expected an instantiatable class, but Logger is abstract",
        re.compile("Expected an instantiatable class"),
        lambda match, mistake, options: (
            mistake.key,
            f"is {described(mistake.value)}, which is abstract: name a subclass",
        ),
    ),
    Rule(
        "'str' object has no attribute 'keys'",
        re.compile(r"'\w+' object has no attribute 'keys'"),
        no_mapping,
    ),
    Rule(
        "trainer: Unable to load config '5' - trainer: Unable to load config \"5\"",
        re.compile(
            r"(?:[\w.]+: )?Unable to load config ['\"](?P<value>.*?)['\"](?:\s+-\s|$)", re.DOTALL
        ),
        no_config,
    ),
    Rule(
        "Parser key \"config\": File does not exist: '/home/me/configs/missing.yaml'",
        re.compile(r"(?P<what>File does not exist|Path is not a file): '(?P<path>.*)'"),
        no_file,
    ),
    Rule(
        "argument subcommand: invalid choice: 'fitt' (choose from 'fit', 'test')",
        re.compile(
            r"argument subcommand: invalid choice: '(?P<word>.*)' \(choose from (?P<verbs>.*)\)"
        ),
        no_sub_command,
    ),
    Rule(
        'expected "subcommand" to be one of {fit,test}, but it was not provided.',
        re.compile(r'expected "subcommand" to be one of \{(?P<verbs>.*)\}'),
        no_sub_command,
    ),
    Rule(
        "Not a valid subclass of Callback",
        re.compile("Not a valid subclass of (?P<type>.*)"),
        wrong_type,
    ),
    Rule(
        "Not of type PositiveInt: 0 does not conform to restriction v>0",
        re.compile(r"Not of type \w+: .* does not conform to restriction (?P<limits>.+)"),
        out_of_limits,
    ),
    Rule(
        "Not of type PositiveInt: invalid literal for int() with base 10: 'x'",
        re.compile(r"Not of type (?P<type>\w+): "),
        no_number,
    ),
    Rule("Expected a <class 'int'>", re.compile("Expected (?:an? )?(?P<type>.+)"), wrong_type),
]


def explain_parse_error(
    message: str, options: Iterable[str], values: Sequence[Given] = (), args: Sequence[str] = ()
) -> str:
    """Explain an error of jsonargparse in one line: the key, its place, the value and the remedy.

    Args:
        message: The message of jsonargparse.
        options: The options of the parser, to propose the most similar one.
        values: The values from configs and options, to name file and line.
        args: The arguments, to find an option without a value.
    """
    mistake = read_message(message)
    broken = broken_import(mistake, values)
    if broken:
        return broken
    here = place_of(mistake.key, values, mistake.value)
    if "expected one argument" in mistake.text:
        mistake.value = without_value(args)
    elif here:
        mistake.value = here.value
    below = [
        one.key
        for one in values
        if mistake.keys and one.key.startswith(f"{mistake.key}.") and not one.place
    ]
    if (
        below
        and mistake.text.startswith("Expected")
        and not any(map(is_class, map(readable_type, mistake.types)))
        and not of_dictionary(mistake)
    ):
        return f"{below[-1]} is not a known key"
    own = list(options)
    blocks = {option.split(".")[0] for option in own}
    known = [*own, *(one.key for one in values if one.place and one.key.split(".")[0] in blocks)]
    for rule in RULES:
        match = rule.pattern.match(mistake.text)
        if match:
            key, what = rule.explain(match, mistake, known)
            here = place_of(key.rstrip(":"), values, mistake.value)
            return after_place(place_of_problem(here, what), f"{key} {what}")
    what = " ".join(mistake.text.split())
    if not mistake.keys:
        return what
    return told(mistake.key, f"is {described(mistake.value)}: {what}", values)


def place_of_problem(here: Given | None, problem: str) -> str:
    """Return the place for a message. A key that is missing has one only if it was given as null."""
    if here is None or (problem == "is missing" and here.value is not None):
        return ""
    return here.place


def broken_import(mistake: Mistake, values: Sequence[Given]) -> str | None:
    """Return why a class at, above or below the key of a mistake cannot be imported; None if all can."""
    if not mistake.keys:
        return None
    for one in values:
        if not isinstance(one.value, str) or not on_one_path(one.key, mistake.key):
            continue
        problem = import_problem(one.value)
        if problem:
            source = f"{one.key} is {one.value}"
            if one.place:
                source += f", {one.place}"
            return f"{problem} ({source})"
    return None


def on_one_path(key: str, other: str) -> bool:
    """Return whether two dotted keys are the same, or one lies below the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def own_error(error: Exception) -> Exception:
    """Return a class's own error, without jsonargparse's list of types that did not match."""
    cause = error
    while type(cause) is ValueError and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause.__cause__, ImportError):
        cause = cause.__cause__
    return cause


def user_message(error: Exception) -> str | None:
    """Return a one-line message for an error that the user can fix; None if a traceback is needed."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and LOST_PROCESS.search(repr(error)):
        return f"another process of this run has ended or cannot be reached ({text.partition('. This is ')[0]})"
    *_, (frame, _) = walk_tb(error.__traceback__)
    of_library = frame.f_globals.get("__name__", "").startswith(LIBRARIES)
    of_value = type(error) in (RuntimeError, TypeError, ValueError) and of_library
    by_position = BY_POSITION.search(text)
    if by_position:
        name = by_position["name"]
        problem = f"predict_dataloader passes {name} by its position"
        reason = "and Lightning cannot rebuild such a loader"
        return f"{problem}, {reason}: write DataLoader(dataset, {name}=...)"
    if of_value or isinstance(error, CLEAR_ERRORS):
        if "No module named" in text:
            return f"{text} (is it installed? pip install -e .)"
        return text
    return known_problem(error, text)


def known_problem(error: Exception, text: str) -> str | None:
    """Return a one-line message for an error whose own text is no help; None for an unknown one."""
    if WEIGHTS_ALONE in text:
        return "the checkpoint holds weights alone, and no training can continue from it"
    if NO_COMPILER.search(text):
        return "compile is true, but needs a C++ compiler, such as g++"
    if UNUSED_PARAMETERS in text:
        problem = "some parameters have no part in the loss, which the processes wait for"
        return f"{problem}: set --trainer.strategy ddp_find_unused_parameters_true"
    if isinstance(error, ArgumentError):  # an option that cli.py adds is there already
        return blame(error)
    login = NO_API_KEY.search(text)
    if login:
        command = login["command"]
        return f"the logger has no API key: run {command}, or set --trainer.logger.offline true"
    return label_message(error, text)


def label_message(error: Exception, text: str) -> str | None:
    """Return a one-line message for labels that a loss refuses, with the step of the module; None for other errors."""
    functions = [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]
    steps = [name for name in functions if name.endswith("_step") and not name.startswith("_")]
    where = f" in {steps[-1]}" if steps else ""
    label = LABEL_OUT_OF_RANGE.search(text)
    if isinstance(error, IndexError) and label:
        problem = (
            f"a label{where} is {label['label']}, but the network gives logits of fewer classes"
        )
        return f"{problem}: labels have to be 0 to num_classes - 1"
    kind = LABEL_TYPE.search(text)
    if isinstance(error, RuntimeError) and kind:
        return f"the labels{where} are of type {kind['type']}, but must be int64: labels.long()"
    return None


def with_place(text: str, values: Sequence[Given]) -> str:
    """Put file and line in front of a message of Lightning that names an argument of the trainer."""
    for one in reversed(values):
        parent, _, name = one.key.rpartition(".")
        if parent == "trainer" and re.search(rf"\b{re.escape(name)}\b", text):
            return after_place(one.place, text)
    return text


def construction_message(error: BaseException) -> str | None:
    """Return a one-line message for an error in the user's own code; None for an error elsewhere."""
    if not own_place(error):
        return None
    return blame(error)
