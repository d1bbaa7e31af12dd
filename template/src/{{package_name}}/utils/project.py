"""The project's root, helpers for its files, and UserError, the error for mistakes of the user."""

import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyrootutils

SECRET = (
    r"(?:api|access|auth|client|private|secret)_?(?:key|token|secret)|passw(?:or)?d|secret|token"
)
# Values that are no secret despite their name, such as `use_cls_token: true`, `pad_token: 3`, `mask_token: "[MASK]"`
PLAIN = r"""[\s\\:='"]+(?:true|false)(?![\w.+/=-])|(?<=token)[\s\\:='"]+(?:[<\[]|\d{1,6}(?![\w.+/=-]))"""


class UserError(ValueError):
    """A mistake of the user. The command line prints only the message: one line that says what to do."""


@cache
def project_root() -> Path:
    """Return the folder that contains `.project-root`, and load its `.env`. Raise UserError if there is none."""
    for start in (Path(__file__), Path.cwd()):  # the second, if the package was installed as a copy
        with suppress(FileNotFoundError):
            return Path(pyrootutils.setup_root(start, indicator=".project-root"))
    raise UserError(
        f"no .project-root in {Path.cwd()} or above it: run the command inside the project"
    )


def shown(path: str | Path) -> str:
    """Return a path as the user would type it: relative to the working directory if that is shorter."""
    with suppress(ValueError):  # on another drive
        return min(os.path.relpath(path), str(path), key=len)
    return str(path)


def printable(text: str) -> str:
    """Return a text whose control characters are spelt out, because a terminal would obey them.

    A run from somebody else may hold such characters.
    """
    letters = []
    for letter in text:
        is_plain = letter.isprintable() or letter == "\n"
        letters.append(letter if is_plain else letter.encode("unicode_escape").decode())
    return "".join(letters)


def write(path: Path, text: str) -> None:
    """Write a text file atomically."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    # Windows would end lines with \r\n. Then code.patch would not apply.
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def mask(text: str, by: str = "***", code: bool = False) -> str:
    """Mask credentials in a text: values with names like credentials, values of such environment variables, and logins.

    Args:
        text: The text, such as a command or a patch.
        by: The replacement.
        code: Whether the text is source code. Then an unquoted value is only masked if it has a digit.
    """
    for name, value in os.environ.items():
        if re.fullmatch(rf"(\w+_)?({SECRET})", name, re.I) and len(value) > 5:
            text = text.replace(value, by)
    value = r"""(?!null\b|-)[^\s,}'"\\]+"""
    if code:
        value = r"""[^\s,}'"\\()\[\]]*\d[^\s,}'"\\()\[\]]*"""
    value = rf"""([\\'"]*(?:[ \t]*[:=][ \t]*|[ \t]+))(?:(\\?['"])[^'"\n]*\3|{value})"""
    text = re.sub(rf"(?i)(?<![a-z])({SECRET})(?!{PLAIN}){value}", rf"\1\2\3{by}\3", text)
    return re.sub(r"://[^/\s@'\"]+@", f"://{by}@" if by else "://", text)
