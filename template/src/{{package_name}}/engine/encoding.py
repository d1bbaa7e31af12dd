"""Reads configs as UTF-8 in every locale.

Read this when a message asks for PYTHONUTF8=1, because jsonargparse and Python follow the locale.
"""

import codecs
import locale
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..utils.project import UserError
from .run_directory import NO_TEXT_FILE


def check_characters(text: str) -> None:
    """Raise UserError if the locale has misread a text of the user, or cannot encode it as a file name."""
    try:
        text.encode("utf-8")
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = locale.getpreferredencoding(False)
        raise UserError(
            f"{text!a} has characters that the locale's encoding, {encoding}, has not: set PYTHONUTF8=1"
        ) from None


def with_texts_of_configs(args: Sequence[str]) -> list[str]:
    """Replace the paths of configs by their texts where the locale would misread the files."""
    if codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8":
        return list(args)
    result: list[str] = []
    for before, arg in zip(["", *args], args, strict=False):
        option, equals, value = arg.partition("=")
        if before in ("-c", "--config"):
            result.append(readable(arg))
        elif equals and option in ("-c", "--config"):
            result.append(f"{option}={readable(value)}")
        else:
            result.append(arg)
    return result


def readable(config: str) -> str:
    """Return the path of a config, or its text in ASCII if the file has other characters."""
    try:
        text = Path(config).read_text(encoding="utf-8")
    except NO_TEXT_FILE:
        # A missing file, or one that is not UTF-8: other code reports both. Or `config` is itself YAML.
        return config
    if text.isascii():
        return config
    # Parsed and written again, because YAML then escapes other characters, as in "\u4e2d". Comments are lost.
    ascii_text: str = yaml.emit(yaml.parse(text, yaml.SafeLoader), width=10**9)
    return ascii_text
