"""A driver that parses thousands of command lines in one process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.commands import DIGITS
from helpers.template import Render

# It reads arguments, and answers with the exit status and all that the command has written. A command ends before it
# would train.
DRIVER = """
import json, os, sys

sys.path.insert(0, "src")
import lightning.pytorch.cli
from my_project import __main__, cli
from my_project.engine import cli as engine
from my_project.engine.messages import RULES
from my_project.engine.parse_errors import read_message

Real = cli.CLI
kept, setup = [], Real.setup_parser


def setup_once(self, *args, **kwargs):
    if not hasattr(self, "built"):
        setup(self, *args, **kwargs)
        self.built = [self.parsers, self.links]
    [self.parsers, self.links] = self.built


def command_line(args=None):
    kept[:] = kept or [Real.__new__(Real)]
    kept[0].__init__(args)


def noted(message, *rest):
    text = read_message(message).text
    fitting = [rule.example for rule in RULES if rule.pattern.match(text)]
    with open(os.environ["OUTPUT"] + ".rule", "w") as file:
        print(*fitting[:1], end="", file=file)
    return explain(message, *rest)


explain, engine.explain_parse_error = engine.explain_parse_error, noted
Real.setup_parser = setup_once
Real._run_subcommand = lambda self, subcommand: None
cli.CLI = command_line
output = os.open(os.environ["OUTPUT"], os.O_RDWR | os.O_CREAT)
answers = os.fdopen(os.dup(1), "w")
os.dup2(output, 1)
os.dup2(output, 2)
__main__.main(json.loads(sys.stdin.readline()))
for line in sys.stdin:
    os.ftruncate(output, 0)
    os.lseek(output, 0, 0)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
        continue
    code = 0
    try:
        __main__.main(json.loads(line))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        print(end.code, file=sys.stderr, flush=True)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
"""


@pytest.fixture(scope="module")
def driven_project(render: Render) -> Path:
    """A project that tests only add files of their own to."""
    return render(
        datasets=["digits", "csv_table", "image_folder"], models=["simplenet", "mlp", "regression"]
    )


class Driver:
    """Gives commands to that process."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.output = folder / "output"
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OUTPUT": str(self.output), "CUDA_VISIBLE_DEVICES": ""},
        )
        self.send(["fit", *DIGITS])

    def send(self, args: list[str]) -> None:
        assert self.process.stdin
        print(json.dumps(args), file=self.process.stdin, flush=True)

    def run(self, *args: str) -> tuple[int, str]:
        """Return the exit status of a command, and all that it has written."""
        self.send([*args])
        assert self.process.stdout
        code = int(self.process.stdout.readline())
        return code, self.output.read_text()

    def refuse(self, *args: str) -> str:
        """See a command refused in one line, and return it."""
        code, output = self.run(*args)
        assert code == 1, f"{args} is accepted: {output}"
        assert "Traceback" not in output, output
        lines = [
            line
            for line in output.splitlines()
            if not re.match(r"Seed set|Features: |GPU avail|TPU avail|Checkpoint:", line)
        ]
        assert len(lines) == 1 and lines[0].startswith("error: "), output
        return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def driver(driven_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    found = Driver(driven_project, tmp_path_factory.mktemp("driver"))
    yield found
    found.process.communicate()
