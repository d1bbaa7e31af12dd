"""Every answer renders a project in order, with the files and dependencies that docs/choices.md lists."""

import ast
import filecmp
import importlib.metadata
import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from allpairspy import AllPairs
from helpers.commands import succeed
from helpers.server import Server
from helpers.swanlab import FOLDER as SWANLAB
from helpers.template import QUESTIONS, ROOT, Render, as_listed, files, fits, sweep
from helpers.timm import FOLDER
from helpers.updates import owned
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Libraries that are imported only where they are needed, with a line if they are missing: to download a dataset, to
# read new pictures with a data module of tensors, and to read weights in that format; and those of texts, which are
# slow to import.
IMPORTED_ON_DEMAND = {"pooch", "PIL", "safetensors", "datasets", "tokenizers", "transformers"}
INSTALLED_APART = {"timm", "swanlab"}  # see helpers/timm.py and helpers/swanlab.py
ENVIRONMENT = {"PYTHONPATH": f"{FOLDER}:{SWANLAB}", "HF_HUB_OFFLINE": "1"}
TABLE = ROOT / "docs" / "choices.md"
CHOICES = {
    name: tuple(
        dict(question["choices"]).values()
        if isinstance(question["choices"], dict)
        else question["choices"]
    )
    for name, question in QUESTIONS.items()
    if "choices" in question
}
SETS = [name for name in CHOICES if QUESTIONS[name].get("multiselect")]
FACTORS: dict[str, tuple[Any, ...]] = {
    **{name: values for name, values in CHOICES.items() if name not in SETS},
    **{name: (True, False) for name, question in QUESTIONS.items() if question["type"] == "bool"},
    **{f"{name}: {choice}": (True, False) for name in SETS for choice in CHOICES[name]},
}


def answers(row: list[Any]) -> dict[str, Any]:
    """Return the answers to the questions from one value for each factor."""
    values = dict(zip(FACTORS, row, strict=True))
    single = {name: value for name, value in values.items() if ": " not in name}
    return single | {
        name: [choice for choice in CHOICES[name] if values[f"{name}: {choice}"]] for name in SETS
    }


def is_accepted(row: list[Any]) -> bool:
    """Return whether the questionnaire can take the answers, of which the first ones may be there alone.

    A chosen dataset has to fit a chosen model. What is not answered yet may still be chosen.
    """
    values = dict(zip(FACTORS, row, strict=False))

    def possible(question: str) -> list[str]:
        return [one for one in CHOICES[question] if values.get(f"{question}: {one}", True)]

    return any(fits(*pair) for pair in itertools.product(possible("datasets"), possible("models")))


ROWS = [answers(row) for row in AllPairs(list(FACTORS.values()), filter_func=is_accepted)]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's value for each factor."""
    return {
        name: row[name.split(": ")[0]]
        if ": " not in name
        else name.split(": ")[1] in row[name.split(": ")[0]]
        for name in FACTORS
    }


def covering(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Return a few of the rows in which each of these factors has each of its values."""
    missing, few = {(name, value) for name in names for value in FACTORS[name]}, []
    while missing:
        few.append(max(rows, key=lambda row: len(missing & flat(row).items())))
        missing -= flat(few[-1]).items()
    return few


FEW = covering(ROWS, [*FACTORS])
MANY = [row for row in ROWS if row not in FEW]
READY = [row for row in ROWS if {"digits", "blank"} & {*row["datasets"]}]  # have data at once
ALL, NONE, *OTHERS = covering(READY, [name for name in FACTORS if ": " in name])


def documented() -> dict[tuple[str, str], tuple[set[str], set[str]]]:
    """Return the files and the dependencies that each choice adds, from the table."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.*?) \| (.*?) \|$", TABLE.read_text(), re.MULTILINE
    )
    return {
        (question, choice.strip("`")): (names(files), names(dependencies))
        for question, choice, files, dependencies in rows
    }


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def chosen(row: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the questions with their choices, as the table has them."""
    single = {
        (name, str(answer).lower() if isinstance(answer, bool) else answer)
        for name, answer in row.items()
        if name not in SETS
    }
    several = {(name, choice) for name in SETS for choice in row[name]}
    reports = {("tooling", f"report` with `{model}") for model in row["models"]}
    return (
        single
        | several
        | (reports if "report" in row["tooling"] else set())
        | {
            ("datasets", f"text` with `{model}")
            for model in row["models"]
            if "text" in row["datasets"]
        }
        | {("loggers", f"{logger}` after another") for logger in row["loggers"][1:]}
    )


def requirements(project: Path) -> list[str]:
    """Return what a project depends on, but for ROCm's compiler, which belongs to its build of PyTorch."""
    content = tomllib.loads((project / "pyproject.toml").read_text())
    found = [*content["project"]["dependencies"]]
    for lists in (
        content["project"].get("optional-dependencies", {}),
        content.get("dependency-groups", {}),
    ):
        found += itertools.chain(*lists.values())
    return [line for line in found if not line.startswith("triton-rocm;")]


def provided(lines: list[str]) -> set[str]:
    """Return the distributions that pip installs for these requirements, as far as they are installed here."""
    found, todo = set[str](), [*lines]
    while todo:
        wanted = Requirement(todo.pop())
        name = {"mlflow": "mlflow-skinny"}.get(wanted.name, wanted.name)  # which stands for it here
        if str(wanted) in found:
            continue
        found |= {str(wanted), canonicalize_name(name)}
        with suppress(importlib.metadata.PackageNotFoundError):
            for line in importlib.metadata.requires(name) or []:
                marker = Requirement(line).marker
                if not marker or any(
                    marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}
                ):
                    todo.append(line.partition(";")[0])
    return found


@cache
def distributions() -> dict[str, set[str]]:
    """Return which distributions have a module, by its name."""
    found = importlib.metadata.packages_distributions()
    return {module: {canonicalize_name(name) for name in names} for module, names in found.items()}


def parse(path: Path) -> None:
    """See that a file is what its name says, and that nothing is left of the template in it."""
    text = path.read_text()
    left = re.sub(r"\$\{\{.*?\}\}", "", text) if ".github" in path.parts else text  # GitHub's own
    assert not re.search(r"\{\{|\{%|%\}", left), f"{path} has Jinja in it"
    if path.name != "LICENSE":
        assert not re.search(r"[ \t]+$|\n\n\n\n", text, re.MULTILINE), (
            f"{path} has blank space to spare"
        )
    assert not text or (text[-1] == "\n" and text[-2:] != "\n\n"), (
        f"{path} does not end with one line break"
    )
    match path.suffix:
        case ".py":
            ast.parse(text)
        case ".yaml" | ".yml":
            yaml.safe_load(text)
        case ".toml":
            tomllib.loads(text)
        case ".json" | ".ipynb":
            json.loads(text)
        case ".md":
            for link in re.findall(r"\]\((?!http)([^)#]+)", text):
                assert (path.parent / link).exists(), f"{path} leads to {link}"


def libraries(path: Path) -> set[str]:
    """Return the libraries, by the names of their modules, that a file imports."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    }
    return (
        {name.split(".")[0] for name in names}
        - sys.stdlib_module_names
        - {"__main__", "conftest", "my_project"}
    )


def imported(path: Path, src: Path) -> Iterator[Path]:
    """Yield the modules of the project that a file imports, without their suffix."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (base.joinpath(*name.split(".")) for name in names)
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "my_project"
        ):
            yield src.joinpath(*node.module.split("."))


def test_the_rows_hold_every_pair_of_answers() -> None:
    held = {pair for row in ROWS for pair in itertools.combinations(sorted(flat(row).items()), 2)}
    every = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(sorted(FACTORS), 2)
        for a, b in itertools.product(FACTORS[one], FACTORS[other])
    }
    assert every == held, "no pair is refused: each goes with some dataset and model that fit"


@pytest.mark.parametrize("row", [*FEW, *sweep(*MANY)], ids=itertools.count())
def test_every_answer_and_in_a_sweep_every_pair_is_in_order(
    render: Render, row: dict[str, Any]
) -> None:
    project = render(package_name="my_project", **row)
    expected, needed = documented()[("always", "—")]
    for choice in chosen(row):
        added = documented().get(choice, (set(), set()))
        expected, needed = expected | added[0], needed | added[1]
    assert {
        as_listed(name.replace("src/my_project", "src/<package>")) for name in files(project)
    } == expected
    assert not [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    required = requirements(project)
    assert {Requirement(line).name for line in required} == needed
    for path in project.rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            parse(path)
    again = render(package_name="my_project", **row)
    everything = [path.relative_to(project) for path in project.rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(project, again, everything, shallow=False)[1:] == ([], [])
    installed = provided(required)
    for path in project.rglob("*.py"):
        for library in libraries(path) - IMPORTED_ON_DEMAND - INSTALLED_APART:
            assert distributions().get(library, set()) & installed, (
                f"{path} imports {library}, which nothing installs"
            )
        for module in imported(path, project / "src"):
            assert module.with_suffix(".py").exists() or (module / "__init__.py").exists(), (
                f"{path} imports {module}"
            )
    for command in (["ruff", "check"], ["ruff", "format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_in_the_docs_shows_the_files_that_the_template_renders_for_each_choice() -> None:
    table = yaml.safe_load((ROOT / "includes" / "files.yml").read_text())
    del table["folders"]
    cells = {row: added for row, (added, _) in documented().items() if row[0] != "always"}
    for question, choices in table.items():
        for choice, added in choices.items():
            row = (question, choice)
            if question == "further loggers":
                row = ("loggers", f"{choice}` after another")
            if question == "report of":
                row = ("tooling", f"report` with `{choice}")
            if question == "texts with":
                row = ("datasets", f"text` with `{choice}")
            shown = [name.replace("src/*/", "src/<package>/") for name in added]
            expected = " ".join(f"`{name}`" for name in shown)
            assert cells.pop(row) == {*shown}, f"the files of {row} are {expected}"
    assert not any(cells.values()), "a choice has files that includes/files.yml does not name"


def test_every_file_of_the_template_is_rendered_for_some_row() -> None:
    listed = {name for given in documented().values() for name in given[0]}
    template = {
        path.relative_to(ROOT / "template").as_posix()
        for path in (ROOT / "template").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    rendered = {
        name.removesuffix(".jinja").replace("{{package_name}}", "<package>") for name in template
    }
    rendered = {re.sub("{% if .*? %}(.*?){% endif %}", r"\1", name) for name in rendered}
    rendered = {
        name.replace("{{ _copier_conf.answers_file }}", ".copier-answers.yml") for name in rendered
    }
    assert {as_listed(name) for name in rendered} - owned("moved") == listed


@pytest.mark.parametrize("row", [ALL, NONE, *sweep(*OTHERS)], ids=itertools.count())
def test_projects_with_and_without_each_choice_type_check_train_and_pass_their_own_tests(
    render: Render, warm: Server, row: dict[str, Any]
) -> None:
    project = render(package_name="my_project", **row)
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "timm" in row["models"] and not FOLDER.exists():
        pytest.skip("`make test` installs timm to .venv/timm")
    if "swanlab" in row["loggers"] and not SWANLAB.exists():
        pytest.skip("`make test` installs SwanLab to .venv/swanlab")
    done = warm.run(project, "-m", "pytest", "-q", cwd=None, **ENVIRONMENT)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout and not done.stderr, done.stdout + done.stderr
    dataset, model = next(
        pair
        for pair in itertools.product(row["datasets"], row["models"])
        if fits(*pair) and pair[0] in ("digits", "blank")
    )
    configs = ("-c", f"configs/data/{dataset}.yaml", "-c", f"configs/model/{model}.yaml")
    random = ["--model.net.pretrained=false"] if model == "timm" else []
    succeed(project, "fit", *configs, *random, "--trainer.fast_dev_run=2", cwd=None, **ENVIRONMENT)
