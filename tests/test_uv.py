"""uv locks and installs a rendered project, the lock is what CI takes, and an older project keeps its extra `dev`.

PyPI is a folder of wheels without code here, one for each package of the tests' environment.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.template import Render
from helpers.updates import commit, conflicts, update

HERE = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
UV = shutil.which("uv", path=HERE)
needs_uv = pytest.mark.skipif(not UV, reason="needs uv")
# As in an owner's pyproject.toml: the tests' environment has the packages of this machine alone.
HERE_ALONE = f"""
[tool.uv]
environments = ["sys_platform == '{sys.platform}' and python_version == '{sys.version_info[0]}.{sys.version_info[1]}'"]
"""


def write_wheel(folder: Path, name: str, version: str, metadata: str = "") -> None:
    """Write a wheel that has metadata alone."""
    stem = f"{re.sub('[-.]', '_', name)}-{version}"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{stem}.dist-info/METADATA", head + metadata)
        wheel.writestr(f"{stem}.dist-info/WHEEL", tags)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of every installed package, with what it requires."""
    folder = tmp_path_factory.mktemp("wheels")
    for distribution in importlib.metadata.distributions():
        lines = [f"Requires-Dist: {line}\n" for line in distribution.requires or []]
        extras = distribution.metadata.get_all("Provides-Extra") or []
        lines += [f"Provides-Extra: {extra}\n" for extra in extras]
        write_wheel(
            folder, distribution.metadata["Name"], distribution.version, metadata="".join(lines)
        )
    write_wheel(folder, "einops", "0.8.2")
    return folder


class Machine:
    """A machine whose only index is a folder of wheels."""

    def __init__(self, wheels: Path, home: Path) -> None:
        self.env = {
            **{name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"},
            "PATH": HERE,
            "UV_CACHE_DIR": str(home / "cache"),
            "UV_FIND_LINKS": str(wheels),
            "UV_NO_INDEX": "1",
            "UV_OFFLINE": "1",
            "UV_PYTHON": sys.executable,
        }

    def attempt(self, project: Path, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, shell=True, cwd=project, env=self.env, capture_output=True, text=True
        )

    def run(self, project: Path, command: str) -> str:
        """Run a shell command, see it succeed, and return what it prints."""
        done = self.attempt(project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def machine(wheels: Path, tmp_path: Path) -> Machine:
    return Machine(shutil.copytree(wheels, tmp_path / "wheels"), tmp_path)


@pytest.fixture
def locked(render: Render, machine: Machine, tmp_path: Path) -> Path:
    """A project with a lock."""
    tooling = ["docker", "docs", "github_actions"]
    project = shutil.copytree(render(tooling=tooling, git_hooks=False), tmp_path / "project")
    path = project / "pyproject.toml"
    path.write_text(path.read_text() + HERE_ALONE)
    machine.run(project, "uv lock")
    return project


def installed(project: Path) -> set[str]:
    """Return the packages in a project's environment."""
    found = (project / ".venv").glob("lib/python*/site-packages/*.dist-info")
    return {path.name.partition("-")[0].lower() for path in found}


def ci_commands(project: Path, versions: Path) -> list[str]:
    """Return how the workflow installs the project, with the constraints in a file of the test's own."""
    workflow = yaml.safe_load((project / ".github" / "workflows" / "ci.yml").read_text())
    lines = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    return [line.replace("/tmp/versions.txt", str(versions)) for line in lines[:2]]


@needs_uv
def test_sync_installs_what_development_needs_and_a_group_more(
    locked: Path, machine: Machine
) -> None:
    machine.run(locked, "uv sync --no-install-project")
    assert {"lightning", "mypy", "pytest", "ruff", "torch"} <= installed(locked)
    assert "sphinx" not in installed(locked)
    machine.run(locked, "uv sync --no-install-project --group docs")
    assert "sphinx" in installed(locked)
    machine.run(locked, "uv add --no-sync einops")
    dependencies = tomllib.loads((locked / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any(line.startswith("einops>=") for line in dependencies)


@needs_uv
def test_ci_and_the_image_take_the_versions_of_the_lock(
    locked: Path, machine: Machine, tmp_path: Path
) -> None:
    write_wheel(tmp_path / "wheels", "torchmetrics", "2.99")  # released after the lock was written
    export, install = ci_commands(locked, tmp_path / "versions.txt")
    (image,) = re.findall(r"then (uv export .*) > ", (locked / "Dockerfile").read_text())
    old = f"torchmetrics=={importlib.metadata.version('torchmetrics')}"
    machine.run(locked, "uv venv")
    install = install.replace("install", "install --dry-run --python .venv", 1)
    machine.run(locked, export)
    printed = machine.run(locked, install)
    assert f"+ {old}" in printed and "+ pytest==" in printed
    constraints = machine.run(locked, image)
    assert old in constraints and "\npytest==" not in constraints

    (locked / "uv.lock").unlink()
    machine.run(locked, export)
    assert "+ torchmetrics==2.99" in machine.run(locked, install)


@needs_uv
def test_a_lock_that_does_not_fit_is_refused(
    locked: Path, machine: Machine, tmp_path: Path
) -> None:
    path = locked / "pyproject.toml"
    path.write_text(path.read_text().replace('    "filelock', '    "einops",\n    "filelock'))
    export, _ = ci_commands(locked, tmp_path / "versions.txt")
    done = machine.attempt(locked, export)
    assert done.returncode != 0 and "needs to be updated" in done.stderr


def edited(project: Path) -> Path:
    """Have a project of version 0.2.0 in use: with a dependency and a development dependency of its owner's."""
    path = project / "pyproject.toml"
    mark = "    # Add your own below this line\n"
    first, second, rest = path.read_text().split(mark)
    text = f'{first}{mark}    "einops",\n{second}{mark}    "pexpect",\n{rest}{HERE_ALONE}'
    path.write_text(text)
    commit(project)
    return project


def lists(project: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the dependencies of a project, its extra `dev` and its group `dev`."""
    content = tomllib.loads((project / "pyproject.toml").read_text())
    extras = content["project"].get("optional-dependencies", {})
    groups = content.get("dependency-groups", {})
    return content["project"]["dependencies"], extras.get("dev", []), groups.get("dev", [])


def test_an_older_project_keeps_its_extra_until_its_owner_wants_a_group(
    started: Callable[..., Path],
) -> None:
    project = edited(started("v0.2.0", everything=True))
    update(project)
    assert "pyproject.toml" not in conflicts(project)
    dependencies, extra, group = lists(project)
    assert dependencies[-1] == "einops" and not group
    assert extra[-1] == "pexpect" and "pytest>=8" in extra
    install = ci_commands(project, Path("versions.txt"))[1]
    assert install.endswith(" --editable '.[dev]'")
    commit(project)
    update(project, dev_dependencies="group")
    assert not conflicts(project)
    assert lists(project) == (dependencies, [], extra)
    assert ci_commands(project, Path("versions.txt"))[1].endswith(" --editable . --group dev")


@needs_uv
def test_uv_installs_an_older_projects_extra(
    started: Callable[..., Path], machine: Machine
) -> None:
    project = edited(started("v0.2.0"))
    update(project)
    assert not conflicts(project)
    machine.run(project, "uv sync --no-install-project --extra dev")
    assert {"einops", "pexpect", "pytest", "torch"} <= installed(project)
