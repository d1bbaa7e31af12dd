"""What the optional commands leave in the directories of runs: only what each is for, whole or not at all."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, run_warm, succeed
from helpers.template import Render, files

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
CONFIGS = " ".join(DIGITS)
# Each command, and which files it adds to the run's directory
FINISHED = [
    ("runs list", set()),
    ("runs diff e e", set()),
    ("runs summary --name e", set()),
    ("runs plot --metric val/acc --output plot.svg", set()),
    ("export --run e --format safetensors", {"best.safetensors"}),
    ("model_card --run e", set()),
    (f"repeat --seeds 1..1 {CONFIGS} --name other {' '.join(QUICK)}", set()),
]
REFUSED = [
    "runs diff e nothing",
    "runs plot --metric val/nothing --output plot.svg",
    "runs plot --metric val/acc --output plot.png",
    "runs reproduce e --tolerance x",
    "export --run e --format nothing",
    "export --run nothing --format safetensors",
    "model_card --run nothing",
    f"repeat --seeds 0..x {CONFIGS} --name other",
]


@pytest.fixture(scope="module")
def trained(render: Render) -> Path:
    tooling = ["export", "paper", "repeat", "runs"]
    project = render(datasets=["digits"], package_name="my_project", loggers=[], tooling=tooling)
    succeed(project, "fit", *DIGITS, *QUICK, "--name=e", "--test_after_fit=true")
    return project


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "my-project")


def contents(project: Path) -> dict[str, bytes]:
    (directory,) = project.glob("logs/e/*")
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def use(project: Path, command: str) -> int:
    tool, *arguments = command.split()
    source = str(project / "src")
    done = run_warm(project, "-m", f"my_project.{tool}", *arguments, PYTHONPATH=source)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


@pytest.mark.parametrize(("command", "added"), FINISHED, ids=[row[0] for row in FINISHED])
def test_a_tool_adds_its_own_files_alone(project: Path, command: str, added: set[str]) -> None:
    before = contents(project)
    assert use(project, command) == 0
    after = contents(project)
    assert after.keys() - before.keys() == added
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("command", REFUSED)
def test_a_refused_tool_changes_nothing(project: Path, command: str) -> None:
    before = contents(project)
    others = files(project)
    assert use(project, command) == 1
    assert contents(project) == before
    new = files(project) - others
    assert not [name for name in new if "__pycache__" not in name]
