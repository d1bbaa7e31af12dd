"""Configuration of the documentation site: `make docs` builds it into build/site."""

from typing import Any

from sphinx.application import Sphinx

project = "copier-lightning"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
smartquotes = False  # they make a dash of the two hyphens of an option
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "copier-lightning"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
nitpicky = True


def set_language(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Say in which language a page is, so that browsers choose the right glyphs."""
    context["language"] = "zh-CN" if page.startswith("zh/") else "en"


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("html-page-context", set_language)
