"""The patch of a run applies, and commits go to the right repository."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import DIGITS, succeed
from helpers.template import Render, git
from helpers.updates import commit

# What a user may have set, and what a repository's attributes may say, with which a patch was once of no use
OF_A_PATCH = [
    "user.name Ada",
    "color.ui always; color.diff always; core.abbrev 4; core.pager false; diff.wsErrorHighlight all",
    "core.autocrlf true; core.safecrlf true",
    "core.autocrlf input; core.quotePath false; diff.dirstat lines",
    "diff.context 0; diff.interHunkContext 9; diff.algorithm patience; diff.suppressBlankEmpty true",
    "diff.external false; diff.python.command false; diff.python.textconv rev",
    "diff.mnemonicPrefix true; diff.renames copies; apply.ignoreWhitespace change",
    "diff.noprefix true; apply.whitespace error",
    "diff.submodule log; diff.ignoreSubmodules all; index.version 4",
    "status.short true; status.branch true; status.showUntrackedFiles no",
    "GIT_DIR /nowhere; GIT_PREFIX src/; GIT_DIFF_OPTS --unified=0",
    "GIT_INDEX_FILE /nowhere; GIT_LITERAL_PATHSPECS 1; GIT_EXTERNAL_DIFF false",
    "GIT_OBJECT_DIRECTORY /nowhere; GIT_WORK_TREE /",
]


@pytest.fixture(scope="module")
def changed(default_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a folder of its repository, in which all kinds of changes are not committed."""
    top = tmp_path_factory.mktemp("changed")
    project = shutil.copytree(default_project, top / "my project")
    code, library = project / "src" / "my_project", top / "library"
    (project / ".gitattributes").write_text("*.py diff=python\n")
    (code / "crlf.py").write_bytes(b"A = 1\r\nB = 2\r\n")
    (code / "größe.py").write_text("A = 1\n")
    (code / "picture.png").write_bytes(bytes(256))
    (project / "HEAD").write_text("a file with the name of a commit\n")
    git(top, "init", "--quiet")
    git(top, "init", "--quiet", str(library))
    git(library, "commit", "--quiet", "--allow-empty", "--message", "x")
    git(
        project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(library),
        "library",
    )
    commit(top)
    git(project / "library", "commit", "--quiet", "--allow-empty", "--message", "y")
    (project / "library" / "dirty").touch()
    (code / "crlf.py").write_bytes(b"A = 1\r\nB = 3\r\n")
    (code / "größe.py").write_text("A = 2\n")
    (code / "picture.png").write_bytes(bytes(257))
    (code / "cli.py").write_text(f"# changed \n\n{(code / 'cli.py').read_text()}")
    (code / "new one.py").write_text("NEW = 1\n\n\tblank = 1 \n")
    (code / "new_crlf.py").write_bytes(b"NEW = 1\r\n")
    (code / "utils" / "optim.py").rename(code / "utils" / "moved.py")
    (project / "configs" / "trainer" / "debug.yaml").unlink()
    return project


@pytest.mark.parametrize("group", OF_A_PATCH)
def test_the_patch_of_a_run_applies_under_any_setting_of_git(
    changed: Path, git_settings: Callable[[str], None], tmp_path: Path, group: str
) -> None:
    variables = {}
    for setting in group.split("; "):
        name, _, value = setting.partition(" ")
        if name.startswith("GIT_"):
            variables[name] = value
        else:
            git_settings(setting)
    script = [sys.executable, "-m", "my_project.engine.origin"]
    environment = {**os.environ, **variables, "PYTHONPATH": str(changed / "src")}
    done = subprocess.run(script, check=True, capture_output=True, cwd=changed, env=environment)
    origin = json.loads(done.stdout)
    assert origin["git"] == {
        "commit": git(changed, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": True,
    }
    patch, again = tmp_path / "code.patch", tmp_path / "again"
    patch.write_bytes(origin["patch"].encode())
    git(changed, "worktree", "add", "--quiet", "--detach", str(again))
    git(again, "apply", "--whitespace=nowarn", "--directory", "my project", str(patch))
    names = git(changed, "ls-files", "-z", "--cached", "--others", "src", "configs").split("\0")[
        :-1
    ]
    for name in names:
        there, here = again / "my project" / name, changed / name
        assert there.exists() == here.exists(), name
        if here.is_file() and here.suffix != ".png":  # a patch holds text alone
            expected, found = here.read_bytes(), there.read_bytes()
            if "autocrlf" in group:  # git decides how lines end
                expected, found = expected.replace(b"\r\n", b"\n"), found.replace(b"\r\n", b"\n")
            assert found == expected, name
    git(changed, "worktree", "remove", "--force", str(again))


def test_a_fit_in_another_repositorys_hook_commits_and_records_its_own(
    render: Render, tmp_path: Path, git_settings: Callable[[str], None]
) -> None:
    project = shutil.copytree(render(tooling=["runs"]), tmp_path / "my-project")
    git(project, "init", "--quiet")
    commit(project)
    (project / "src" / "my_project" / "new.py").touch()
    git_settings("status.showUntrackedFiles no")
    hook: dict[str, Any] = {
        "GIT_DIR": str(tmp_path / "another"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
    }
    short = (
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
    )
    quiet = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")
    printed = succeed(
        project, "fit", *DIGITS, *short, *quiet, "--name=a", "--git_commit_before_fit=true", **hook
    )
    assert f"Git: committed {git(project, 'log', '-1', '--format=%s').strip()}" in printed
    assert "src/my_project/new.py" in git(project, "show", "--stat", "--format=")
    record = json.loads(next(project.glob("logs/a/*/run.json")).read_text())
    head = git(project, "rev-parse", "HEAD").strip()
    assert record["git"] == {"commit": head, "branch": "main", "dirty": False}
    git_settings("diff.noprefix true")
    succeed(
        project, "-m", "my_project.runs", "reproduce", "a", PYTHONPATH=str(project / "src"), **hook
    )
