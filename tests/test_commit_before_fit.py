"""`--git_commit_before_fit`: a commit named after the run."""

from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.template import git
from helpers.trained_project import QUIET, SHORT, fit, go, last, only, refuse, refuse_digits, told


@pytest.fixture
def repository(project: Path) -> Path:
    """A project whose files are committed."""
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Start")
    return project


@pytest.mark.parametrize("logger", ["", "--trainer.logger CSVLogger", "--trainer.logger false"])
def test_a_commit_is_named_after_the_run(repository: Path, logger: str) -> None:
    (repository / "new.txt").write_text("new")
    (repository / "README.md").write_text("changed")
    output = go(repository, f"fit {SHORT} --name exp1 {logger} --git_commit_before_fit true")
    message = f"exp1_{only(repository / 'logs' / 'exp1').name}"
    assert git(repository, "log", "-1", "--format=%B").strip() == message
    assert told(output, "Git") == f"committed {message}"
    assert set(git(repository, "show", "--name-only", "--format=").split()) == {
        "README.md",
        "new.txt",
    }
    assert not git(repository, "status", "--porcelain")


def test_a_clean_tree_is_said_and_trained(repository: Path) -> None:
    output = go(repository, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert "clean" in told(output, "Git")
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"
    assert last(only(repository / "logs" / "exp1")).exists()


def test_no_repository_is_said_and_trained(project: Path) -> None:
    output = go(project, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert "no repository" in told(output, "Git")
    assert last(only(project / "logs" / "exp1")).exists()


def test_nothing_is_committed_unasked(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    fit(repository, f"{SHORT} --name exp1")
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"


@pytest.mark.parametrize(
    "poison", ["$(touch hacked)", "`touch hacked`", '"; touch hacked; "', "' && touch hacked #"]
)
def test_no_shell_sees_a_name_or_an_id(repository: Path, poison: str) -> None:
    refuse(repository, "fit", *DIGITS, *QUIET, f"--name={poison}", "--git_commit_before_fit=true")
    (repository / "new.txt").write_text("new")
    options = [f"--trainer.logger.version={poison}", "--git_commit_before_fit=true", "--name=exp1"]
    succeed(repository, "fit", *DIGITS, *QUIET, *SHORT.split(), *options)
    assert not list(repository.rglob("hacked"))
    assert (
        git(repository, "log", "-1", "--format=%B").strip()
        == f"exp1_{only(repository / 'logs' / 'exp1').name}"
    )


def test_a_hook_that_fails_stops_the_training_in_one_line(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho 'trailing space' >&2\necho 'in a.py' >&2\nexit 1\n")
    hook.chmod(0o755)
    (repository / "new.txt").write_text("new")
    line = refuse_digits(repository, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert line.startswith("cannot commit before fit") and "trailing space in a.py" in line
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"
