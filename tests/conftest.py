"""The template as users get it, rendered projects, and the commands of a rendered project."""

import copy
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import plumbum
import pytest
import yaml
from copier import run_copy
from release import history

ROOT = Path(__file__).parent.parent
SETTINGS = yaml.safe_load((ROOT / "copier.yml").read_text())
# What is recorded; `when` is false for what is computed, and a condition for the lists that `tooling` sums up
QUESTIONS = {
    name: entry for name, entry in SETTINGS.items() if name[0] != "_" and "when" not in entry
}
DIGITS = ("-c", "configs/data/digits.yaml", "-c", "configs/model/simplenet.yaml")

# A server that has imported what takes long. For each request it forks, and the fork becomes `python src/main.py`, or
# `python -m` and a module.
SERVER = """
import atexit, os, sys

code = 1
def leave():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
atexit.register(leave)  # the first one runs last, instead of clearing all memory away, which takes half a second

import gc, json, runpy
import lightning.pytorch.cli, lightning.pytorch.loggers, pyrootutils, torch._dynamo, torch.utils.tensorboard
gc.freeze()  # or each fork would copy all memory when it ends
for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    args, cwd, env, files = json.loads(line)
    for target, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), target)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    try:
        if args[0] == "-m":
            sys.argv, sys.path[0] = args[1:], cwd
            runpy.run_module(args[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = args, os.path.dirname(args[0])
            runpy.run_path(args[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    break
"""

Render = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]


def git(folder: Path, *args: str) -> str:
    """Run git in a folder and return what it prints."""
    return subprocess.run(
        ["git", *args], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the developer's own settings out, and threads from slowing each other down."""
    # A shell starts a command in the background with Ctrl-C ignored, and so would be the processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    (home / "gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    (home / "settings.yml").write_text("{}\n")
    settings = {
        "COPIER_SETTINGS_PATH": str(home / "settings.yml"),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "MYPY_CACHE_DIR": str(
            ROOT / "build" / "mypy"
        ),  # what it finds out of libraries takes it most of its time
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
    }
    os.environ.update(settings)
    plumbum.local.env.update(
        settings
    )  # Copier runs git through it, and it has copied the environment already


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases, and the working tree, committed and tagged as the newest, in a repository of its own."""
    copy = tmp_path_factory.mktemp("the template")
    history(copy)
    git(copy, "rm", "-r", "--quiet", "--ignore-unmatch", ".")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git(copy, "add", "--all", "--force")
    git(copy, "commit", "--quiet", "-m", "The working tree")
    git(copy, "tag", "-a", "v999.0.0", "-m", "The working tree")
    return copy


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that renders a project with these answers, the others by default, and without trust."""

    def render(name: str = "my-project", **answers: Any) -> Path:
        unknown = answers.keys() - QUESTIONS.keys()
        assert not unknown, f"no such questions: {unknown}"
        project = tmp_path_factory.mktemp("rendered") / name
        run_copy(str(template), project, data=answers, defaults=True, quiet=True, unsafe=False)
        return project

    return render


@pytest.fixture(scope="session")
def default_project(render: Render) -> Path:
    """A project with default answers that tests read but do not change."""
    return render()


@pytest.fixture
def project(default_project: Path, tmp_path: Path) -> Path:
    """A copy of that project for one test to work in."""
    return shutil.copytree(default_project, tmp_path / "my-project")


def sweep(*cases: Any) -> list[Any]:
    """Return cases of a parameter as those that `make test-all` alone runs."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.sweep)
        for case in cases
    ]


def files(project: Path) -> set[str]:
    """Return the paths of a project's files."""
    return {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}


# Folders with one owner, which come whole or not at all, such as src/my_project/engine/git.py
WHOLE_FOLDER = re.compile(
    r"^(src/.+/(engine|tools/report|tools/runs|tools/search|tools/schema))/.*"
)


def as_listed(path: str) -> str:
    """Return how the tables name a file: one of a whole folder by the folder."""
    return WHOLE_FOLDER.sub(r"\1/", path)


def choices_of(question: str) -> list[str]:
    """Return the answers that a question offers."""
    choices = QUESTIONS[question]["choices"]
    return list(choices.values()) if isinstance(choices, dict) else list(choices)


def fits(dataset: str, model: str) -> bool:
    """Return whether a model makes sense for a dataset: a table fits few, and regression only what has numbers."""
    tables = ("mlp", "regression", "blank")
    return (
        model in tables if dataset == "csv_table" else model != "regression" or dataset == "blank"
    )


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


class Server:
    """Runs `python src/main.py` in half a second instead of four, one command at a time."""

    def __init__(self, folder: Path) -> None:
        self.files = [os.devnull, str(folder / "stdout"), str(folder / "stderr")]
        self.command: list[str] = []
        command = [sys.executable, "-c", SERVER]
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


@pytest.fixture(scope="session", autouse=True)
def warm(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Have `succeed` and `fail` start warmly; where a test runs a command itself, it starts as users start it."""
    server = Server(tmp_path_factory.mktemp("output"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "run", server.run)
        yield server
    server.process.communicate()


@pytest.fixture(scope="session", autouse=True)
def _once() -> Iterator[None]:  # noqa: C901, PLR0915
    """Have Copier do once what it would do alike for each of hundreds of projects.

    Jinja compiles a text once, and copier.yml is parsed once; each rendered file asks git whether it sees the modes of
    files, which its config alone decides; and git looks for submodules only where there are some.
    """
    compile_text, load_all, call = (
        jinja2.Environment.compile,
        yaml.load_all,
        plumbum.commands.BaseCommand.__call__,
    )
    compiled, loaded, modes = dict[Any, Any](), dict[Any, Any](), dict[Any, Any]()

    def compile_once(
        self: jinja2.Environment, source: Any, name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        key = source, name, self.keep_trailing_newline, self.trim_blocks, self.lstrip_blocks
        if key not in compiled:
            compiled[key] = compile_text(self, source, name, *args, **kwargs)
        return compiled[key]

    def load_once(stream: Any, Loader: Any) -> Any:
        text = stream.read() if hasattr(stream, "read") else stream
        if text not in loaded:
            loaded[text] = list(load_all(text, Loader))
        return copy.deepcopy(loaded[text])

    def call_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args[:2] == ("submodule", "update") and not (plumbum.local.cwd / ".gitmodules").exists():
            return ""
        if args != ("config", "--type=bool", "--get", "core.fileMode"):
            return call(self, *args, **kwargs)
        config = Path(self.cwd) / ".git" / "config"
        key = config.read_text() if config.exists() else None
        if key not in modes:
            try:
                modes[key] = call(self, *args, **kwargs)
            except plumbum.ProcessExecutionError as error:
                modes[key] = error
        if isinstance(modes[key], Exception):
            raise modes[key]
        return modes[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        patch.setattr(yaml, "load_all", load_once)
        patch.setattr(plumbum.commands.BaseCommand, "__call__", call_once)
        gc.freeze()  # or Python would look for garbage among a million objects of PyTorch's again and again
        yield


def succeed(project: Path, *args: str, cwd: Path | None = None, **env: str) -> str:
    """Run the command, see it succeed, and return all that it prints."""
    done = run(project, *args, cwd=cwd, **env)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def fail(project: Path, *args: str, cwd: Path | None = None, **env: str) -> str:
    """Run the command, see it fail without a traceback, and return the one line that says why."""
    done = run(project, *args, cwd=cwd, **env)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, done.stderr
    return lines[0].split("error: ", 1)[1]
