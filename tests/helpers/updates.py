"""Projects of every release, and updates of them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from copier import VcsRef, run_copy, run_update
from release import releases

from helpers.template import ROOT, choices_of, files, git

RELEASES = releases()


ANSWERS = ".copier-answers.yml"


EVERYTHING: dict[str, Any] = {
    name: choices_of(name) for name in ("loggers", "datasets", "models", "tooling")
} | {"git_hooks": True, "readme_language": "en+zh"}


MARKERS = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def copy(template: Path, folder: Path, version: str, **answers: Any) -> Path:
    """Render a project from a version of the template, and commit it."""
    run_copy(
        str(template),
        folder,
        data=answers,
        vcs_ref=version,
        defaults=True,
        quiet=True,
        unsafe=False,
    )
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "x")


def update(
    project: Path,
    version: str | VcsRef | None = None,
    conflict: Literal["inline", "rej"] = "inline",
    exclude: Sequence[str] = (),
    **answers: Any,
) -> None:
    """Update a project to a version of the template, the working tree by default."""
    run_update(
        project,
        data=answers,
        vcs_ref=version,
        conflict=conflict,
        exclude=exclude,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
    )


def answers_of(project: Path) -> dict[str, Any]:
    recorded = yaml.safe_load((project / ANSWERS).read_text())
    return {name: answer for name, answer in recorded.items() if name[0] != "_"}


def owned(owner: str) -> set[str]:
    """Return the files of an owner from the table in docs/updating.md."""
    row = re.search(
        rf"^\| {owner} \| .*? \| (.*) \|$",
        (ROOT / "docs" / "updating.md").read_text(),
        re.MULTILINE,
    )
    assert row
    return set(re.findall("`([^`]+)`", row[1]))


def is_yours(name: str) -> bool:
    """Return whether an update leaves a file alone, be it the user's or of an older version."""
    return re.sub(r"^src/\w+/", "src/<package>/", name) in owned("you") | owned("nobody")


def contents(project: Path) -> dict[str, bytes]:
    return {
        name: (project / name).read_bytes()
        for name in files(project)
        if not name.startswith(".git/")
    }


def after_update(before: dict[str, bytes], fresh: dict[str, bytes]) -> dict[str, bytes]:
    """Return what an untouched project is after an update: as fresh, but what is the user's stays as it was."""
    theirs = {name: content for name, content in fresh.items() if not is_yours(name)}
    yours = {name: content for name, content in before.items() if is_yours(name)}
    moved = {
        name: (ROOT / "template" / name).read_bytes() for name in before.keys() & owned("moved")
    }
    return theirs | yours | moved


@pytest.fixture(scope="session")
def started(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives a fresh copy of a project from a release, with default answers or all choices."""
    originals: dict[tuple[str, bool], Path] = {}

    def started(release: str, everything: bool = False) -> Path:
        key = release, everything
        if key not in originals:
            answers = EVERYTHING if everything else {}
            choices = questions(template, release)
            answers = {name: [c for c in answer if c in choices[name]] if isinstance(answer, list) else answer
                       for name, answer in answers.items()}  # fmt: skip
            originals[key] = copy(
                template, tmp_path_factory.mktemp("started") / "my project", release, **answers
            )
        return shutil.copytree(
            originals[key], tmp_path_factory.mktemp("my projects") / "my project"
        )

    return started


@pytest.fixture(scope="session")
def fresh(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], dict[str, bytes]]:
    """Return a function that renders the working tree anew with the answers of a project."""

    def fresh(project: Path) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp("fresh") / project.name
        # In projects of releases that did not record it, an update leaves these packages where they are.
        answers = {"dev_dependencies": "extra", **answers_of(project)}
        run_copy(str(template), folder, data=answers, defaults=True, quiet=True, unsafe=False)
        return contents(folder)

    return fresh


def questions(template: Path, version: str) -> dict[str, tuple[Any, ...]]:
    """Return the questions of a version with their choices, if they have any."""
    settings = yaml.safe_load(git(template, "show", f"{version}:copier.yml"))
    return {
        name: tuple(
            dict(question["choices"]).values()
            if isinstance(question["choices"], dict)
            else question["choices"]
        )
        if "choices" in question
        else ()
        for name, question in settings.items()
        if name[0] != "_" and question.get("when", True)
    }


def conflicts(project: Path) -> set[str]:
    """Return the files that are marked as conflicts, and see that they are those that have markers in them."""
    unmerged = set(git(project, "diff", "--name-only", "--diff-filter=U").splitlines())
    marked = {
        name
        for name, content in contents(project).items()
        if MARKERS.search(content.decode(errors="replace"))
    }
    assert unmerged == marked
    return unmerged


def undo(project: Path) -> None:
    """Take an update back with the command that the message after it gives."""
    message = yaml.safe_load((ROOT / "copier.yml").read_text())["_message_after_update"]
    command = re.search(r"Undo all of it: +(.*)", message)
    assert command
    subprocess.run(command[1], shell=True, cwd=project, check=True, capture_output=True)
    assert not git(project, "status", "--porcelain")


def release_version(template: Path, version: str) -> None:
    commit(template)
    git(template, "tag", "--annotate", version, "--message", version)


def copier(project: Path, *args: str) -> str:
    """Run `copier update` as a user does, and return what it prints."""
    command = [sys.executable, "-m", "copier", "update", "--defaults", *args]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
