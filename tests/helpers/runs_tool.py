"""Helpers of the tests of the runs tool."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import DIGITS, succeed
from helpers.run_files import record
from helpers.template import Render, git

SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=10",
    "--trainer.enable_progress_bar=false",
)


TINY = """import math

from torch import nn

from .. import WIDTH


class Tiny(nn.Sequential):
    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        inputs = math.prod(input_shape)
        super().__init__(nn.Flatten(), nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes))
"""


Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def tool_runs(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a subfolder of its repository, with a run of a commit, exp1, and one with changes since, exp2.

    Its code is broken then, so that only what a run's own commit and patch have can train.
    """
    repository = tmp_path_factory.mktemp("repository")
    project = repository / "deep" / "my-project"
    shutil.copytree(
        render(tooling=["runs"], datasets=["digits"], package_name="my_project"), project
    )
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "The project")
    local = project / "configs" / "local.yaml"
    local.write_text("seed_everything: 7\n")
    succeed(project, "fit", *DIGITS, *SHORT, "--name=exp1", "--test_after_fit=true")
    local.unlink()
    package = project / "src" / "my_project"
    with (package / "__init__.py").open("a") as file:
        file.write("\nWIDTH = 16\n")
    (package / "models" / "tiny.py").write_text(TINY)
    configs = ("-c", "data/digits.yaml", "-c", "model/simplenet.yaml")
    options = (
        "--model.net=my_project.models.tiny.Tiny",
        "--model.lr_scheduler=null",
        "--model.optimizer.lr=0.02",
    )
    succeed(project, "fit", *configs, *options, *SHORT, "--name=exp2", cwd=project / "configs")
    (package / "modules" / "classification.py").write_text("raise RuntimeError\n")
    (project / "data" / "mine").mkdir()
    (project / "data" / "mine" / "table.csv").write_text("1\n")
    return project


@pytest.fixture
def tool_project(tool_runs: Path, tmp_path: Path) -> Path:
    """A copy of that project, without its repository, for one test to work in."""
    return shutil.copytree(tool_runs, tmp_path / "my-project")


def edit(run: Path, change: Edit) -> None:
    """Change what a run's run.json says."""
    content = record(run)
    change(content)
    (run / "run.json").write_text(json.dumps(content))


def tool(project: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with the package where it would be installed."""
    command = [sys.executable, "-m", "my_project.runs", *args]
    variables = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "CUDA_VISIBLE_DEVICES": "",
        **env,
    }
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)


def printed(project: Path, *args: str, **env: str) -> str:
    """Run the command, see it succeed, and return what it prints."""
    done = tool(project, *args, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(project: Path, *args: str, **env: str) -> str:
    """Run the command, see it exit with 1, and return the line that says why, which is all that it prints."""
    done = tool(project, *args, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def in_turn(project: Path, *calls: list[str], **env: str) -> list[str]:
    """Run the command several times in one process, which imports torch but once; return what each says."""
    code = f"""if True:
        import contextlib, io, json
        from my_project.runs import main
        said = []
        for call in {calls!r}:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                try:
                    main(call)
                except SystemExit as error:
                    print(error.code)
            said.append(output.getvalue())
        print(json.dumps(said))
    """
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), **env}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return list(json.loads(done.stdout))


def table(project: Path, *args: str) -> list[dict[str, str]]:
    """Return the rows of the printed list by column."""
    lines = printed(project, *args).splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
    cells = [
        [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        for line in lines
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def listed(project: Path, *args: str) -> list[str]:
    """Return the names of the runs in the list."""
    return [row["name"] for row in table(project, *args)]
