"""`runs list`: what became of every run."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from helpers.run_files import record, run_of
from helpers.runs_tool import edit, listed, printed, refused, table
from helpers.template import git


def test_the_list_shows_what_became_of_every_run_newest_first(tool_runs: Path) -> None:
    rows = table(tool_runs)
    assert rows == table(tool_runs, "list")
    assert [row["name"] for row in rows] == ["exp2", "exp1"]
    commit = git(tool_runs, "rev-parse", "HEAD")[:7]
    for row, changed in zip(rows, ("*", ""), strict=True):
        run = run_of(tool_runs, row["name"])
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


def test_best_is_the_row_of_the_best_checkpoint_and_last_that_of_the_end(
    tool_project: Path,
) -> None:
    run = run_of(tool_project, "exp1")
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
    row, other = table(tool_project, "--sort=name", *options)
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
    assert table(tool_project, "--name=exp1")[0]["best.val/loss"] == "0.3"


def test_what_is_piped_is_whole_and_plain(tool_runs: Path) -> None:
    text = printed(tool_runs, COLUMNS="40", TERM="xterm-256color")
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


def test_on_a_terminal_a_run_is_a_line_and_long_values_are_folded(tool_runs: Path) -> None:
    lines = on_terminal(tool_runs, "runs.main([])")
    whole = printed(tool_runs).splitlines()
    assert len(lines) == len(whole) and max(map(len, whole)) > 80 >= max(map(len, lines))
    assert lines[0].split()[:3] == ["name", "id", "status"] and "commit" not in lines[0]
    for line, row in zip(lines, whole, strict=True):
        assert line.split()[:3] == row.split()[:3]
        assert line.split()[-1] in row.split()  # a metric
    rows = "[['x', 'y' * 100, '[red]' * 30]]"
    show = f"from my_project.tools.runs.tables import show; show(['key', 'A', 'B'], {rows})"
    lines = on_terminal(tool_runs, show)
    assert max(map(len, lines)) <= 80
    assert "".join(lines[1:]).count("y") == 100 and "".join(lines).count("r") == 30


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--name=exp1"], ["exp1"]),
        (["--name", "exp1", "--status=failed"], []),
        (["--status", "finished"], ["exp2", "exp1"]),
        (["--filter=model.init_args.optimizer.init_args.lr=0.02"], ["exp2"]),
        (["--filter", "model.optimizer.lr=2e-2"], ["exp2"]),
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
    tool_runs: Path, options: list[str], names: list[str]
) -> None:
    if names:
        assert listed(tool_runs, *options) == names
    else:
        assert printed(tool_runs, *options) == "There is no such run in logs\n"


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
    tool_runs: Path, options: list[str], problem: str
) -> None:
    assert refused(tool_runs, *options) == problem


def test_json_has_everything(tool_project: Path) -> None:
    run = run_of(tool_project, "exp1")
    with (run / "config.yaml").open("a") as file:
        file.write("extra: {limit: .inf, day: 2026-01-01}\n")
    text = printed(tool_project, "--json", "--sort=name")
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
    assert json.loads(printed(tool_project, "--json", "--name=none")) == []


def test_a_damaged_run_is_a_row_like_any_other(tool_project: Path) -> None:
    run = run_of(tool_project, "exp1")
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
    rows = {row["name"]: row for row in table(tool_project)}
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
        listed(tool_project, "--sort", "-start")[0:2]
        == listed(tool_project, "--sort", "-commit")[0:2]
        == ["exp2", "whole"]
    )
    assert listed(tool_project, "--status=missing") == ["exp1"]
    assert len(json.loads(printed(tool_project, "--json"))) == len(expected)


def test_a_run_that_goes_on_or_was_killed_lasted_until_it_last_wrote(tool_project: Path) -> None:
    run = run_of(tool_project, "exp1")
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
        (row,) = table(tool_project, "--status=running")
        assert not table(tool_project, "--status=killed")
    assert (row["name"], row["duration"], row["epochs"]) == ("exp1", "1:01:30", "1")
    assert row["val/acc"] == row["best.val/acc"] != "-", "as far as metrics.csv has them"
    assert table(tool_project, "--status=killed") == [{**row, "status": "killed"}]
    edit(run, lambda said: said["commands"].append(test))
    assert table(tool_project, "--status=killed")[0]["duration"] == "1:01:30", (
        "though it has been tested since"
    )
    edit(run, lambda said: said["commands"].append(fit))
    assert table(tool_project, "--status=killed")[0]["duration"] == "2:00:00", (
        "nobody knows how long the killed one took"
    )
    edit(run, lambda said: said["commands"][2].update(seen="2026-01-03T10:30:00+00:00"))
    assert table(tool_project, "--status=killed")[0]["duration"] == "2:30:00", (
        "its last sign of life"
    )


def test_a_run_trains_only_as_long_as_it_has_a_lock(tool_project: Path) -> None:
    run = run_of(tool_project, "exp1")
    edit(run, lambda said: said.update(status="running"))
    (run / ".lock").touch()
    assert json.loads(printed(tool_project, "--json", "--name=exp1"))[0]["status"] == "killed"
    code = "import fcntl, sys; fcntl.flock = lambda *_: open('nothing'); from my_project import runs; runs.main([])"
    environment = {**os.environ, "PYTHONPATH": str(tool_project / "src")}
    command = [sys.executable, "-c", code]
    assert (
        "running"
        in subprocess.run(
            command, cwd=tool_project, env=environment, capture_output=True, text=True
        ).stdout
    )
    (run / ".lock").unlink()
    assert listed(tool_project, "--status=killed") == ["exp1"], (
        "its status could not be written, as on a full disk"
    )
    assert not (run / ".lock").exists()


def test_a_list_needs_no_torch(tool_runs: Path) -> None:
    code = (
        "import sys; from my_project import runs; runs.main([]); sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tool_runs / "src")}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tool_runs,
        env=environment,
        check=True,
        capture_output=True,
    )


def test_no_runs_at_all(tool_project: Path) -> None:
    shutil.rmtree(tool_project / "logs")
    assert printed(tool_project, "--sort=x", "--name=exp1") == "There is no such run in logs\n"


def test_help_names_the_commands_and_shows_examples(tool_runs: Path) -> None:
    text = printed(tool_runs, "--help")
    assert all(word in text for word in ("list", "diff", "summary", "plot", "reproduce"))
    examples = re.findall(r"^  (python -m my_project\.runs .*)$", text, re.MULTILINE)
    assert len(examples) == 7
    for example in examples[:2]:
        printed(tool_runs, *example.split()[3:])
    for command in ("list", "diff", "reproduce"):
        assert f"usage: python -m my_project.runs {command} " in printed(
            tool_runs, command, "--help"
        )


def test_keys_that_differ_are_columns_if_one_asks(tool_runs: Path) -> None:
    (exp2, exp1) = table(tool_runs, "--varied")
    assert (exp1["seed_everything"], exp2["seed_everything"]) == ("7", "42")
    assert exp2["model.optimizer.lr"] == "0.02" and "trainer.max_epochs" not in exp1
    assert "seed_everything" not in table(tool_runs)[0]


def test_several_names_are_one_or_the_other(tool_runs: Path) -> None:
    assert listed(tool_runs, "--name=exp1", "--name=exp2") == ["exp2", "exp1"]
    assert listed(tool_runs, "--name=exp1") == ["exp1"]
