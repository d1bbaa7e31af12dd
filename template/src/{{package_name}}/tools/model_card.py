"""Write a model card from what a run has recorded: `python -m <package>.model_card --run exp1`."""

import hashlib
import sys
import tomllib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from ..engine.checkpoints import find_checkpoint
from ..engine.import_path import forget_working_directory
from ..engine.run_directory import OPTION, OPTION_HELP, chosen_folder
from ..engine.runs import find_run
from ..utils.project import UserError, project_root, shown, write
from .options import PACKAGE, Parser
from .run_files import Run

# The head is for the Hugging Face Hub. What is in italics, no run can know.
CARD = """---
license: {license}
tags: [pytorch, lightning]
---

# {name}

{description}

*What the model is for, and what it is not for.*

## Results

{metrics}

*What the data leave out, where the model fails, and whom that may harm.*

## Origin

{origin}

## Use

```python
from {module} import {model}

module = {model}.load_from_checkpoint("best.ckpt")
```
"""


SOFTWARE = {"python": "Python", "torch": "PyTorch", "lightning": "Lightning"}


def table(rows: Iterable[tuple[str, Any]]) -> str:
    """Return a Markdown table of two columns, without the rows whose value is not known."""
    cells = [
        (name, str(value).replace("|", r"\|").replace("\n", " ")) for name, value in rows if value
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)])


def origin(
    run: Path, record: dict[str, Any], config: dict[str, Any], checkpoint: Path
) -> dict[str, Any]:
    """Return what the results come from."""
    net = config["model"].get("init_args", {}).get("net")
    network = net.get("class_path") if isinstance(net, dict) else net
    took = timedelta(seconds=int(Run(run).duration or 0))
    code = record.get("git") or {}
    commands = record.get("commands", [])
    commit = (
        f"{code['commit']}{', changed as code.patch says' * bool(code['dirty'])}"
        if code.get("commit")
        else ""
    )
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    files = (f"{name} (SHA-256 {value})" for name, value in (record.get("data") or {}).items())
    return {
        "Run": "/".join(run.parts[-2:]),
        "Commit": commit,
        "Command": f"`python src/main.py {commands[0]['command']}`" if commands else "",
        "Seed": config.get("seed_everything"),
        "Data": f"`{config['data']['class_path']}`",
        "Files": ", ".join(files),
        "Module": f"`{config['model']['class_path']}`",
        "Network": f"`{network}`" if network else "",
        "Checkpoint": f"best.ckpt (SHA-256 {digest})",
        "Trained": f"{record.get('start', '')[:10]}{f', in {took} h' * bool(took)}",
        "Hardware": hardware(record),
        "Software": ", ".join(
            f"{name} {record[key]}" for key, name in SOFTWARE.items() if record.get(key)
        ),
    }


def hardware(record: dict[str, Any]) -> str:
    """Return the GPUs, or the cores if there are none, as far as the record has them."""
    gpus, cores = record.get("gpus"), record.get("cores")
    if gpus:
        return ", ".join(gpus)
    return f"{cores} cores, {record.get('processor')}" if cores else ""


def card(run: Path) -> str:
    """Return the model card of a run; raise UserError if it has not been tested, or has no checkpoint."""
    record = Run(run).record
    tested = {
        name: value for name, value in record.get("metrics", {}).items() if name.startswith("test/")
    }
    checkpoint = find_checkpoint(run, "best")
    if not tested or not checkpoint:
        raise UserError(f"{shown(run)} was not tested: python src/main.py test --run {run.name}")
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((project_root() / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    licence = str(project.get("license", "other"))  # in its SPDX form
    module, _, model = config["model"]["class_path"].rpartition(".")
    return CARD.format(
        license="other" if licence.startswith(("{", "LicenseRef")) else licence.lower(),
        name=project["name"],
        description=project.get("description", ""),
        metrics=table(
            (name, "not finite" if value is None else f"{value:.4g}")
            for name, value in tested.items()
        ),
        origin=table(origin(run, record, config, checkpoint).items()),
        module=module,
        model=model,
    )


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    parser = Parser(f"python -m {PACKAGE}.model_card", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--run", default="last", help="<directory|id|name|last>, as --run of the other commands"
    )
    parser.add_argument(OPTION, dest="logs", metavar="FOLDER", help=OPTION_HELP)
    parser.add_argument(
        "--output", type=Path, help="the file; MODEL_CARD.md of the project, if left out"
    )
    try:
        given = parser.parse_args(args)
        path = given.output or project_root() / "MODEL_CARD.md"
        if path.exists():
            raise UserError(
                f"{shown(path)} is there already: remove it, or name another file with --output"
            )
        write(path, card(find_run(given.run, chosen_folder(given.logs))))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"Model card: {shown(path)}")
