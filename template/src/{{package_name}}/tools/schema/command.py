"""Write a JSON schema of the configs, with which editors complete and check them: `python -m <package>.schema`."""

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...engine.import_path import forget_working_directory
from ...utils.project import project_root, shown, write
from ..options import command_parser, mistakes_end_in_a_line


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    parser = command_parser("schema", description=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to, instead of configs/schema.json"
    )
    with mistakes_end_in_a_line():
        options = parser.parse_args(args)
        output = options.output or project_root() / "configs" / "schema.json"
        text = json.dumps(schema(), indent=0, sort_keys=True, ensure_ascii=False)
        write(output, text + "\n")
        print(f"Schema: {shown(output)}")


def schema() -> dict[str, Any]:
    """Return the schema. Garbage collection is off during the imports, as in engine/start.py, to save time."""
    gc.disable()
    from .generate import generate

    return generate()
