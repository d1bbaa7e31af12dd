"""Tools together: workers of data loaders, ways to start processes, loggers, and where runs are, for each command."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail, python, succeed
from helpers.template import Render, git

TOOLING = [
    "runs",
    "profile",
    "distributed",
    "repeat",
    "optuna",
    "schema",
    "export",
    "paper",
    "report",
]
# Python's own default differs between versions and systems; a package of the owner may choose, too
START_METHOD = """

import multiprocessing
import os

if "START_METHOD" in os.environ:
    multiprocessing.set_start_method(os.environ["START_METHOD"], force=True)
"""
# Counts the files of runs that a command opens
READ = """
import atexit
import sys

from my_project.runs import main

read = []
is_record = lambda path: path.endswith("run.json")
sys.addaudithook(lambda event, args: read.append(str(args[0])) if event == "open" else None)
atexit.register(lambda: print("read", *filter(is_record, read), sep="\\n", file=sys.stderr))
main(sys.argv[1:])
"""
# What no other process can be sent, but a forked one has
FORKED = """from .digits import DigitsDataModule


class Forked(DigitsDataModule):
    def load(self, train):
        data = super().load(train)
        data.own = lambda: None
        return data
"""
TINY = (
    *DIGITS,
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    project = render(package_name="my_project", tooling=TOOLING, loggers=["csv", "tensorboard"])
    with (project / "src" / "my_project" / "__init__.py").open("a") as file:
        file.write(START_METHOD)
    (project / "src" / "my_project" / "data_modules" / "forked.py").write_text(FORKED)
    return project


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "my-project")


def tool(project: Path, name: str, *args: str, **env: str) -> str:
    """Run a command of the package's, and return what it prints."""
    path = str(project / "src")
    return succeed(project, "-m", f"my_project.{name}", *args, cwd=None, PYTHONPATH=path, **env)


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"])


@pytest.mark.parametrize(
    ("method", "module"), [("fork", "forked.Forked"), ("spawn", "digits.DigitsDataModule")]
)
def test_repeat_trains_with_workers_however_processes_start(
    project: Path, method: str, module: str
) -> None:
    own = (f"--data=my_project.data_modules.{module}", "--data.num_workers=1")
    tool(project, "repeat", "--seeds=1..1", "--name=r", *TINY, *own, START_METHOD=method)
    (run,) = project.glob("logs/r/*")
    assert status(run) == "finished"


def test_search_trains_with_workers(project: Path) -> None:
    config = "configs/search/optimizer.yaml"
    tool(
        project,
        "search",
        config,
        "--trials=1",
        "--study=s",
        *TINY,
        "--data.num_workers=1",
        START_METHOD="spawn",
    )
    (run,) = project.glob("logs/s/*")
    assert status(run) == "finished"


@pytest.fixture(scope="module")
def elsewhere(original: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project, and the folder where configs/local.yaml has its runs; an older run of the same name is in logs/."""
    project = shutil.copytree(original, tmp_path_factory.mktemp("elsewhere") / "my-project")
    disk = tmp_path_factory.mktemp("disk")
    older = project / "logs" / "r" / "20200101-000000-000000"
    older.mkdir(parents=True)
    (older / "config.yaml").write_text("{}\n")
    (project / "configs" / "local.yaml").write_text(f"trainer:\n  default_root_dir: {disk}\n")
    succeed(project, "fit", *TINY, "--name=r", "--model.lr_scheduler=null", "--test_after_fit=true")
    return project, disk


@pytest.mark.parametrize(
    "command",
    [
        ("test", "--run=r"),
        ("validate", "--run=last"),
        ("fit", "--run=r", "--trainer.max_epochs=2"),
        ("-m", "my_project.runs", "list"),
        ("-m", "my_project.runs", "diff", "r", "last"),
        ("-m", "my_project.runs", "plot", "--metric=train/loss"),
        ("-m", "my_project.runs", "summary"),
        ("-m", "my_project.model_card", "--run=r"),
        ("-m", "my_project.export", "--run=last", "--format=safetensors"),
        ("test", "--run=r", "--trainer.default_root_dir"),
        ("-m", "my_project.runs", "list", "--trainer.default_root_dir"),
        ("-m", "my_project.model_card", "--run=r", "--trainer.default_root_dir"),
        ("-m", "my_project.export", "--format=safetensors", "--trainer.default_root_dir"),
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_every_command_looks_where_the_runs_are(
    elsewhere: tuple[Path, Path], tmp_path: Path, command: tuple[str, ...]
) -> None:
    project, disk = shutil.copytree(elsewhere[0], tmp_path / "my-project"), tmp_path / "disk"
    shutil.copytree(elsewhere[1], disk)
    (run,) = disk.glob("r/*")
    if command[-1] == "--trainer.default_root_dir":
        (project / "configs" / "local.yaml").unlink()
        command = (*command, str(disk))
    else:
        (project / "configs" / "local.yaml").write_text("trainer:\n  default_root_dir: ../disk\n")
    output = succeed(project, *command, cwd=project / "configs", PYTHONPATH=str(project / "src"))
    assert "20200101" not in output
    assert [path.name for path in disk.glob("r/*")] == [run.name]
    assert sorted(path.name for path in project.glob("logs/*")) == [".gitkeep", "r"]
    if "list" in command:
        assert run.name in output


def test_repeat_and_search_put_and_find_their_runs_where_all_are(
    project: Path, tmp_path: Path
) -> None:
    (project / "configs" / "local.yaml").write_text("trainer:\n  default_root_dir: ../disk\n")
    summary = tool(project, "repeat", "--seeds=1..1", "--name=r", *TINY)
    found = tool(
        project, "search", "configs/search/optimizer.yaml", "--trials=1", "--study=s", *TINY
    )
    assert "best.val/acc" in summary
    assert "Best of 1" in found
    assert sorted(path.name for path in tmp_path.glob("disk/[!.]*")) == ["r", "s", "search.db"]
    assert [path.name for path in project.glob("logs/*")] == [".gitkeep"]
    assert "default_root_dir" not in (project / "configs" / "experiment" / "s.yaml").read_text()


@pytest.fixture(scope="module")
def many(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 120 runs, one of which has a name of its own."""
    project = shutil.copytree(original, tmp_path_factory.mktemp("many") / "my-project")
    for number in range(120):
        run = (
            project
            / "logs"
            / ("one" if number == 50 else "other")
            / f"20260101-000000-{number:06d}"
        )
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(
            f"seed_everything: {number}\ncheckpoint:\n  monitor: val/acc\n"
        )
        (run / "run.json").write_text('{"status": "finished", "commands": []}')
    return project


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--limit=3",), 3),
        (("--name=one",), 1),
        (("diff", "one", "last"), 2),
        (("--status=finished", "--limit=3"), 3),
        (("--name=other", "--filter=seed_everything=118", "--limit=1"), 2),
        (("--name=one", "--sort=seed_everything"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_list_reads_no_run_that_it_does_not_need(
    many: Path, options: tuple[str, ...], count: int
) -> None:
    (many / "read.py").write_text(READ)
    command = [sys.executable, str(many / "read.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(many / "src")}
    done = subprocess.run(
        command, cwd=many, env=environment, capture_output=True, text=True, check=True
    )
    read = done.stderr.partition("read\n")[2].splitlines()
    assert len(read) == count, read


def test_on_a_terminal_the_list_ends_where_nobody_would_read_on(many: Path) -> None:
    lines = on_terminal(many, "runs.main([])").splitlines()
    assert len(lines) == 102
    assert "000119" in lines[1]
    assert "--limit" in lines[-1]
    assert len(on_terminal(many, "runs.main(['--limit=120'])").splitlines()) == 121
    assert len(tool(many, "runs", "list").splitlines()) == 121


def on_terminal(project: Path, code: str) -> str:
    """Return what Python code prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "TERM": "xterm",
        "COLUMNS": "80",
    }
    command = [sys.executable, "-c", f"from my_project import runs; {code}"]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=theirs)
    os.close(theirs)
    printed = b""
    with suppress(OSError):  # how the end of a terminal shows on Linux
        while part := os.read(ours, 100_000):
            printed += part
    os.close(ours)
    assert process.wait() == 0
    return printed.decode()


def test_a_model_card_says_what_is_known_of_a_run_without_provenance(
    elsewhere: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(elsewhere[1], tmp_path / "disk")
    (run,) = tmp_path.glob("disk/r/*")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({key: record[key] for key in ("status", "metrics")}))
    card = tmp_path / "card.md"
    tool(elsewhere[0], "model_card", f"--run={run}", f"--output={card}")
    assert "test/acc" in card.read_text()
    assert "Hardware" not in card.read_text()


def test_reproduce_leaves_neither_process_nor_worktree_when_it_is_told_to_stop(
    project: Path, tmp_path: Path
) -> None:
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "The project")
    succeed(project, "fit", *TINY, "--name=r", "--model.lr_scheduler=null")
    (config,) = project.glob("logs/r/*/config.yaml")
    config.write_text(config.read_text().replace("max_epochs: 1", "max_epochs: 100000"))
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    command = [python(), "-m", "my_project.runs", "reproduce", "r"]
    process = subprocess.Popen(
        command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("Run directory"):
            break
    process.terminate()
    process.stderr.read()  # until the last process that writes there has ended
    assert process.wait() == -signal.SIGINT
    assert len(git(project, "worktree", "list").splitlines()) == 1
    assert not list(tmp_path.glob("tmp/my-project-*"))


BATCHES = """from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from .digits import DigitsDataModule


class Batches(DigitsDataModule):
    def train_dataloader(self):
        data = super().train_dataloader().dataset
        return DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 16, False), collate_fn=tuple)
"""


def test_the_profile_takes_a_loader_without_a_batch_size(project: Path) -> None:
    (project / "src" / "my_project" / "data_modules" / "batches.py").write_text(BATCHES)
    own = ("-c", "configs/trainer/profile.yaml", "--data=my_project.data_modules.batches.Batches")
    output = succeed(project, "fit", *TINY, *own, "--trainer.limit_train_batches=15", "--name=r")
    assert "samples/s" in output


KILLED = """import os

from lightning.pytorch import Callback


class Killed(Callback):
    def on_train_start(self, trainer, pl_module):
        os.kill(os.getpid(), 9)
"""


def test_repeat_says_that_a_run_was_killed(project: Path) -> None:
    (project / "src" / "my_project" / "callbacks" / "killed.py").write_text(KILLED)
    own = "--trainer.callbacks+=my_project.callbacks.killed.Killed"
    words = ("-m", "my_project.repeat", "--seeds=1..2", "--name=r", *TINY, own)
    assert "SIGKILL" in fail(project, *words, cwd=None, PYTHONPATH=str(project / "src"))
    (run,) = tool(project, "runs", "--name=r").splitlines()[1:]
    assert " killed " in run


@pytest.mark.parametrize(
    ("local", "arguments", "folder"),
    [
        ("", (), "logs"),
        ("trainer: {default_root_dir: null}", (), "logs"),
        ("trainer: {default_root_dir: here}", (), "here"),
        ("trainer: {default_root_dir: /disk/../runs}", (), "/runs"),
        ("trainer: {default_root_dir: here}", ("-c", "own.yaml"), "configs/own"),
        (
            "trainer: {default_root_dir: here}",
            ("--config=own.yaml", "--trainer.default_root_dir", "x"),
            "configs/x",
        ),
        ("", ("--trainer.default_root_dir=x", "-c", "own.yaml"), "configs/own"),
        ("", ("-c", '{"trainer": {"default_root_dir": "x"}}'), "configs/x"),
        ("trainer: {default_root_dir: here}", ("--trainer.default_root_dir=null",), "logs"),
        ("trainer: 5", ("-c", "missing.yaml"), "logs"),
    ],
    ids=str,
)
def test_the_last_that_says_where_runs_are_counts(
    original: Path, tmp_path: Path, local: str, arguments: tuple[str, ...], folder: str
) -> None:
    """The script for Slurm asks so, in whatever folder it is; relative paths in local.yaml start at the root."""
    project = tmp_path / "my-project"
    (project / "configs").mkdir(parents=True)
    shutil.copy(original / ".project-root", project)
    shutil.copytree(original / "src", project / "src")
    (project / "configs" / "local.yaml").write_text(f"{local}\n")
    (project / "configs" / "own.yaml").write_text("trainer:\n  default_root_dir: own\n")
    words = ("-m", "my_project.engine.run_directory", *arguments)
    said = succeed(project, *words, cwd=project / "configs", PYTHONPATH=str(project / "src"))
    assert (project / "configs" / said.strip()).resolve() == project / folder
