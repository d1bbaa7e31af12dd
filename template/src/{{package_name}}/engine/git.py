"""Runs git. Read it when git prints something else in a run than in your terminal.

Variables such as `GIT_DIR`, which a git hook sets, are removed: they would point git at the hook's repository.
"""

import os
import shutil
import subprocess
from pathlib import Path

# From `git rev-parse --local-env-vars`, without settings, and variables that change the meaning of paths.
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
    """Run git in a folder, for the repository of this folder. The exit status is 127 if git is not installed."""
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
    """Return the message of a failed git command as one line."""
    return " ".join((done.stderr or done.stdout).split())
