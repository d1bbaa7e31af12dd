"""The tooling choice `runs`: what `python -m <package>.runs` lists, compares and trains again."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from helpers.commands import DIGITS, succeed
from helpers.template import Render, git

SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=10",
    "--trainer.enable_progress_bar=false",
)
TINY = """import math

from torch import nn

from .. import WIDTH


class Tiny(nn.Sequential):
    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        inputs = math.prod(input_shape)
        super().__init__(nn.Flatten(), nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes))
"""
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def trained(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a subfolder of its repository, with a run of a commit, exp1, and one with changes since, exp2.

    Its code is broken then, so that only what a run's own commit and patch have can train.
    """
    repository = tmp_path_factory.mktemp("repository")
    project = repository / "deep" / "my-project"
    shutil.copytree(
        render(tooling=["runs"], datasets=["digits"], package_name="my_project"), project
    )
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "The project")
    local = project / "configs" / "local.yaml"
    local.write_text("seed_everything: 7\n")
    succeed(project, "fit", *DIGITS, *SHORT, "--name=exp1", "--test_after_fit=true")
    local.unlink()
    package = project / "src" / "my_project"
    with (package / "__init__.py").open("a") as file:
        file.write("\nWIDTH = 16\n")
    (package / "models" / "tiny.py").write_text(TINY)
    configs = ("-c", "data/digits.yaml", "-c", "model/simplenet.yaml")
    options = (
        "--model.net=my_project.models.tiny.Tiny",
        "--model.lr_scheduler=null",
        "--model.optimizer.lr=0.01",
    )
    succeed(project, "fit", *configs, *options, *SHORT, "--name=exp2", cwd=project / "configs")
    (package / "modules" / "classification.py").write_text("raise RuntimeError\n")
    (project / "data" / "mine").mkdir()
    (project / "data" / "mine" / "table.csv").write_text("1\n")
    return project


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of that project, without its repository, for one test to work in."""
    return shutil.copytree(trained, tmp_path / "my-project")


def directory(project: Path, name: str) -> Path:
    """Return the directory of the one run of a name."""
    (path,) = project.glob(f"logs/{name}/*")
    return path


def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text()))


def edit(run: Path, change: Edit) -> None:
    """Change what a run's run.json says."""
    content = record(run)
    change(content)
    (run / "run.json").write_text(json.dumps(content))


def tool(project: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with the package where it would be installed."""
    command = [sys.executable, "-m", "my_project.runs", *args]
    variables = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "CUDA_VISIBLE_DEVICES": "",
        **env,
    }
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)


def printed(project: Path, *args: str, **env: str) -> str:
    """Run the command, see it succeed, and return what it prints."""
    done = tool(project, *args, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(project: Path, *args: str, **env: str) -> str:
    """Run the command, see it exit with 1, and return the line that says why, which is all that it prints."""
    done = tool(project, *args, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def in_turn(project: Path, *calls: list[str], **env: str) -> list[str]:
    """Run the command several times in one process, which imports torch but once; return what each says."""
    code = f"""if True:
        import contextlib, io, json
        from my_project.runs import main
        said = []
        for call in {calls!r}:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                try:
                    main(call)
                except SystemExit as error:
                    print(error.code)
            said.append(output.getvalue())
        print(json.dumps(said))
    """
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), **env}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return list(json.loads(done.stdout))


def table(project: Path, *args: str) -> list[dict[str, str]]:
    """Return the rows of the printed list by column."""
    lines = printed(project, *args).splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
    cells = [
        [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        for line in lines
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def listed(project: Path, *args: str) -> list[str]:
    """Return the names of the runs in the list."""
    return [row["name"] for row in table(project, *args)]


# list ----------------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_became_of_every_run_newest_first(trained: Path) -> None:
    rows = table(trained)
    assert rows == table(trained, "list")
    assert [row["name"] for row in rows] == ["exp2", "exp1"]
    commit = git(trained, "rev-parse", "HEAD")[:7]
    for row, changed in zip(rows, ("*", ""), strict=True):
        run = directory(trained, row["name"])
        said = record(run)
        assert (row["id"], row["status"], row["commit"]) == (run.name, "finished", commit + changed)
        assert row["start"] == said["start"][:16].replace("T", " ")
        assert re.fullmatch(r"0:00:\d\d", row["duration"])
        assert (row["epochs"], row["steps"]) == ("1", "10")
        assert (
            float(row["val/acc"])
            == float(row["best.val/acc"])
            == pytest.approx(said["metrics"]["val/acc"], abs=1e-5)
        )


def test_best_is_the_row_of_the_best_checkpoint_and_last_that_of_the_end(project: Path) -> None:
    run = directory(project, "exp1")
    header = ["step", "epoch", "val/loss", "val/acc"]
    rows: list[list[Any]] = [
        [3, 0, 0.5, 0.8],
        [7, 1, 0.4, 0.9],
        [11, 2, 0.3, 0.9],
        [12, 2, "", ""],
        [15, 3, "nan", 0.7],
    ]
    with (run / "metrics.csv").open("w") as file:
        csv.writer(file).writerows([header, *rows])
    edit(run, lambda said: said.update(metrics={"val/acc": 0.7, "val/loss": None, "test/acc": 0.6}))
    options = ("--metric=val/loss", "--metric", "test/acc")
    row, other = table(project, "--sort=name", *options)
    assert [key for key in row if "/" in key] == [
        "best.val/acc",
        "val/acc",
        "best.val/loss",
        "val/loss",
        "test/acc",
    ]
    assert (row["best.val/acc"], row["val/acc"]) == ("0.9", "0.7")
    assert (row["best.val/loss"], row["val/loss"]) == ("0.4", "-")
    assert (row["epochs"], row["steps"], row["test/acc"], other["test/acc"]) == (
        "4",
        "16",
        "0.6",
        "-",
    )
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(
        yaml.dump({**config, "checkpoint": {"monitor": "val/loss", "mode": "min"}})
    )
    assert table(project, "--name=exp1")[0]["best.val/loss"] == "0.3"


def test_what_is_piped_is_whole_and_plain(trained: Path) -> None:
    text = printed(trained, COLUMNS="40", TERM="xterm-256color")
    assert "\x1b" not in text and "…" not in text
    assert [len(line.split()) for line in text.splitlines()] == [10, 11, 11]
    assert max(map(len, text.splitlines())) > 80


def on_terminal(project: Path, code: str) -> list[str]:
    """Return the lines that Python code prints on a terminal of 80 columns, without colours."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "TERM": "xterm",
        "COLUMNS": "80",
    }
    command = [sys.executable, "-c", f"from my_project import runs; {code}"]
    subprocess.run(command, cwd=project, env=environment, stdout=theirs, check=True)
    return re.sub(r"\x1b\[[\d;]*m", "", os.read(ours, 100_000).decode()).splitlines()


def test_on_a_terminal_a_run_is_a_line_and_long_values_are_folded(trained: Path) -> None:
    lines = on_terminal(trained, "runs.main([])")
    assert [line.split() for line in lines] == [
        line.split() for line in printed(trained).splitlines()
    ]
    rows = "[['x', 'y' * 100, '[red]' * 30]]"
    show = f"from my_project.tools.runs.tables import show; show(['key', 'A', 'B'], {rows})"
    lines = on_terminal(trained, show)
    assert max(map(len, lines)) <= 80
    assert "".join(lines[1:]).count("y") == 100 and "".join(lines).count("r") == 30


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--name=exp1"], ["exp1"]),
        (["--name", "exp1", "--status=failed"], []),
        (["--status", "finished"], ["exp2", "exp1"]),
        (["--filter=model.init_args.optimizer.init_args.lr=0.01"], ["exp2"]),
        (["--filter", "model.optimizer.lr=1e-2"], ["exp2"]),
        (["--filter=seed_everything=7"], ["exp1"]),
        (["--filter=git.dirty=true", "--filter=seed=42"], ["exp2"]),
        (["--filter=git.dirty=true", "--name=exp1"], []),
        (["--filter=model.lr_scheduler=null"], ["exp2"]),
        (["--filter=model.net.class_path=my_project.models.tiny.Tiny"], ["exp2"]),
        (["--filter=test/acc=2"], []),
        (["--sort=name"], ["exp1", "exp2"]),
        (["--sort", "-name"], ["exp2", "exp1"]),
        (["--sort", "-name", "--limit=1"], ["exp2"]),
        (["--sort=model.optimizer.lr"], ["exp1", "exp2"]),
        (["--sort", "-seed_everything"], ["exp2", "exp1"]),  # 42 and 7, by number
        (["--sort=test/acc"], ["exp1", "exp2"]),  # exp2 has none
        (["--sort", "-test/acc"], ["exp1", "exp2"]),
    ],
)
def test_runs_are_filtered_sorted_and_limited(
    trained: Path, options: list[str], names: list[str]
) -> None:
    if names:
        assert listed(trained, *options) == names
    else:
        assert printed(trained, *options) == "There is no such run in logs\n"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ["--filter=model.optimizer.lrr=1"],
            "no run has model.optimizer.lrr: did you mean model.optimizer.lr?",
        ),
        (["--filter=exp1"], "--filter is exp1, but must be key=value, such as data.batch_size=64"),
        (["--sort=xyz"], "no run has xyz"),
        (["--metric=val/los"], "no run has val/los: did you mean val/loss?"),
        (["--limit=x"], "argument --limit: x is no whole number of at least 1 (--help says more)"),
        (["--nme=exp1"], "unrecognized arguments: --nme=exp1 (--help says more)"),
        (["diff", "exp1"], "the following arguments are required: B (--help says more)"),
    ],
)
def test_a_mistake_is_answered_with_one_line(
    trained: Path, options: list[str], problem: str
) -> None:
    assert refused(trained, *options) == problem


def test_json_has_everything(project: Path) -> None:
    run = directory(project, "exp1")
    with (run / "config.yaml").open("a") as file:
        file.write("extra: {limit: .inf, day: 2026-01-01}\n")
    text = printed(project, "--json", "--sort=name")
    (row, other) = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (row["directory"], row["name"], row["id"]) == (str(run), "exp1", run.name)
    assert (other["name"], row["status"], row["epochs"], row["steps"]) == (
        "exp2",
        "finished",
        1,
        10,
    )
    assert row["run"] == record(run)
    assert row["config"]["data.init_args.batch_size"] == 32
    assert (row["config"]["extra.limit"], row["config"]["extra.day"]) == ("Infinity", "2026-01-01")
    assert row["last"].items() >= row["run"]["metrics"].items()
    assert row["best"]["step"] == 9 and row["best"]["val/acc"] == row["last"]["val/acc"]
    assert json.loads(printed(project, "--json", "--name=none")) == []


def test_a_damaged_run_is_a_row_like_any_other(project: Path) -> None:
    run = directory(project, "exp1")
    contents = {
        "cut": '{"status": "finished", "met',
        "empty": "",
        "list": "[1]",
        "binary": "\0\0",
        "number": '{"status": "finished", "metrics": 5}',
        "text": '{"status": "finished", "commands": ["fit"]}',
        "other": '{"status": "finished", "commands": [{}]}',
    }
    for name, content in contents.items():
        shutil.copytree(run, run.parents[1] / name / run.name)
        (run.parents[1] / name / run.name / "run.json").write_text(content)
    shutil.copytree(run, run.parents[1] / "whole" / run.name)
    for name in ("config.yaml", "metrics.csv"):
        (run.parents[1] / "whole" / run.name / name).write_bytes(b"a: [\0\xff\n")
    (run / "run.json").unlink()
    rows = {row["name"]: row for row in table(project)}
    expected = {
        **dict.fromkeys(contents, "damaged"),
        "exp1": "missing",
        "exp2": "finished",
        "whole": "finished",
    }
    assert {name: row["status"] for name, row in rows.items()} == expected
    for name in [*contents, "exp1"]:
        assert (
            rows[name]["id"] == run.name and rows[name]["duration"] == rows[name]["commit"] == "-"
        )
    assert rows["whole"]["best.val/acc"] == "-" and rows["whole"]["val/acc"] != "-"
    assert (
        listed(project, "--sort", "-start")[0:2]
        == listed(project, "--sort", "-commit")[0:2]
        == ["exp2", "whole"]
    )
    assert listed(project, "--status=missing") == ["exp1"]
    assert len(json.loads(printed(project, "--json"))) == len(expected)


def test_a_run_that_goes_on_or_was_killed_lasted_until_it_last_wrote(project: Path) -> None:
    run = directory(project, "exp1")
    fit = {
        "command": "fit -c x",
        "start": "2026-01-01T10:00:00+00:00",
        "end": "2026-01-01T11:00:00+00:00",
    }
    test = {
        "command": "test --run last",
        "start": "2026-01-02T10:00:00+00:00",
        "end": "2026-01-02T11:00:00+00:00",
    }
    resumed = {"command": "fit --run last", "start": "2026-01-03T10:00:00+00:00", "end": None}
    edit(run, lambda said: said.update(commands=[fit, test, resumed], status="running", metrics={}))
    os.utime(run / "metrics.csv", (1767434400 + 90, 1767434400 + 90))  # 2026-01-03T10:01:30+00:00
    with FileLock(run / ".lock"):
        (row,) = table(project, "--status=running")
        assert not table(project, "--status=killed")
    assert (row["name"], row["duration"], row["epochs"]) == ("exp1", "1:01:30", "1")
    assert row["val/acc"] == row["best.val/acc"] != "-", "as far as metrics.csv has them"
    assert table(project, "--status=killed") == [{**row, "status": "killed"}]
    edit(run, lambda said: said["commands"].append(test))
    assert table(project, "--status=killed")[0]["duration"] == "1:01:30", (
        "though it has been tested since"
    )
    edit(run, lambda said: said["commands"].append(fit))
    assert table(project, "--status=killed")[0]["duration"] == "2:00:00", (
        "nobody knows how long the killed one took"
    )
    edit(run, lambda said: said["commands"][2].update(seen="2026-01-03T10:30:00+00:00"))
    assert table(project, "--status=killed")[0]["duration"] == "2:30:00", "its last sign of life"


def test_a_run_trains_only_as_long_as_it_has_a_lock(project: Path) -> None:
    run = directory(project, "exp1")
    edit(run, lambda said: said.update(status="running"))
    (run / ".lock").touch()
    assert json.loads(printed(project, "--json", "--name=exp1"))[0]["status"] == "killed"
    code = "import fcntl, sys; fcntl.flock = lambda *_: open('nothing'); from my_project import runs; runs.main([])"
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-c", code]
    assert (
        "running"
        in subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True
        ).stdout
    )
    (run / ".lock").unlink()
    assert listed(project, "--status=killed") == ["exp1"], (
        "its status could not be written, as on a full disk"
    )
    assert not (run / ".lock").exists()


def test_a_list_needs_no_torch(trained: Path) -> None:
    code = (
        "import sys; from my_project import runs; runs.main([]); sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(trained / "src")}
    subprocess.run(
        [sys.executable, "-c", code], cwd=trained, env=environment, check=True, capture_output=True
    )


def test_no_runs_at_all(project: Path) -> None:
    shutil.rmtree(project / "logs")
    assert printed(project, "--sort=x", "--name=exp1") == "There is no such run in logs\n"


def test_help_names_the_commands_and_shows_examples(trained: Path) -> None:
    text = printed(trained, "--help")
    assert all(word in text for word in ("list", "diff", "summary", "plot", "reproduce"))
    examples = re.findall(r"^  (python -m my_project\.runs .*)$", text, re.MULTILINE)
    assert len(examples) == 7
    for example in examples[:2]:
        printed(trained, *example.split()[3:])
    for command in ("list", "diff", "reproduce"):
        assert f"usage: python -m my_project.runs {command} " in printed(trained, command, "--help")


def test_keys_that_differ_are_columns_if_one_asks(trained: Path) -> None:
    (exp2, exp1) = table(trained, "--varied")
    assert (exp1["seed_everything"], exp2["seed_everything"]) == ("7", "42")
    assert exp2["model.optimizer.lr"] == "0.01" and "trainer.max_epochs" not in exp1
    assert "seed_everything" not in table(trained)[0]


def test_several_names_are_one_or_the_other(trained: Path) -> None:
    assert listed(trained, "--name=exp1", "--name=exp2") == ["exp2", "exp1"]
    assert listed(trained, "--name=exp1") == ["exp1"]


# plot ----------------------------------------------------------------------------------------------------------------


def test_a_picture_has_a_curve_for_each_run_and_is_the_same_again(
    trained: Path, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        assert "Plot: " in printed(trained, "plot", "--metric=val/loss", "--output", str(file))
    text = files[0].read_text()
    assert text == files[1].read_text()
    assert (
        all(f">{name}<" in text for name in ("exp1", "exp2"))
        and "val/loss" in text
        and "step" in text
    )
    hosts = set(re.findall(r"(?:href|src|url)[=(]\W*(?:https?:)?//([\w.]+)", text)) - {"www.w3.org"}
    assert not hosts, "nothing is fetched"


def test_a_picture_over_a_key_has_a_dot_for_each_run(trained: Path, tmp_path: Path) -> None:
    printed(trained, "plot", "--x=seed_everything", "--output", str(tmp_path / "dots.svg"))
    text = (tmp_path / "dots.svg").read_text()
    assert len(re.findall(r'<g class="dots"', text)) == 2
    assert "seed_everything" in text and "val/acc" in text


def test_what_cannot_be_drawn_is_told_and_nothing_written(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "no.svg"
    assert (
        refused(trained, "plot", "--metric=val/los", f"--output={file}")
        == "no run has val/los: did you mean val/loss?"
    )
    assert "a number for git.branch" in refused(
        trained, "plot", "--x=git.branch", f"--output={file}"
    )
    assert "there is no such run" in refused(trained, "plot", "--name=exp9", f"--output={file}")
    assert "there is no finished run" in refused(trained, "summary", "--name=exp9")
    assert not file.exists()


# diff ----------------------------------------------------------------------------------------------------------------


def test_diff_shows_configuration_metrics_and_origin(project: Path) -> None:
    one, other = directory(project, "exp1"), directory(project, "exp2")
    edit(other, lambda said: said["packages"].update({"torch": "0.1"}))
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "extra: '[red]'\n")
    configuration, metrics, origin = (
        printed(project, "diff", "exp1", other.name).strip().split("\n\n")
    )
    lines = [re.split(r"  +", line.strip()) for line in configuration.splitlines()]
    assert lines[0] == ["configuration", f"logs/exp1/{one.name}", f"logs/exp2/{other.name}"]
    assert ["model.init_args.optimizer.init_args.lr", "0.001", "0.01"] in lines
    assert ["seed_everything", "7", "42"] in lines
    assert ["extra", "-", "[red]"] in lines
    assert not any(line[0].startswith(("data.", "trainer.")) for line in lines), (
        "these are the same"
    )
    lines = [re.split(r"  +", line.strip()) for line in metrics.splitlines()]
    expected, found = record(one)["metrics"], record(other)["metrics"]
    assert [line[0] for line in lines] == ["metric", *expected]
    assert lines[1:] == [
        [name, repr(value), repr(found.get(name, "-")).strip("'")]
        for name, value in expected.items()
    ]
    lines = [re.split(r"  +", line.strip()) for line in origin.splitlines()]
    values = {line[0]: line[1:] for line in lines}
    assert values["git.dirty"] == ["false", "true"] and values["packages.torch"][1] == "0.1"
    assert values["command"] == [
        said["commands"][0]["command"] for said in (record(one), record(other))
    ]
    assert values.keys() == {
        "origin",
        "command",
        "code.patch",
        "git.dirty",
        "packages.torch",
        "seed",
    }


def test_diff_of_a_run_with_itself_or_a_damaged_one(project: Path) -> None:
    """And, since torch is there already, that nothing is reproduced without a repository."""
    copy = shutil.copytree(
        directory(project, "exp1"), project / "logs" / "exp3" / "20200101-000000-abcdef"
    )
    (copy / "run.json").write_text("{")
    calls = (
        ["diff", "last", "exp2"],
        ["diff", "exp3", "exp2"],
        ["diff", "exp1", "x"],
        ["reproduce", "exp1"],
    )
    same, damaged, none, alone = in_turn(project, *calls)
    assert same.count("no difference") == 2
    assert "seed_everything" in damaged and re.search(r"^val/acc +- +0\.", damaged, re.MULTILINE)
    assert none.startswith("error: there is no run x in logs")
    assert alone.startswith("error: no git repository (")


# reproduce -----------------------------------------------------------------------------------------------------------


def left_behind(project: Path, temporary: Path) -> list[str]:
    """Return the worktrees beside the project's own, and what is in the folder for temporary files."""
    worktrees = git(project, "worktree", "list", "--porcelain").count("worktree ") - 1
    assert (project / "data" / "mine" / "table.csv").exists(), "what was linked to is gone"
    return ["a worktree"] * worktrees + [path.name for path in temporary.glob("my-project-*")]


def test_a_clean_run_gives_the_same_metrics_again(trained: Path, tmp_path: Path) -> None:
    """Its commit is what runs, not the code that is there now, and with what configs/local.yaml said then."""
    before = git(trained, "status", "--porcelain"), listed(trained)
    lines = printed(trained, "reproduce", "exp1", TMPDIR=str(tmp_path)).splitlines()
    metrics = record(directory(trained, "exp1"))["metrics"]
    assert "test/acc" in metrics
    assert lines == [f"{name}: {value!r}, equal" for name, value in metrics.items()]
    assert not left_behind(trained, tmp_path)
    assert before == (git(trained, "status", "--porcelain"), listed(trained))


def copied(project: Path, name: str, folder: Path, change: Edit) -> Path:
    """Return a copy of a run that stands elsewhere and says something else."""
    run = directory(project, name)
    copy = shutil.copytree(run, folder / name / run.name)
    edit(copy, change)
    return copy


def test_changes_are_applied_and_the_worktree_is_kept_on_demand(
    trained: Path, tmp_path: Path
) -> None:
    def change(said: dict[str, Any]) -> None:
        said["commands"].append({"command": "validate --run exp2"})
        said["metrics"]["val/loss"] += 0.001

    run, into = copied(trained, "exp2", tmp_path, change), tmp_path / "again"
    options = ("--into", str(into), "--keep", "--tolerance=0.01")
    done = tool(trained, "reproduce", str(run), *options, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    results = dict(line.split(": ") for line in done.stdout.splitlines())
    assert results.pop("val/loss").endswith(" now, differs by 0.001")
    assert results.keys() == record(run)["metrics"].keys() - {"val/loss"}
    assert all(result.endswith(", equal") for result in results.values())
    assert "python src/main.py validate --run" in done.stderr
    project = into / "deep" / "my-project"
    assert "WIDTH = 16" in (project / "src" / "my_project" / "__init__.py").read_text()
    assert (project / "src" / "my_project" / "models" / "tiny.py").read_text() == TINY
    assert (project / "data" / "mine" / "table.csv").samefile(
        trained / "data" / "mine" / "table.csv"
    )
    again = directory(project, "exp2")
    assert record(again)["git"] == {**record(run)["git"], "branch": "HEAD"}
    assert (again / "code.patch").read_text() == (run / "code.patch").read_text()
    assert left_behind(trained, tmp_path) == ["a worktree"]
    assert f"git worktree remove --force {into}" in done.stderr
    git(trained, "worktree", "remove", "--force", str(into))
    assert not left_behind(trained, tmp_path)


def test_metrics_that_differ_are_an_error_and_what_else_differs_is_shown(
    trained: Path, tmp_path: Path
) -> None:
    def change(said: dict[str, Any]) -> None:
        said["metrics"] |= {"val/loss": said["metrics"]["val/loss"] + 0.5, "val/acc": None}
        said["packages"]["torch"] = "0.1"

    run = copied(trained, "exp2", tmp_path, change)
    done = tool(trained, "reproduce", str(run), "--tolerance=0.4", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 2 of 4 metrics differ by more than 0.4"
    assert re.search(r"^val/loss: .* now, differs by 0\.5$", done.stdout, re.MULTILINE)
    assert re.search(r"^val/acc: null, 0\.\d+ now, differs by inf$", done.stdout, re.MULTILINE)
    assert re.search(r"^packages\.torch +0\.1 ", done.stdout, re.MULTILINE)
    assert not left_behind(trained, tmp_path)


def test_a_fit_that_fails_is_an_error(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, "exp1", tmp_path, lambda said: None)
    (run / "config.yaml").write_text("trainer: {max_epoch: 1}\n")
    done = tool(trained, "reproduce", str(run), TMPDIR=str(tmp_path))
    assert done.returncode == 1 and not done.stdout
    cause, line = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (
        "did you mean trainer.max_epochs?" in cause
        and line == "error: fit fails there, with exit status 1: see above"
    )
    assert not left_behind(trained, tmp_path)


def test_what_cannot_be_reproduced_is_answered_with_one_line(trained: Path, tmp_path: Path) -> None:
    """All in one process, since each would import torch anew."""
    gone, secret = "0123456789" * 4, "fit --ckpt_path s3://***@bucket/x.ckpt"
    changes: dict[str, Edit] = {
        f"its commit {gone} is gone (": lambda said: said["git"].update(commit=gone),
        "exp2/{id} has no commit: ": lambda said: said["git"].update(commit=None),
        f"its command has a secret, which was not recorded: {secret}": lambda said: said[
            "commands"
        ][0].update(command=secret),
        "exp2/{id} is no finished fit: ": lambda said: said.update(status="interrupted"),
        "exp2/{id} is no finished fit:": lambda said: said.update(commands=[]),
        "it began with --ckpt_path logs/x.ckpt, and there is no such file": lambda said: said[
            "commands"
        ][0].update(command="fit --ckpt_path=logs/x.ckpt"),
        "exp2/{id}/code.patch does not apply (": lambda said: None,
        "exp2/{id}/code.patch is gone, ": lambda said: None,
        "{into} is there already: ": lambda said: None,
    }
    calls = []
    for number, (problem, change) in enumerate(changes.items()):
        run = copied(trained, "exp2", tmp_path / f"{number}", change)
        calls.append(["reproduce", str(run), "--keep"])
        if "does not apply" in problem:
            text = (run / "code.patch").read_text()
            (run / "code.patch").write_text(text.replace('"""', '""" of another time', 1))
        elif "is gone, " in problem:
            (run / "code.patch").unlink()
        elif "already" in problem:
            calls[-1] += ["--into", str(tmp_path)]
    lines, run_id = in_turn(trained, *calls, TMPDIR=str(tmp_path)), directory(trained, "exp2").name
    for line, problem in zip(lines, changes, strict=True):
        pattern = re.escape(problem).replace(r"\{id\}", run_id).replace(r"\{into\}", r"\S+")
        assert re.fullmatch(rf"error: (\S+/)?{pattern}.*\n", line), line
    assert not left_behind(trained, tmp_path)
