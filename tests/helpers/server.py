"""Starts `python` warmly: a server that has imported Lightning forks for each command."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


class Server:
    """Gives a `python` that takes half a second to start with Lightning, instead of four and more.

    It runs `-c`, `-m` and scripts as Python does, with the caller's files, directory, environment and signals. With
    options that a fork cannot follow, it starts Python itself. What it cannot be used for: terminals that send Ctrl-C,
    and how long starting takes, or what is imported then.

    Args:
        folder: An empty one, with a short path, for a socket has at most a hundred letters.
    """

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python"
        address = folder / "socket"
        client = HERE / "warm_client.py"
        self.python.write_text(
            f'#!/bin/sh\nexec {sys.executable} -IS {client} {address} {sys.executable} "$@"\n'
        )
        self.python.chmod(0o755)
        pytest = folder / "pytest"
        pytest.write_text(f'#!/bin/sh\nexec {self.python} -m pytest "$@"\n')
        pytest.chmod(0o755)
        command = [sys.executable, *map(str, (HERE / "warm_server.py", self.python, address))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def start(
        self, project: Path, *args: str, cwd: Path | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start a command of a project: `python src/main.py` with arguments; or `-m` and a module, or `-c` and code."""
        if args[:1] not in (("-m",), ("-c",)):
            args = (str(project / "src" / "main.py"), *args)
        return subprocess.Popen(
            [self.python, *args],
            cwd=cwd or project,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, project: Path, *args: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Do the same, and wait for its end."""
        process = self.start(project, *args, cwd=cwd, **env)
        output, errors = process.communicate()
        code = process.returncode
        return subprocess.CompletedProcess(process.args, code, output, errors)
