"""A run or a checkpoint from somebody else runs no code, and gives the terminal no orders."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from helpers.commands import DIGITS, run_warm, succeed
from helpers.template import Render, git

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
    project = render(datasets=["digits"], package_name="my_project", tooling=["export", "runs"])
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
    done = run_warm(project, *command, PYTHONPATH=str(project / "src"))
    assert done.returncode == 1
    assert "is no checkpoint of weights and plain data alone" in done.stderr
    assert not mark.exists()


def test_the_command_line_can_switch_it_off(project: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for checkpoint in (directory(project) / "checkpoints").iterdir():
        torch.save({"state_dict": Mark(mark)}, checkpoint)
    run_warm(project, "test", "--run=theirs", "--weights_only=false")
    assert mark.exists()


@pytest.mark.parametrize("place", ["web", "folder", "sharded"])
def test_a_runs_config_does_not_choose_the_checkpoint(
    project: Path, tmp_path: Path, place: str
) -> None:
    mark, served = tmp_path / "mark", serve_evil(tmp_path)
    with server_of(served) as address:
        path = {
            "web": f"{address}/evil.ckpt",
            "folder": served / "evil.ckpt",
            "sharded": served / "shards",
        }[place]
        config = directory(project) / "config.yaml"
        config.write_text(
            f"ckpt_path: {path}\nweights_only: false\nallow_untrained: true\n{config.read_text()}"
        )
        output = succeed(project, "test", "--run=theirs", TORCH_HOME=str(tmp_path))
    assert "best.ckpt" in output
    assert not mark.exists()


def test_a_checkpoint_from_the_web_is_loaded_safely(project: Path, tmp_path: Path) -> None:
    mark, served = tmp_path / "mark", serve_evil(tmp_path)
    with server_of(served) as address:
        command = ("test", "--run=theirs", f"--ckpt_path={address}/evil.ckpt")
        done = run_warm(project, *command, TORCH_HOME=str(tmp_path))
    assert done.returncode != 0
    assert "weights_only" in done.stderr
    assert not mark.exists()


def test_a_runs_config_does_not_commit(project: Path) -> None:
    config = directory(project) / "config.yaml"
    config.write_text(f"git_commit_before_fit: true\n{config.read_text()}")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=Begin")
    (project / "mine.txt").write_text("mine")
    run_warm(project, "fit", "--run=theirs", *QUICK)
    assert git(project, "log", "--format=%s") == "Begin\n"


def serve_evil(tmp_path: Path) -> Path:
    """Return a folder with a checkpoint, and a sharded one, that leave a mark when pickle reads them."""
    folder = tmp_path / "served"
    (folder / "shards").mkdir(parents=True)
    torch.save({"state_dict": Mark(tmp_path / "mark")}, folder / "evil.ckpt")
    (folder / "shards" / ".metadata").write_bytes(pickle.dumps(Mark(tmp_path / "mark")))
    return folder


@contextmanager
def server_of(folder: Path) -> Iterator[str]:
    """Serve a folder, and give its address."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing about requests."""


@pytest.mark.parametrize("place", ["logs.evil.Net", "evil.Net"])
@pytest.mark.parametrize(
    "start",
    [
        ("src/main.py",),
        ("-m", "my_project"),
        ("-c", "from my_project.__main__ import main; main()"),
    ],
    ids=["main.py", "-m", "console script"],
)
def test_a_file_in_a_runs_folder_is_not_imported(
    project: Path, start: tuple[str, ...], place: str
) -> None:
    """Its config names it by a path from the working directory, or from the run's own, where no classes come from."""
    config = directory(project) / "config.yaml"
    mark = project / "mark"
    evil = directory(project) / "evil.py" if place == "evil.Net" else project / "logs" / "evil.py"
    # the path is absolute, because jsonargparse changes the working directory while it reads a config
    evil.write_text(f"open({str(mark)!r}, 'w')\n\n\nclass Net: pass\n")
    config.write_text(config.read_text().replace("my_project.models.simplenet.SimpleNet", place))
    assert f" {place}\n" in config.read_text()
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *start, "test", "--run=theirs"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert place.rpartition(".")[0] in done.stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "my_project.runs", "list"),
        ("-m", "my_project.runs", "diff", "theirs", "theirs"),
        ("test", "--run=theirs"),
    ],
    ids=["list", "diff", "test"],
)
def test_what_a_run_holds_gives_the_terminal_no_orders(
    project: Path, command: tuple[str, ...]
) -> None:
    order = "\x1b]0;theirs\x07\x1b[2J"
    record = directory(project) / "run.json"
    values = json.loads(record.read_text())
    values["status"] = order
    values["metrics"][order] = 1.0
    record.write_text(json.dumps(values))
    config = directory(project) / "config.yaml"
    config.write_text(f"{json.dumps(order)}: 1\n{config.read_text()}")
    done = run_warm(project, *command, PYTHONPATH=str(project / "src"))
    printed = done.stdout + done.stderr
    assert r"\x1b[2J" in printed
    assert "\x1b" not in printed and "\x07" not in printed
