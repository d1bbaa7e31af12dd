"""Runs git. Read it when a command of git prints something else in a run than in your terminal.

A git hook has variables such as `GIT_DIR` set, and a command in it would look at the hook's repository and index.
"""

import os
import shutil
import subprocess
from pathlib import Path

# As `git rev-parse --local-env-vars` lists them, without the settings; and what changes the meaning of paths.
OF_ANOTHER_REPOSITORY = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder, for the repository that the folder is in, and return what it printed."""
    if not shutil.which("git"):
        return subprocess.CompletedProcess(
            ["git", *arguments], 127, stdout="", stderr="git is not installed"
        )
    environment = {
        name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY
    }
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command of git that failed says, as one line."""
    return " ".join((done.stderr or done.stdout).split())
