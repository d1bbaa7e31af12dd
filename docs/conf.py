"""Configuration of the documentation site: `make docs` builds it into build/site."""

project = "copier-lightning"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "copier-lightning"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
nitpicky = True
