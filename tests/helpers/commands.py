"""The commands of a rendered project: `run` starts them as users do, the others through a Python that starts warmly."""

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


def python() -> str:
    """Return the path of a Python that has imported Lightning already. For what it cannot do, see `Server`."""
    return str(servers[-1].python)


def search_path() -> str:
    """Return a PATH on which that one is `python`, before the commands of the environment of the tests."""
    folders = [str(servers[-1].python.parent), str(Path(sys.executable).parent)]
    return os.pathsep.join([*folders, os.environ["PATH"]])


def run_warm(
    project: Path, *args: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Do the same with that Python. `-m` and a module as the first arguments, or `-c` and code, run that instead."""
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
