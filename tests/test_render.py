"""What the answers render: which files, and that every one of them is in order."""

import hashlib
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy, run_update
from helpers.commands import succeed
from helpers.template import QUESTIONS, ROOT, Render, git

TEMPLATE = ROOT / "template"
LOGGERS = (
    "csv",
    "tensorboard",
    "mlflow",
    "swanlab",
    "comet",
    "wandb",
)  # from the last choice to the first


def read(project: Path, name: str) -> Any:
    """Return what a YAML or TOML file says."""
    text = (project / name).read_text()
    return tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)


def test_the_first_logger_is_the_default_and_the_others_have_a_config(render: Render) -> None:
    for other, first in itertools.combinations(LOGGERS, 2):
        project = render(loggers=[first, other])
        default, another = (
            read(project, f"configs/{name}.yaml")["trainer"]["logger"]
            for name in ("default", f"logger/{other}")
        )
        assert (first == "csv" and default is False) or first in default["class_path"].lower()
        assert [path.stem for path in (project / "configs" / "logger").iterdir()] == [other]
        assert (other == "csv" and another is False) or other in another["class_path"].lower()
    project = render(loggers=[])
    assert read(project, "configs/default.yaml")["trainer"]["logger"] is False
    assert not (project / "configs" / "logger").exists()


def test_a_project_without_wandb_has_no_trace_of_it(default_project: Path) -> None:
    answers = (default_project / ".copier-answers.yml").read_text()
    assert "loggers:\n- tensorboard" in answers
    for path in default_project.rglob("*"):
        assert not path.is_file() or not re.search(
            rb"(?i)wandb|weights & biases", path.read_bytes()
        ), path


def test_without_git_hooks_there_is_no_trace_of_them(render: Render) -> None:
    project = render(git_hooks=False)
    assert (
        "pre-commit"
        not in (project / "README.md").read_text() + (project / "pyproject.toml").read_text()
    )


def test_names_and_addresses_reach_the_licence_and_the_packaging(render: Render) -> None:
    project = render(
        user_name="Ada Lovelace",
        user_email="ada@example.org",
        project_name="数字",
        package_name="shuzi",
    )
    metadata = read(project, "pyproject.toml")["project"]
    assert metadata["authors"] == [{"name": "Ada Lovelace", "email": "ada@example.org"}]
    assert metadata["scripts"] == {"shuzi": "shuzi.__main__:main"}
    year = read(project, ".copier-answers.yml")["copyright_year"]
    assert f"Copyright (c) {year} Ada Lovelace\n" in (project / "LICENSE").read_text()
    assert (project / "README.md").read_text().startswith("# 数字\n")


# MD5 of the official texts, in which nothing is filled in
OFFICIAL = {
    "Apache-2.0": "3b83ef96387f14655fc854ddc3c6bd57",
    "GPL-3.0-or-later": "1ebbd3e34237af26da5dc08a4e440464",
    "AGPL-3.0-or-later": "eb1e647870add0502f8f010b19de32af",
    "MPL-2.0": "815ca599c9df247a0c7f619bab123dad",
}


@pytest.mark.parametrize("name", QUESTIONS["license"]["choices"].values())
def test_the_licence_is_named_and_its_text_is_there(render: Render, name: str) -> None:
    project = render(license=name, user_name="Ada Lovelace", copyright_year="2031")
    text = (project / "LICENSE").read_text()
    spdx = "LicenseRef-Proprietary" if name == "Proprietary" else name
    assert read(project, "pyproject.toml")["project"]["license"] == spdx
    assert ("Copyright (c) 2031 Ada Lovelace" in (project / "README.md").read_text()) == (
        name != "Unlicense"
    )
    if name in OFFICIAL:
        assert hashlib.md5(text.encode()).hexdigest() == OFFICIAL[name]
    elif name != "Unlicense":
        assert re.search(r"Copyright \(c\) 2031,? Ada Lovelace\n", text)


def test_python_files_in_the_template_have_jinja_in_import_lines_alone() -> None:
    for path in TEMPLATE.rglob("*.py*"):
        for line in path.read_text().splitlines():
            if "{{" in line or "{%" in line:
                assert path.suffix == ".jinja" and re.match(
                    r"from \{\{ package_name \}\}[\w.]* import ", line
                ), line


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
    users = [
        ".env.example",
        "README.md.jinja",
        "configs/model/simplenet.yaml.jinja",
        f"{package}/models/simplenet.py",
    ]
    templates = [f"{package}/cli.py", f"{package}/data_modules/in_memory.py"]
    for name in (
        *users,
        f"{package}/modules/classification.py",
        f"{package}/data_modules/mnist.py",
        *templates,
    ):
        (origin / "template" / name).write_text(
            "# new\n" + (origin / "template" / name).read_text()
        )
    git(origin, "commit", "--quiet", "--all", "-m", "New")
    git(origin, "tag", "-a", "v1000.0.0", "-m", "New")
    run_update(project, defaults=True, overwrite=True, quiet=True)

    assert read(project, ".copier-answers.yml")["_commit"] == "v1000.0.0"
    changed = {line[3:] for line in git(project, "status", "--porcelain").splitlines()}
    arrived = {name.replace("{{package_name}}", "my_project") for name in templates}
    assert changed == {".copier-answers.yml", *arrived}
    assert (project / "README.md").read_text().endswith("Mine.\n")


def test_the_message_after_the_copy_gives_commands_that_work(
    template: Path, tmp_path: Path
) -> None:
    copy = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        "-d",
        "datasets=[mnist]",
        str(template),
        "here",
    ]
    message = subprocess.run(copy, cwd=tmp_path, check=True, capture_output=True, text=True).stderr
    lines = re.findall(r"^  \S.*", message.replace("\\\n", ""), re.MULTILINE)
    commands = [" ".join(line.split()) for line in lines]
    change, *before, fit = commands
    assert change == "cd here"
    assert before == ["uv sync", 'git init && git add --all && git commit --message "Start"']
    project = tmp_path / "here"
    (project / ".venv").mkdir()  # what `uv sync` makes, which test_uv.py runs
    (project / ".venv" / "large").write_text("")
    subprocess.run(["bash", "-euc", before[1]], cwd=project, check=True, capture_output=True)
    assert not git(project, "status", "--porcelain") and not git(project, "ls-files", ".venv")
    assert fit.startswith("uv run python src/main.py fit ")
    succeed(project, *fit.split()[4:], "--print_config")
    assert "configs/data/mnist.yaml" in fit
