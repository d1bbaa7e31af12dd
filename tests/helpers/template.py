"""The template's questions, and what a rendered project has of them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SETTINGS = yaml.safe_load((ROOT / "copier.yml").read_text())
# What is recorded; `when` is false for what is computed, and a condition for the lists that `tooling` sums up
QUESTIONS = {
    name: entry for name, entry in SETTINGS.items() if name[0] != "_" and "when" not in entry
}

Render = Callable[..., Path]


def git(folder: Path, *args: str) -> str:
    """Run git in a folder and return what it prints."""
    return subprocess.run(
        ["git", *args], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def sweep(*cases: Any) -> list[Any]:
    """Return cases of a parameter as those that `make test-all` alone runs."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.sweep)
        for case in cases
    ]


def files(project: Path) -> set[str]:
    """Return the paths of a project's files."""
    return {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}


# Folders with one owner, which come whole or not at all, such as src/my_project/engine/git.py
WHOLE_FOLDER = re.compile(
    r"^(src/.+/(engine|tools/report|tools/runs|tools/search|tools/schema|tools/pack))/.*"
)


def as_listed(path: str) -> str:
    """Return how the tables name a file: one of a whole folder by the folder."""
    return WHOLE_FOLDER.sub(r"\1/", path)


def choices_of(question: str) -> list[str]:
    """Return the answers that a question offers."""
    choices = QUESTIONS[question]["choices"]
    return list(choices.values()) if isinstance(choices, dict) else list(choices)


def fits(dataset: str, model: str) -> bool:
    """Return whether a model makes sense for a dataset: tables, masks, texts and random numbers fit few."""
    few = {
        "csv_table": ("mlp", "regression", "blank"),
        "digit_masks": ("segmentation",),
        "mask_folder": ("segmentation",),
        "text": ("transformer",),
    }
    if dataset in few:
        return model in few[dataset]
    if model == "regression":
        return dataset == "blank"
    return model not in ("segmentation", "transformer")
