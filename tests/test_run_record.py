"""run.json: what happened, and the code that it came from."""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import succeed
from helpers.run_files import record
from helpers.runs import DATA, QUIET, SHORT, fit, rows, runs
from helpers.template import git


def test_run_json_says_what_happened_and_what_it_came_from(noisy_project: Path) -> None:
    arguments = [
        "fit",
        *DATA,
        *SHORT,
        "--name=said",
        "--seed_everything=7",
        "--trainer.max_epochs=1",
    ]
    succeed(noisy_project, *arguments)
    (directory,) = runs(noisy_project, "said")
    said = record(directory)
    assert (said["schema"], said["name"], said["id"], said["seed"]) == (
        1,
        "said",
        directory.name,
        "7",
    )
    assert said["git"] == {
        "commit": git(noisy_project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": False,
    }
    assert (directory / "code.patch").read_text() == ""
    assert said["python"] == platform.python_version() and said["torch"] == torch.__version__
    assert said["cuda"] == torch.version.cuda
    assert said["lightning"] == importlib.metadata.version("lightning")
    assert said["packages"]["jsonargparse"] == importlib.metadata.version("jsonargparse")
    assert said["host"] == platform.node() and said["cores"] == os.cpu_count() and said["processor"]
    assert said["template"]["datasets"] == ["digits"] and said["template"]["_commit"] == "v999.0.0"
    assert said["start"] <= said["end"] and said["status"] == "finished" and said["error"] is None
    assert said["metrics"]["val/acc"] == float(rows(directory)[-1]["val/acc"])
    (entry,) = said["commands"]
    assert entry["command"].split() == arguments
    assert entry["start"] <= entry["end"] and entry["status"] == "finished"

    succeed(noisy_project, "test", "--run=said", *QUIET)
    after = record(directory)
    assert after["metrics"].keys() == {*said["metrics"], "test/acc", "test/f1", "test/loss"}
    assert {**after, "metrics": 0, "commands": 0} == {**said, "metrics": 0, "commands": 0}


def test_the_packages_are_those_that_are_imported(noisy_project: Path, tmp_path: Path) -> None:
    (tmp_path / "tqdm-0.1.dist-info").mkdir()
    (tmp_path / "tqdm-0.1.dist-info" / "METADATA").write_text(
        "Name: tqdm\nVersion: 0.1\n"
    )  # before the other one
    (tmp_path / "left-1.0.dist-info").mkdir()
    succeed(
        noisy_project,
        "fit",
        *DATA,
        *SHORT,
        "--name=two",
        "--trainer.max_epochs=1",
        PYTHONPATH=str(tmp_path),
    )
    (directory,) = runs(noisy_project, "two")
    assert record(directory)["packages"]["tqdm"] == "0.1"


def test_changes_since_the_commit_are_in_the_patch(noisy_project: Path, tmp_path: Path) -> None:
    readme = noisy_project / "README.md"
    readme.write_text(readme.read_text() + "\nnew line\n")
    new = {
        "src/my_project/models/new.py": "NEW = 1\n",
        "configs/model/new.yaml": "model: {}\n",
        "elsewhere.txt": "x\n",
    }
    for name, text in new.items():
        (noisy_project / name).write_text(text)
    (noisy_project / "src" / "weights.bin").write_bytes(bytes(range(256)))
    (noisy_project / "src" / "large.txt").write_text("x" * 1_000_001)
    status = git(noisy_project, "status", "--porcelain")
    directory = fit(noisy_project, "--name=changed", "--trainer.max_epochs=1")
    assert record(directory)["git"]["dirty"] is True
    assert git(noisy_project, "status", "--porcelain") == status, "the index is as it was"

    git(
        noisy_project,
        "worktree",
        "add",
        "--quiet",
        str(tmp_path / "again"),
        record(directory)["git"]["commit"],
    )
    git(tmp_path / "again", "apply", "--allow-empty", str(directory / "code.patch"))
    assert (tmp_path / "again" / "README.md").read_text() == readme.read_text()
    assert (
        tmp_path / "again" / "src" / "my_project" / "models" / "new.py"
    ).read_text() == "NEW = 1\n"
    assert (tmp_path / "again" / "configs" / "model" / "new.yaml").exists()
    for name in ("elsewhere.txt", "src/weights.bin", "src/large.txt"):
        assert not (tmp_path / "again" / name).exists(), name


def test_whatever_else_lies_in_the_project_the_code_is_recorded(noisy_project: Path) -> None:
    (noisy_project / "weights.bin").write_bytes(bytes(range(256)))
    git(noisy_project, "add", "weights.bin")
    git(noisy_project, "commit", "--quiet", "--message", "Weights")
    git(noisy_project, "mv", "weights.bin", "better.bin")
    with (noisy_project / "src" / "my_project" / "cli.py").open("a") as file:
        file.write("# edited\n")
    (noisy_project / "src" / "my_project" / ".#cli.py").symlink_to(
        "ada@laptop.1234"
    )  # Emacs' lock of what is not saved
    git(noisy_project / "src", "init", "--quiet", "other")
    (noisy_project / "src" / "other" / "file.txt").write_text("another repository\n")
    directory = fit(noisy_project, "--name=full", "--trainer.max_epochs=1")
    assert record(directory)["git"] == {
        "commit": git(noisy_project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": True,
    }
    assert "+# edited" in (directory / "code.patch").read_text()


def test_what_is_committed_before_fit_is_what_is_recorded(noisy_project: Path) -> None:
    hook = noisy_project / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nsleep 3\n")
    hook.chmod(0o755)
    (noisy_project / "README.md").write_text("Changed\n")
    directory = fit(
        noisy_project, "--name=committed", "--trainer.max_epochs=1", "--git_commit_before_fit=true"
    )
    git_state = {
        "commit": git(noisy_project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": False,
    }
    assert record(directory)["git"] == git_state
    assert git(noisy_project, "log", "-1", "--format=%s").strip() == f"committed_{directory.name}"
    assert not (directory / "code.patch").read_text()


@pytest.mark.parametrize("kind", ["no repository", "no commit", "no git"])
def test_without_git_the_rest_is_recorded(noisy_project: Path, kind: str) -> None:
    shutil.rmtree(noisy_project / ".git")
    if kind == "no commit":
        git(noisy_project, "init", "--quiet")
    path = str(Path(sys.executable).parent) if kind == "no git" else os.environ["PATH"]
    succeed(noisy_project, "fit", *DATA, *SHORT, "--name=bare", "--trainer.max_epochs=1", PATH=path)
    (directory,) = runs(noisy_project, "bare")
    assert record(directory)["git"] == {"commit": None, "branch": None, "dirty": None}
    assert record(directory)["status"] == "finished" and record(directory)["packages"]
