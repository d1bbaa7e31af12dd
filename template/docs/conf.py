"""Settings of the documentation site."""

import re
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
package = next((ROOT / "src").glob("*/__init__.py")).parent

project, release = metadata["name"], metadata["version"]
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
apidoc_modules = [
    {
        "path": str(package),
        "destination": "api",
        "separate_modules": True,
        "automodule_options": {"members"},
    }
]
autodoc_inherit_docstrings = False
default_role = "code"  # in docstrings `this` is code, as in Markdown
html_show_copyright = False


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", escape)


def escape(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Let an asterisk be one, (N, *shape) starts no emphasis, except in code and where it is escaped already."""
    lines[:] = [
        re.sub(r"(`+).*?\1|\\.|(\*)", lambda match: r"\*" if match[2] else match[0], line)
        for line in lines
    ]
