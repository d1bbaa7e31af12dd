"""The commands of a rendered project: `run` starts them as users do, the others through the warm server."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.server import Server

DIGITS = ("-c", "configs/data/digits.yaml", "-c", "configs/model/simplenet.yaml")

servers: list[Server] = []  # the one of this session, while there is one


def run(
    project: Path, *args: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `python src/main.py` with these arguments in a project, or in a folder of it, on the CPU."""
    command = [sys.executable, str(project / "src" / "main.py"), *args]
    return subprocess.run(
        command,
        cwd=cwd or project,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **env},
        capture_output=True,
        text=True,
    )


def run_warm(
    project: Path, *args: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Do the same through the server."""
    return servers[-1].run(project, *args, cwd=cwd, **env)


def succeed(project: Path, *args: str, cwd: Path | None = None, **env: str) -> str:
    """Run the command, see it succeed, and return all that it prints."""
    done = run_warm(project, *args, cwd=cwd, **env)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def fail(project: Path, *args: str, cwd: Path | None = None, **env: str) -> str:
    """Run the command, see it fail without a traceback, and return the one line that says why."""
    done = run_warm(project, *args, cwd=cwd, **env)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, done.stderr
    return lines[0].split("error: ", 1)[1]
