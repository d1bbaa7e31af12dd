"""The pages of the documentation: their blocks of code, and the files that they have a reader write."""

import re
from pathlib import Path

from helpers.template import ROOT

DOCS = ROOT / "docs"


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of a page's blocks of code, in order."""
    return re.findall(
        r"^```(\w+)\n(.*?)^```$", (DOCS / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL
    )


def shown(page: str) -> str:
    """Return a page's text, with the part of another page that it includes."""
    path = DOCS / f"{page}.md"

    def part(directive: re.Match[str]) -> str:
        other, start, end = directive.groups()
        return (path.parent / other).read_text().split(start)[1].split(end)[0]

    include = r"^```\{include\} (.+)\n:start-after: (.+)\n:end-before: (.+)\n```$"
    return re.sub(include, part, path.read_text(), flags=re.MULTILINE)


def write(project: Path, language: str, code: str) -> bool:
    """Write the file that a block is, by the comment at its top, unless the page shows what the project has."""
    file = re.match(r"# (\S+/\S+\.(?:py|yaml))\n", code)
    if language not in ("python", "yaml") or not file:
        return False
    path = project / file[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.name == "cli.py":  # which the reader extends
        path.write_text(code.partition("\n")[2])
    return True
