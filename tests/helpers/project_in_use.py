"""A project in use, to which an update must do no harm."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import plumbum
import pytest

from helpers.updates import RELEASES, commit, contents, copy, questions

MARK = "# the owner's line"


TOOLING = ["vscode", "devcontainer", "docker", "makefile", "docs", "gitlab_ci"]


# Own files that are committed, and own files that git ignores
ADDED = {
    "configs/data/mine.yaml": "data: my_project.data_modules.digits.DigitsDataModule\n",
    "configs/experiment/größe 1.yaml": "seed_everything: 1\n",
    "src/my_project/callbacks/mine.py": "MINE = 1\r\n",
    "src/my_project/metrics/mine.py": "MINE = 1\n",
    "src/my_project/models/mine.py": "MINE = 1\n",
    "src/my_project/modules/mine.py": "MINE = 1",
    "src/my_project/engine_of_mine/__init__.py": "",
    "tests/test_mine.py": "def test_mine() -> None: ...\n",
    "notes.rej": "not an edit that was rejected\n",
}


IGNORED = {
    ".env": "SECRET=1\n",
    "configs/local.yaml": "trainer:\n  accelerator: cpu\n",
    "data/mine/train.csv": "1,2\n",
    "logs/exp1/1/metrics.csv": "step\n1\n",
    "private/mine.py": "MINE = 1\n",
}


# Shipped files that an owner changes, and a line of each of them after which the owner's comes
CHANGED = {
    ".gitignore": "# Add your own below this line",
    "configs/default.yaml": "trainer:",
    "configs/data/digits.yaml": "data:",
    "src/my_project/cli.py": "class CLI",
    "src/my_project/data_modules/digits.py": "import",
    "src/my_project/data_modules/in_memory.py": "class InMemory",
    "src/my_project/models/simplenet.py": "import",
    "src/my_project/utils/project.py": "import",
    "README.md": "# ",
    "Makefile": "test:",
    "Dockerfile": "FROM",
    ".vscode/settings.json": "{",
}


DELETED = [
    ".vscode/launch.json",
    "configs/trainer/debug.yaml",
    "src/my_project/utils/optim.py",
    ".gitlab-ci.yml",
    "docs/conf.py",
]


def own(project: Path) -> None:
    """Add files to a project, change some of its files, delete others, and commit."""
    for name, line in CHANGED.items():
        path = project / name
        before, found, after = path.read_text().partition(line)
        assert found, f"{name} has no {line}"
        path.write_text(f"{before}{MARK}\n{found}{after}")
    for name in DELETED:
        (project / name).unlink()
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("/private/\n*.tmp\n")
    for name, text in (ADDED | IGNORED).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(text.encode())
    commit(project)


def check_kept(project: Path) -> None:
    """Check that a project still has all that its owner made of it."""
    after = contents(project)
    assert {name: after.get(name) for name in ADDED | IGNORED} == {
        name: text.encode() for name, text in (ADDED | IGNORED).items()
    }
    assert not after.keys() & set(DELETED)
    for name in CHANGED:
        assert MARK in after[name].decode(), f"{name} has lost the owner's line"
    assert [name for name in after if name.endswith(".rej")] == ["notes.rej"]


@pytest.fixture(scope="module")
def owned_projects(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function that gives a project of a release that its owner has worked in; a test copies it."""
    projects: dict[str, Path] = {}

    def owned(release: str) -> Path:
        if release not in projects:
            choices = questions(template, release)["tooling"]
            tooling = [name for name in TOOLING if name in choices]
            project = tmp_path_factory.mktemp("owned") / "my project"
            projects[release] = copy(template, project, release, tooling=tooling)
            own(project)
        return projects[release]

    return owned


@pytest.fixture
def owned(owned_projects: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives a copy of such a project in a folder of this name."""

    def owned(release: str = RELEASES[-1], name: str = "my project") -> Path:
        return shutil.copytree(owned_projects(release), tmp_path / name, symlinks=True)

    return owned


@pytest.fixture
def git_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Return a function that adds lines to the user's own git configuration."""
    config = tmp_path / "gitconfig"
    shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], config)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))

    def add(setting: str) -> None:
        name, _, value = setting.partition(" ")
        subprocess.run(["git", "config", "--global", name, value], check=True)

    with plumbum.local.env(GIT_CONFIG_GLOBAL=str(config)):
        yield add
