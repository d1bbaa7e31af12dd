"""Draw the pictures of README and docs from what the programs really print and draw: python docs/pictures.py"""

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 120
ROWS = 500  # more than any output has, so that nothing scrolls away
FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
MLP = "-c configs/data/digits.yaml -c configs/model/mlp.yaml --trainer.enable_progress_bar false"
TRAIN = "src/main.py fit -c configs/data/digits.yaml -c configs/model/simplenet.yaml --name exp1 --test_after_fit true"


def run(
    arguments: list[str], cwd: Path, home: Path, answer: bool = False, columns: int = COLUMNS
) -> str:
    """What Python, given these arguments, writes to a terminal; with answer, Enter is pressed whenever it waits."""
    # Nothing else of the environment: the developer's settings (Git's, Copier's) are found by HOME or other variables
    env = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",  # more threads than idle cores wait for each other, for minutes
        "PATH": os.environ["PATH"],
        "PROMPT_TOOLKIT_NO_CPR": "1",  # it would ask the terminal where the cursor is, and nobody replies
        "PYTHONWARNINGS": "ignore:Dirty template changes",  # Copier's, of a working tree that is not committed
        "TERM": "xterm-256color",
    }
    child = pexpect.spawn(
        sys.executable,
        arguments,
        cwd=cwd,
        env=env,
        dimensions=(ROWS, columns),
        encoding="utf-8",
        echo=False,
    )
    output, waits = "", False
    while True:
        try:
            output += child.read_nonblocking(65536, timeout=0.7 if waits else 120)
            waits = answer  # unless there is more to read
        except pexpect.TIMEOUT:
            if not waits:
                raise
            child.send("\r")
            waits = False
        except pexpect.EOF:
            break
    if (status := child.wait()) != 0:  # None if a signal ended it
        sys.exit(f"{output}\n{shlex.join(arguments)} failed: {status}")
    return output.replace(str(home), "~")


def style(char: Char) -> Style:
    """The style of a character, in Rich's words."""

    def color(name: str) -> str:
        if re.fullmatch("[0-9a-f]{6}", name):
            return f"#{name}"
        return name.replace("brown", "yellow").replace("bright", "bright_")

    return Style(
        color=color(char.fg),
        bgcolor=color(char.bg),
        bold=char.bold,
        italic=char.italics,
        underline=char.underscore,
        reverse=char.reverse,
    )


def draw(
    name: str, title: str, command: str, output: str, cut: str = "(?!)", columns: int = COLUMNS
) -> None:
    """Write docs/<name>.svg: the command, and the screen after its output, without the lines that match cut."""
    screen = pyte.Screen(columns, ROWS)
    pyte.Stream(screen).feed(f"\x1b[1m$ {command}\x1b[0m\r\n\r\n{output}")
    lines: list[Text] = []
    for row in range(ROWS):
        chars = (screen.buffer[row][column] for column in range(columns))
        line = Text.assemble(
            *(("".join(char.data for char in run), look) for look, run in groupby(chars, style))
        )
        line.rstrip()
        # Of several blank lines in a row one is enough
        if not re.match(cut, line.plain) and (line or (lines and lines[-1])):
            lines.append(line)
    if not lines[-1]:
        lines.pop()
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text("\n").join(lines))
    svg = console.export_svg(title=title, unique_id=name)
    # Rich has the browser load its font from another host; the reader's own fonts do as well
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code, monospace", FONTS
    )
    (ROOT / "docs" / f"{name}.svg").write_text(svg, encoding="utf-8")


def python(project: Path, arguments: str, wait: bool = True) -> subprocess.Popen[bytes]:
    """Run Python in a project with these arguments, and see it succeed, or go on beside it."""
    env = {**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen([sys.executable, *shlex.split(arguments)], cwd=project, env=env)
    if wait and process.wait():
        sys.exit(f"{arguments} failed: {process.returncode}")
    return process


def draw_questionnaire(home: Path) -> None:
    """Draw the questions and the last message, in a terminal of the usual width. This leaves a project in home."""
    copy = ["-m", "copier", "copy", "--vcs-ref", "HEAD", str(ROOT), "my-project"]
    output = run(copy, home, home, answer=True, columns=80)
    command = "uvx copier copy ~/copier-lightning my-project"
    hidden = r"Copying from template version|\s+create  "
    draw("questionnaire", "The questions", command, output, cut=hidden, columns=80)


def draw_training(home: Path) -> None:
    """Draw the first training of the project in home."""
    output = run(shlex.split(TRAIN), home / "my-project", home)
    draw("training", "The first training run", f"python {TRAIN}", output)


def draw_processes(project: Path) -> None:
    """Draw the losses of one, two and four processes, with as many samples in each step."""
    options = f"{MLP} --trainer.log_every_n_steps 5 --trainer.accelerator cpu --data.val_size 157"
    for count in (1, 2, 4):
        name = f"{count}-process{'es' * (count > 1)}"
        several = f"-c configs/trainer/ddp.yaml --trainer.devices {count}" * (count > 1)
        python(
            project,
            f"src/main.py fit {options} {several} --data.batch_size {64 // count} --name {name}",
        )
    python(
        project,
        f"-m my_project.runs plot --metric train/loss --output {ROOT / 'docs' / 'processes.svg'}",
    )


def draw_search(project: Path) -> None:
    """Draw what 30 trials reached, by three workers, of which one is killed."""
    command = f"-m my_project.search configs/search/optimizer.yaml {MLP}"
    workers = [python(project, command, wait=False) for _ in range(3)]
    while len(list(project.glob("logs/optimizer/*/checkpoints/best.ckpt"))) < 9:
        time.sleep(0.1)
    workers[1].kill()
    if [worker.wait() for worker in workers] != [0, -signal.SIGKILL, 0]:
        sys.exit("the search failed")
    plot = "plot --name optimizer --x model.optimizer.lr"
    python(project, f"-m my_project.runs {plot} --output {ROOT / 'docs' / 'search.svg'}")


def draw_runs(project: Path, home: Path) -> None:
    """Draw the table of three runs with different learning rates."""
    for number, rate in enumerate((0.001, 0.01, 0.1), start=1):
        python(project, f"src/main.py fit {MLP} --name exp{number} --model.optimizer.lr {rate}")
    command = "-m my_project.runs list --name exp1 --name exp2 --name exp3 --sort -best.val/acc"
    draw(
        "runs",
        "The table of runs",
        f"python {command}",
        run(shlex.split(command), project / "src", home),
    )


def draw_confusion(project: Path) -> None:
    """Draw which digits a network takes for which."""
    python(project, f"src/main.py fit {MLP} --name tested --test_after_fit true")
    (picture,) = project.glob("logs/tested/*/report/confusion.png")
    shutil.copy(picture, ROOT / "docs")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        (home / "tools").mkdir()
        (home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
        draw_questionnaire(home)
        draw_training(home)
        tools = "-d models=[mlp] -d datasets=[digits] -d loggers=[csv] -d tooling=[distributed,optuna,report]"
        run(
            [
                "-m",
                "copier",
                "copy",
                "--defaults",
                "--vcs-ref",
                "HEAD",
                *tools.split(),
                str(ROOT),
                "my-project",
            ],
            home / "tools",
            home,
        )
        draw_processes(home / "tools" / "my-project")
        draw_search(home / "tools" / "my-project")
        draw_runs(home / "tools" / "my-project", home)
        draw_confusion(home / "tools" / "my-project")
