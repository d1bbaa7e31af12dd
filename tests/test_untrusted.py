"""A run or a checkpoint from somebody else runs no code when it is tested, continued or exported."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DIGITS, Render, run, succeed

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=2",
    "--trainer.enable_progress_bar=false",
)


class Mark:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def trained(render: Render) -> Path:
    project = render(datasets=["digits"], package_name="my_project", tooling=["export"])
    succeed(project, "fit", *DIGITS, *QUICK, "--name=theirs")
    return project


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "my-project")


def directory(project: Path) -> Path:
    (found,) = project.glob("logs/theirs/*")
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("test", "--run=theirs"),
        ("validate", "--run=theirs"),
        ("predict", "--run=theirs"),
        ("fit", "--run=theirs", "--trainer.max_epochs=2"),
        ("-m", "my_project.export", "--run=theirs", "--format=safetensors"),
    ],
)
def test_a_runs_config_does_not_switch_off_safe_loading(
    project: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    mark = tmp_path / "mark"
    config = directory(project) / "config.yaml"
    config.write_text(f"weights_only: false\n{config.read_text()}")
    for checkpoint in (directory(project) / "checkpoints").iterdir():
        torch.save({"state_dict": Mark(mark)}, checkpoint)
    run(project, *command, PYTHONPATH=str(project / "src"))
    assert not mark.exists()


def test_the_command_line_can_switch_it_off(project: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for checkpoint in (directory(project) / "checkpoints").iterdir():
        torch.save({"state_dict": Mark(mark)}, checkpoint)
    run(project, "test", "--run=theirs", "--weights_only=false")
    assert mark.exists()


@pytest.mark.parametrize(
    "start",
    [("src/main.py",), ("-m", "my_project"), ("-c", "from my_project.__main__ import main; main()")],
    ids=["main.py", "-m", "console script"],
)
def test_a_file_in_a_runs_folder_is_not_imported(project: Path, start: tuple[str, ...]) -> None:
    """Its config names it by a path from the working directory, which is not where classes come from."""
    config = directory(project) / "config.yaml"
    (project / "logs" / "evil.py").write_text("open('mark', 'w')\n\n\nclass Net: pass\n")
    config.write_text(config.read_text().replace("my_project.models.simplenet.SimpleNet", "logs.evil.Net"))
    assert "logs.evil.Net" in config.read_text()
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *start, "test", "--run=theirs"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "logs.evil" in done.stderr
    assert not (project / "mark").exists()
