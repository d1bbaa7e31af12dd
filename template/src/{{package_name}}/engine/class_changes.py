"""Keeps a class that replaces another one from inheriting its arguments. Read it if an argument is lost or remains.

jsonargparse passes the arguments of a class on to its replacement, if that accepts them. With
`AdamW(weight_decay=0.3)` in a config, `--model.optimizer SGD` would build `SGD(weight_decay=0.3)`.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from .configs import flat, read_config

CONFIG_OPTIONS = ("-c", "--config")


class Argument(NamedTuple):
    """An option with its value, or a positional word."""

    words: list[str]
    settings: list[tuple[str, Any]]  # dotted keys with their values
    is_config: bool


def insert_resets(args: Sequence[str]) -> list[str]:
    """Return the arguments, with a reset before each class that replaces another one.

    With AdamW(weight_decay=0.3) in a.yaml, `-c a.yaml --model.optimizer SGD` becomes

        -c a.yaml -c '{"model.optimizer": null}' -c '{"model.optimizer": {"class_path": "AdamW"}}' --model.optimizer SGD

    Resets stand before later options, so these keep their values. The model and the data module are not reset, because
    their arguments belong to the task.
    """
    result: list[str] = []
    known: dict[str, Any] = {}
    end_of_configs = 0
    for argument in split_arguments(args):
        for path, value in argument.settings:
            plain_path = path.replace(".init_args", "")
            key = plain_path.removesuffix(".class_path")
            old_class = known.get(f"{key}.class_path")
            is_other = short_name(old_class) != short_name(value)
            if old_class and "." in key and is_other:
                words = reset_words(key, old_class, known.get("trainer.logger.save_dir"))
                result[end_of_configs:end_of_configs] = words
            known[plain_path] = value
        result += argument.words
        if argument.is_config:
            end_of_configs = len(result)
    return result


def split_arguments(args: Sequence[str]) -> list[Argument]:
    """Split the command line into arguments: each option together with its value."""
    arguments = []
    words = list(args)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        own_words = [word]
        if word.startswith("-") and not equals and words and not is_option(words[0]):
            value = words.pop(0)
            own_words.append(value)
        is_config = option in CONFIG_OPTIONS
        settings: list[tuple[str, Any]] = []
        if is_config:
            settings = list(flat(read_config(value)))
        elif option.startswith("-"):
            settings = [(option.lstrip("-"), value)]
        arguments.append(Argument(own_words, settings, is_config))
    return arguments


def is_option(word: str) -> bool:
    """Return whether a word is an option. `-1` is not: it is a number."""
    return word.startswith("--") or word == "-c"


def short_name(class_path: Any) -> str:
    """Return the name of a class without its modules: SGD for torch.optim.SGD."""
    return str(class_path).rpartition(".")[2]


def reset_words(key: str, old_class: Any, save_dir: Any) -> list[str]:
    """Return `-c` options that set a key to null, and then to its old class without arguments."""
    resets: list[Any] = [None]
    if save_dir and key == "trainer.logger":
        # Keep the folder of the logs, because jsonargparse passes it on to the loggers that follow.
        resets.append({"class_path": "CSVLogger", "init_args": {"save_dir": save_dir}})
    resets.append({"class_path": old_class})
    words = []
    for reset in resets:
        words += ["-c", json.dumps({key: reset})]
    return words
