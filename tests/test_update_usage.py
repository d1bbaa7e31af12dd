"""What an updated project does: its message, its tests and its old runs."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import DIGITS
from helpers.server import Server
from helpers.template import ROOT, git, sweep
from helpers.updates import RELEASES, commit, copier, update
from packaging.version import Version


@pytest.mark.parametrize(
    ("release", "everything"),
    [
        *((release, False) for release in RELEASES[:-1]),
        *((release, True) for release in RELEASES[-1:]),
        *sweep(*((release, True) for release in RELEASES[:-1])),
    ],
)
def test_the_updated_project_passes_its_tests_and_its_old_runs_go_on(
    started: Callable[..., Path], warm: Server, release: str, everything: bool
) -> None:
    project = started(release, everything)
    quiet = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")

    def accuracy(*args: str) -> str:
        done = warm.run(project, *args)
        assert done.returncode == 0, done.stderr
        found = re.search(r"test/acc\s*│\s*([\d.]+)", done.stdout)
        assert found
        return found[1]

    constant = "--model.lr_scheduler=null"  # the one of the config plans for a number of epochs
    before = accuracy(
        "fit", *DIGITS, *quiet, constant, "--trainer.max_epochs=2", "--test_after_fit=true"
    )
    update(project)
    commit(project)
    assert accuracy("test", "--run=last") == before
    assert accuracy("fit", "--run=last", "--trainer.max_epochs=3", "--test_after_fit=true")
    assert len(list((project / "logs" / "default").iterdir())) == 1
    done = warm.run(project, "-m", "pytest", "-q")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout


@pytest.mark.parametrize("release", RELEASES)
def test_the_message_says_what_is_new_and_how_to_see_and_undo_it(
    started: Callable[..., Path], release: str
) -> None:
    project = started(release)
    message = copier(project)
    assert f"From {release} to v999.0.0:" in message
    sections = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1:]
    for section in sections:
        is_new = section.startswith("Unreleased") or Version(section.split()[0]) > Version(release)
        assert (section.strip() in message) is is_new
    documented = (ROOT / "docs" / "updating.md").read_text()
    end = documented[documented.rindex("See what it did:") :].partition("```")[0]
    assert end in message
    commands = re.findall("(?m)^[A-Z][a-z ]+: +(git .*?)(?:    .*)?$", end)
    assert len(commands) == 4
    for command in commands:
        subprocess.run(command, shell=True, cwd=project, check=True)
    assert not git(project, "status", "--porcelain")
    assert "From" not in copier(project, "--vcs-ref", ":current:", "-d", "user_name=Ada")
