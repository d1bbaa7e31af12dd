"""Write a JSON schema of the configs, with which editors complete and check them: `python -m <package>.schema`."""

import gc
import importlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from ...engine.import_path import forget_working_directory
from ...utils.project import UserError, project_root, shown, write
from ..options import PACKAGE, Parser


def import_package() -> dict[str, str]:
    """Import all modules of the package, so that their classes are known; return those that fail, with the reason."""
    folder, broken = Path(__file__).parents[2], dict[str, str]()
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join([PACKAGE, *(part for part in parts if part != "__init__")])
        if parts == ("__main__",) or not all(
            part.isidentifier() for part in parts
        ):  # scripts, and copies of notebooks
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            broken[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return broken


def generate() -> dict[str, Any]:
    """Return the schema of what `fit` takes; print which modules of the package are left out of it, and why."""
    # only here, as these take seconds to import, and longer if garbage is looked for in what stays
    gc.disable()
    from jsonargparse import capture_parser, set_parsing_settings
    from lightning.pytorch import LightningModule
    from torch import nn

    from ...cli import CLI
    from .json_schema import ConfigSchema, factories

    loaded = set(sys.modules)
    broken = import_package()
    gc.freeze()
    gc.enable()
    for name, reason in broken.items():
        print(f"Left out: {name} ({reason})", file=sys.stderr)
    members = {
        f"{name}.{key}": value
        for name, module in sys.modules.items()
        if f"{name}.".startswith(f"{PACKAGE}.")
        for key, value in vars(module).items()
        if callable(value) and f"{getattr(value, '__module__', '')}.".startswith(f"{PACKAGE}.")
    }
    classes = [
        value
        for value in dict.fromkeys(members[key] for key in sorted(members))
        if isinstance(value, type)
    ]

    # Of every network, PyTorch's own too, jsonargparse would list the arguments, and at some of them it fails
    set_parsing_settings(subclasses_disabled=[lambda cls: cls is nn.Module])
    parser = capture_parser(lambda: CLI([]))
    built = {
        nn.Module,
        *(cls for one in classes for factory in factories(one).values() for cls in factory.classes),
    }
    bases = {}  # of what arguments build, where its description is
    for index, base in enumerate(sorted(built, key=lambda cls: (cls.__module__, cls.__qualname__))):
        networks = [
            one
            for one in classes
            if issubclass(one, nn.Module) and not issubclass(one, LightningModule)
        ]
        if known := tuple(networks) if base is nn.Module else (base,):
            parser.add_argument(f"--{index}", type=Union[known])  # noqa: UP007
            bases[base] = str(index)
    raw = json.loads(parser.get_completion_script("jsonschema"))
    patterns = [*map(re.escape, sorted(members)), *(rf"{re.escape(name)}\..+" for name in broken)]
    return ConfigSchema(raw, bases, PACKAGE, patterns, loaded).fit()


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    parser = Parser(f"python -m {PACKAGE}.schema", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to, instead of configs/schema.json"
    )
    try:
        output = parser.parse_args(args).output or project_root() / "configs" / "schema.json"
        text = json.dumps(generate(), indent=0, sort_keys=True, ensure_ascii=False) + "\n"
        write(output, text)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"Schema: {shown(output)}")
