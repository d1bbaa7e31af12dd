"""Write a model card from what a run has recorded: `python -m <package>.model_card --run exp1`."""

import hashlib
import tomllib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from ..engine.checkpoints import best_or_last
from ..engine.import_path import forget_working_directory
from ..engine.run_directory import chosen_folder
from ..engine.runs import find_run
from ..utils.project import UserError, project_root, shown, write
from .options import RUN_HELP, add_logs_option, command_parser, mistakes_end_in_a_line
from .run_files import Run

# The header is for the Hugging Face Hub. The sentences in italics are for the user to replace.
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

module = {model}.load_from_checkpoint("{checkpoint}")
```
"""
SOFTWARE = {"python": "Python", "torch": "PyTorch", "lightning": "Lightning"}
# Beginnings of `license` in pyproject.toml that are no SPDX identifier. The Hub only accepts those.
OTHER_LICENCES = ("{", "LicenseRef")

Values = dict[str, Any]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    forget_working_directory()
    with mistakes_end_in_a_line():
        options = parse(args)
        path = options.output or project_root() / "MODEL_CARD.md"
        if path.exists():
            advice = "remove it, or name another file with --output"
            raise UserError(f"{shown(path)} is there already: {advice}")
        run = find_run(options.run, chosen_folder(options.logs))
        write(path, card(run))
        print(f"Model card: {shown(path)}")


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options of the command line."""
    parser = command_parser("model_card", description=__doc__)
    parser.add_argument("--run", default="last", help=RUN_HELP)
    add_logs_option(parser)
    parser.add_argument(
        "--output", type=Path, help="the file; MODEL_CARD.md of the project, if left out"
    )
    return parser.parse_args(arguments)


def card(run: Path) -> str:
    """Return the model card of a run. Raise UserError if it has not been tested, or has no checkpoint."""
    record = Run(run).record
    results = test_results(record)
    checkpoint = best_or_last(run)
    if not results or not checkpoint:
        advice = f"python src/main.py test --run {run.name}"
        raise UserError(f"{shown(run)} was not tested: {advice}")

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    origin = {
        "Run": "/".join(run.parts[-2:]),
        **code_and_data(record, config),
        "Module": code(config["model"]["class_path"]),
        "Network": code(network(config)),
        "Started from": parent(record),
        "Checkpoint": f"{checkpoint.name} (SHA-256 {digest(checkpoint)})",
        "Trained": trained(run, record),
        "Hardware": hardware(record),
        "Software": software(record),
    }
    project = project_metadata()
    module, _, model = config["model"]["class_path"].rpartition(".")
    return CARD.format(
        license=licence(project),
        name=project["name"],
        description=project.get("description", ""),
        metrics=table(results),
        origin=table(origin),
        module=module,
        model=model,
        checkpoint=checkpoint.name,
    )


def test_results(record: Values) -> dict[str, str]:
    """Return the metrics of the test set, as text."""
    results = {}
    for name, value in record.get("metrics", {}).items():
        if name.startswith("test/"):
            if value is None:
                results[name] = "not finite"
            else:
                results[name] = f"{value:.4g}"
    return results


def code_and_data(record: Values, config: Values) -> Values:
    """Return commit, command, seed and data of a run."""
    command = ""
    commands = record.get("commands", [])
    if commands:
        command = code(f"python src/main.py {commands[0]['command']}")
    hashes = record.get("data") or {}
    files = []
    for name, value in hashes.items():
        files.append(f"{name} (SHA-256 {value})")
    return {
        "Commit": commit(record),
        "Command": command,
        "Seed": seed(config),
        "Data": code(config["data"]["class_path"]),
        "Files": ", ".join(files),
    }


def seed(config: Values) -> str:
    """Return the seed; empty if there was none. 0 is a seed."""
    value = config.get("seed_everything")
    if value is None or value is False:
        return ""
    return str(value)


def commit(record: Values) -> str:
    """Return the commit; empty if there is none."""
    git = record.get("git") or {}
    if not git.get("commit"):
        return ""
    if git["dirty"]:
        return f"{git['commit']}, changed as code.patch says"
    return str(git["commit"])


def network(config: Values) -> str:
    """Return the class of the network; empty if the module has none."""
    net = config["model"].get("init_args", {}).get("net")
    if isinstance(net, dict):
        net = net.get("class_path")
    return str(net or "")


def parent(record: Values) -> str:
    """Return the checkpoint whose weights the run started from; empty if it started from random ones."""
    found = record.get("parent") or {}
    if not found:
        return ""
    return f"{code(found['checkpoint'])} (SHA-256 {found['sha256']})"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trained(run: Path, record: Values) -> str:
    """Return the date and the duration of the training."""
    day = str(record.get("start", ""))[:10]
    duration = Run(run).duration or 0
    took = timedelta(seconds=int(duration))
    if not took:
        return day
    return f"{day}, in {took} h"


def hardware(record: Values) -> str:
    """Return the recorded GPUs, or without GPUs the cores; empty if neither is recorded."""
    if record.get("gpus"):
        return ", ".join(record["gpus"])
    if record.get("cores"):
        return f"{record['cores']} cores, {record.get('processor')}"
    return ""


def software(record: Values) -> str:
    """Return the recorded versions."""
    versions = []
    for key, name in SOFTWARE.items():
        if record.get(key):
            versions.append(f"{name} {record[key]}")
    return ", ".join(versions)


def project_metadata() -> Values:
    """Return the table `project` of pyproject.toml."""
    text = (project_root() / "pyproject.toml").read_text(encoding="utf-8")
    project: Values = tomllib.loads(text)["project"]
    return project


def licence(project: Values) -> str:
    """Return the licence in the Hub's notation."""
    name = str(project.get("license", "other"))
    if name.startswith(OTHER_LICENCES):
        return "other"
    return name.lower()


def code(text: str) -> str:
    """Return a text as code in Markdown; an empty one stays empty."""
    return f"`{text}`" if text else ""


def table(rows: Mapping[str, Any]) -> str:
    """Return a Markdown table of two columns, without rows of unknown value."""
    lines = ["| | |", "|---|---|"]
    for name, value in rows.items():
        if value:
            cell = str(value).replace("|", r"\|").replace("\n", " ")
            lines.append(f"| {name} | {cell} |")
    return "\n".join(lines)
