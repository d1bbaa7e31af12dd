"""A project with all datasets is in order, and each brings all that it imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.datasets import DATASETS
from helpers.template import Render

pytestmark = pytest.mark.usefixtures("without_hub")


@pytest.mark.sweep  # test_matrix.py does so for a project with all choices
def test_a_project_with_all_of_them_is_in_order(datasets_project: Path) -> None:
    for command in (
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--check", "--no-cache", "."],
        ["mypy"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=datasets_project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_one_brings_all_modules_that_it_imports(render: Render, dataset: str) -> None:
    folder = (
        render(datasets=[dataset], models=["mlp", "segmentation"])
        / "src"
        / "my_project"
        / "data_modules"
    )
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert dataset in modules
    for name in modules:
        imported = re.findall(r"^from \.(\w+) import", (folder / f"{name}.py").read_text(), re.M)
        assert modules.issuperset(imported)
