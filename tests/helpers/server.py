"""A forking server that starts commands warmly."""

import json
import os
import subprocess
import sys
from pathlib import Path


class Server:
    """Runs `python src/main.py` in half a second instead of four, one command at a time."""

    def __init__(self, folder: Path) -> None:
        self.files = [os.devnull, str(folder / "stdout"), str(folder / "stderr")]
        self.command: list[str] = []
        command = [sys.executable, str(Path(__file__).with_name("server_process.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, project: Path, *args: str, cwd: Path | None = None, **env: str) -> int:
        """Start a command and return the number of its process."""
        assert self.process.stdin and self.process.stdout
        self.command = [*args] if args[:1] == ("-m",) else [str(project / "src" / "main.py"), *args]
        request = (
            self.command,
            str(cwd or project),
            {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env},
            self.files,
        )
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for that command to end."""
        assert self.process.stdout
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(
            self.command, code, *(Path(file).read_text() for file in self.files[1:])
        )

    def run(
        self, project: Path, *args: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Do both, as `run` does; `-m` and a module as the first arguments run that instead."""
        self.start(project, *args, cwd=cwd, **env)
        return self.wait()
