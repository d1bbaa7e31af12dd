"""The template as users get it, rendered projects, and how their commands start."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plumbum
import pytest
from copier import run_copy
from helpers.commands import servers
from helpers.copier_cache import copier_cache
from helpers.server import Server
from helpers.template import QUESTIONS, ROOT, Render, git
from release import history

# Modules with fixtures that several test files use
pytest_plugins = [
    "helpers.updates",
    "helpers.command_line_driver",
    "helpers.datasets",
    "helpers.distributed",
    "helpers.loggers",
    "helpers.models",
    "helpers.project_in_use",
    "helpers.report",
    "helpers.resuming",
    "helpers.runs",
    "helpers.runs_tool",
    "helpers.search",
    "helpers.texts",
    "helpers.trained_project",
    "helpers.wandb_server",
]


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the developer's own settings out, and threads from slowing each other down."""
    # A shell starts a command in the background with Ctrl-C ignored, and so would be the processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    (home / "gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    (home / "settings.yml").write_text("{}\n")
    settings = {
        "COPIER_SETTINGS_PATH": str(home / "settings.yml"),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "MYPY_CACHE_DIR": str(
            ROOT / "build" / "mypy"
        ),  # what it finds out of libraries takes it most of its time
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
    }
    os.environ.update(settings)
    plumbum.local.env.update(
        settings
    )  # Copier runs git through it, and it has copied the environment already


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases, and the working tree, committed and tagged as the newest, in a repository of its own."""
    copy = tmp_path_factory.mktemp("the template")
    history(copy)
    git(copy, "rm", "-r", "--quiet", "--ignore-unmatch", ".")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git(copy, "add", "--all", "--force")
    git(copy, "commit", "--quiet", "-m", "The working tree")
    git(copy, "tag", "-a", "v999.0.0", "-m", "The working tree")
    return copy


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that renders a project with these answers, the others by default, and without trust."""

    def render(name: str = "my-project", **answers: Any) -> Path:
        unknown = answers.keys() - QUESTIONS.keys()
        assert not unknown, f"no such questions: {unknown}"
        project = tmp_path_factory.mktemp("rendered") / name
        run_copy(str(template), project, data=answers, defaults=True, quiet=True, unsafe=False)
        return project

    return render


@pytest.fixture(scope="session")
def default_project(render: Render) -> Path:
    """A project with default answers that tests read but do not change."""
    return render()


@pytest.fixture
def project(default_project: Path, tmp_path: Path) -> Path:
    """A copy of that project for one test to work in."""
    return shutil.copytree(default_project, tmp_path / "my-project")


@pytest.fixture(scope="session", autouse=True)
def warm(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Python by which `succeed` and `fail` start warmly."""
    server = Server(tmp_path_factory.mktemp("warm"))
    servers.append(server)
    yield server
    servers.remove(server)
    server.process.communicate()


@pytest.fixture(scope="session", autouse=True)
def _once() -> Iterator[None]:
    """Have Copier do once what it would do alike for each of hundreds of projects."""
    with copier_cache():
        gc.freeze()  # or Python would look for garbage among a million objects of PyTorch's again and again
        yield
