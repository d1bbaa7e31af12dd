"""docs/problems.md, which lists messages: each is one that the template can print."""

import ast
import re
from collections.abc import Iterator

from helpers.template import ROOT

PAGE = (ROOT / "docs" / "problems.md").read_text()
# What PyTorch and Lightning print, and a command
OTHERS = ("CUDA out of memory", "GPU available: False", "test")


def texts() -> Iterator[str]:
    """Yield the texts in the template's code, without what they fill in."""
    for path in (ROOT / "template").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_on_the_page_is_in_the_code() -> None:
    code = [*texts()]
    messages = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
    assert len(messages) > 25
    for message in {*messages} - {*OTHERS}:
        # The code fills in what `…` stands for, and joins the problem and the way out by a colon.
        parts = [part.strip(" :,?") for part in re.split("…|: ", message)]
        assert max(map(len, parts)) > 8, message
        for part in parts:
            assert any(part in text for text in code), f"{message}: {part}"
