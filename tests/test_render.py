"""What the answers render: which files, and that every one of them is in order."""

import ast
import filecmp
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Render, git, succeed
from copier import run_copy, run_update

TEMPLATE = ROOT / "template"
LOGGERS = ("tensorboard", "csv", "wandb", "none")
DATASETS = (["mnist", "digits"], ["mnist"], ["digits"])
ANSWERS = [
    {"logger": logger, "datasets": datasets, "git_hooks": git_hooks}
    for (logger, datasets), git_hooks in zip(itertools.product(LOGGERS, DATASETS), itertools.cycle([True, False]))
]

DEFAULT = """
.copier-answers.yml .env.example .gitignore .pre-commit-config.yaml .project-root LICENSE README.md pyproject.toml
configs/data/digits.yaml configs/data/mnist.yaml configs/default.yaml configs/model/simplenet.yaml
configs/trainer/debug.yaml data/.gitkeep logs/.gitkeep notebooks/.gitkeep src/main.py
src/P/__init__.py src/P/__main__.py src/P/cli.py
src/P/callbacks/__init__.py src/P/callbacks/run.py
src/P/data_modules/__init__.py src/P/data_modules/digits.csv.gz src/P/data_modules/digits.csv.gz.license
src/P/data_modules/digits.py src/P/data_modules/in_memory.py src/P/data_modules/mnist.py
src/P/metrics/.gitkeep src/P/models/__init__.py src/P/models/simplenet.py
src/P/modules/__init__.py src/P/modules/classification.py
src/P/utils/__init__.py src/P/utils/arguments.py src/P/utils/optim.py src/P/utils/project.py
src/P/utils/runs.py tests/conftest.py tests/test_commands.py tests/test_data.py
"""


def files(project: Path) -> set[str]:
    """Return the names of a project's files, with the package's name as P."""
    names = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    return {re.sub(r"^src/(?!main\.py)[^/]+", "src/P", name) for name in names}


def read(project: Path, name: str) -> Any:
    """Return what a YAML or TOML file says."""
    text = (project / name).read_text()
    return tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)


def test_default_answers_give_these_files_and_no_others(default_project: Path) -> None:
    assert files(default_project) == set(DEFAULT.split())


def test_the_default_project_stays_small_enough_to_read(default_project: Path) -> None:
    python = {path: len(path.read_text().splitlines()) for path in default_project.rglob("*.py")}
    assert len(python) <= 25
    assert sum(lines for path, lines in python.items() if "src" in path.relative_to(default_project).parts) <= 900
    assert max(python.values()) <= 200
    assert len((default_project / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("answers", ANSWERS, ids=lambda a: f"{a['logger']}-{'+'.join(a['datasets'])}-{a['git_hooks']}")
def test_every_combination_is_in_order(render: Render, answers: dict[str, Any]) -> None:
    project = render(**answers)
    for path in project.rglob("*"):
        if path.is_dir() or path.suffix == ".gz":
            continue
        text = path.read_text()
        assert not re.search(r"\{\{|\{%|%\}", text), f"{path} has Jinja in it"
        assert not re.search(r"[ \t]+$|\n\n\n\n", text, re.MULTILINE), f"{path} has blank space to spare"
        assert not text or (text[-1] == "\n" and text[-2:] != "\n\n"), f"{path} does not end with one line break"
        match path.suffix:
            case ".py":
                ast.parse(text)
            case ".yaml" | ".yml":
                yaml.safe_load(text)
            case ".toml":
                tomllib.loads(text)
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=project, check=True)


@pytest.mark.parametrize("logger", LOGGERS)
def test_mypy_finds_nothing(render: Render, logger: str) -> None:
    project = render(logger=logger, datasets=["digits"] if logger == "csv" else ["mnist", "digits"])
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_each_logger_brings_its_dependency_and_no_other(render: Render) -> None:
    for logger in LOGGERS:
        project = render(logger=logger)
        names = {re.split(r"\W", line)[0] for line in read(project, "pyproject.toml")["project"]["dependencies"]}
        assert names & {"tensorboard", "wandb"} == {logger} - {"csv", "none"}
        chosen = read(project, "configs/default.yaml")["trainer"]["logger"]
        assert (chosen is False) if logger == "none" else logger in chosen["class_path"].lower()


def test_a_project_without_wandb_has_no_trace_of_it(default_project: Path) -> None:
    answers = (default_project / ".copier-answers.yml").read_text()
    assert "logger: tensorboard" in answers
    for path in default_project.rglob("*"):
        assert not path.is_file() or not re.search(rb"(?i)wandb|weights & biases", path.read_bytes()), path


def test_wandb_adds_one_script(render: Render) -> None:
    assert files(render(logger="wandb")) == {*DEFAULT.split(), "scripts/clear_wandb_cache.py"}


@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_a_dataset_that_was_not_chosen_leaves_no_file(render: Render, dataset: str) -> None:
    other = {"mnist": "digits", "digits": "mnist"}[dataset]
    project = render(datasets=[dataset])
    assert files(project) == {name for name in DEFAULT.split() if f"/{other}." not in name}
    assert f"{other}.yaml" not in (project / "README.md").read_text()
    dependencies = " ".join(read(project, "pyproject.toml")["project"]["dependencies"])
    assert ("pooch" in dependencies) == (dataset == "mnist")


def test_without_git_hooks_there_is_no_configuration_for_them(render: Render) -> None:
    project = render(git_hooks=False)
    assert files(project) == set(DEFAULT.split()) - {".pre-commit-config.yaml"}
    assert "pre-commit" not in (project / "README.md").read_text() + (project / "pyproject.toml").read_text()


def test_two_renders_of_the_same_answers_are_the_same(render: Render) -> None:
    first, second = render(), render()
    assert files(first) == files(second)
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(first, second, names, shallow=False)[1:] == ([], [])


def test_names_and_addresses_reach_the_licence_and_the_packaging(render: Render) -> None:
    project = render(user_name="Ada Lovelace", user_email="ada@example.org", project_name="数字", package_name="shuzi")
    metadata = read(project, "pyproject.toml")["project"]
    assert metadata["authors"] == [{"name": "Ada Lovelace", "email": "ada@example.org"}]
    assert metadata["scripts"] == {"shuzi": "shuzi.__main__:main"}
    year = read(project, ".copier-answers.yml")["copyright_year"]
    assert f"Copyright (c) {year} Ada Lovelace\n" in (project / "LICENSE").read_text()
    assert (project / "README.md").read_text().startswith("# 数字\n")


def test_every_relative_link_in_the_readme_leads_somewhere(render: Render) -> None:
    for logger in LOGGERS:
        project = render(logger=logger)
        for link in re.findall(r"\]\((?!http)([^)#]+)", (project / "README.md").read_text()):
            assert (project / link).exists(), link


def test_python_files_in_the_template_have_jinja_in_import_lines_alone() -> None:
    for path in TEMPLATE.rglob("*.py*"):
        for line in path.read_text().splitlines():
            if "{{" in line or "{%" in line:
                assert path.suffix == ".jinja" and re.match(r"from \{\{ package_name \}\}[\w.]* import ", line), line


def test_no_update_loses_what_the_user_wrote(template: Path, tmp_path: Path) -> None:
    """An edited project moves from one version to the next: its own files stay, the template's changes arrive."""
    origin = tmp_path / "origin"
    git(tmp_path, "clone", "--quiet", str(template), str(origin))
    project = tmp_path / "my-project"
    run_copy(str(origin), project, defaults=True, quiet=True)
    git(project, "init", "--quiet")
    for name, text in {
        "README.md": "\nMine.\n",
        "configs/model/simplenet.yaml": "# mine\n",
        ".gitignore": "*.mine\n",
    }.items():
        (project / name).write_text((project / name).read_text() + text)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Mine")

    package = "src/{{package_name}}"
    users = ["README.md.jinja", "configs/model/simplenet.yaml.jinja", f"{package}/models/simplenet.py"]
    templates = [".env.example", f"{package}/cli.py", f"{package}/data_modules/in_memory.py"]
    for name in (*users, f"{package}/modules/classification.py", f"{package}/data_modules/mnist.py", *templates):
        (origin / "template" / name).write_text("# new\n" + (origin / "template" / name).read_text())
    git(origin, "commit", "--quiet", "--all", "-m", "New")
    git(origin, "tag", "-a", "v1000.0.0", "-m", "New")
    run_update(project, defaults=True, overwrite=True, quiet=True)

    assert read(project, ".copier-answers.yml")["_commit"] == "v1000.0.0"
    changed = {line[3:] for line in git(project, "status", "--porcelain").splitlines()}
    arrived = {name.replace("{{package_name}}", "my_project") for name in templates}
    assert changed == {".copier-answers.yml", *arrived}
    assert (project / "README.md").read_text().endswith("Mine.\n")


def test_the_message_after_the_copy_gives_commands_that_work(template: Path, tmp_path: Path) -> None:
    copy = [sys.executable, "-m", "copier", "copy", "--defaults", "-d", "datasets=[mnist]", str(template), "here"]
    message = subprocess.run(copy, cwd=tmp_path, check=True, capture_output=True, text=True).stderr
    commands = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    assert commands[:3] == ["cd here", "python -m venv .venv && source .venv/bin/activate", 'pip install -e ".[dev]"']
    succeed(tmp_path / "here", *commands[3].split()[2:], "--print_config")
    assert "configs/data/mnist.yaml" in commands[3]
