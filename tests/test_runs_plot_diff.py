"""`runs plot` and `runs diff`."""

import re
import shutil
from pathlib import Path

from helpers.run_files import record, run_of
from helpers.runs_tool import edit, in_turn, printed, refused


def test_a_picture_has_a_curve_for_each_run_and_is_the_same_again(
    tool_runs: Path, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        assert "Plot: " in printed(tool_runs, "plot", "--metric=val/loss", "--output", str(file))
    text = files[0].read_text()
    assert text == files[1].read_text()
    assert (
        all(f">{name}<" in text for name in ("exp1", "exp2"))
        and "val/loss" in text
        and "step" in text
    )
    hosts = set(re.findall(r"(?:href|src|url)[=(]\W*(?:https?:)?//([\w.]+)", text)) - {"www.w3.org"}
    assert not hosts, "nothing is fetched"


def test_a_picture_over_a_key_has_a_dot_for_each_run(tool_runs: Path, tmp_path: Path) -> None:
    printed(tool_runs, "plot", "--x=seed_everything", "--output", str(tmp_path / "dots.svg"))
    text = (tmp_path / "dots.svg").read_text()
    assert len(re.findall(r'<g class="dots"', text)) == 2
    assert "seed_everything" in text and "val/acc" in text


def test_what_cannot_be_drawn_is_told_and_nothing_written(tool_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "no.svg"
    assert (
        refused(tool_runs, "plot", "--metric=val/los", f"--output={file}")
        == "no run has val/los: did you mean val/loss?"
    )
    assert "a number for git.branch" in refused(
        tool_runs, "plot", "--x=git.branch", f"--output={file}"
    )
    assert "there is no such run" in refused(tool_runs, "plot", "--name=exp9", f"--output={file}")
    assert "there is no finished run" in refused(tool_runs, "summary", "--name=exp9")
    assert not file.exists()


def test_diff_shows_configuration_metrics_and_origin(tool_project: Path) -> None:
    one, other = run_of(tool_project, "exp1"), run_of(tool_project, "exp2")
    edit(other, lambda said: said["packages"].update({"torch": "0.1"}))
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "extra: '[red]'\n")
    configuration, metrics, origin = (
        printed(tool_project, "diff", "exp1", other.name).strip().split("\n\n")
    )
    lines = [re.split(r"  +", line.strip()) for line in configuration.splitlines()]
    assert lines[0] == ["configuration", f"logs/exp1/{one.name}", f"logs/exp2/{other.name}"]
    assert ["model.init_args.optimizer.init_args.lr", "0.01", "0.02"] in lines
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


def test_diff_of_a_run_with_itself_or_a_damaged_one(tool_project: Path) -> None:
    """And, since torch is there already, that nothing is reproduced without a repository."""
    copy = shutil.copytree(
        run_of(tool_project, "exp1"), tool_project / "logs" / "exp3" / "20200101-000000-abcdef"
    )
    (copy / "run.json").write_text("{")
    calls = (
        ["diff", "last", "exp2"],
        ["diff", "exp3", "exp2"],
        ["diff", "exp1", "x"],
        ["reproduce", "exp1"],
    )
    same, damaged, none, alone = in_turn(tool_project, *calls)
    assert same.count("no difference") == 2
    assert "seed_everything" in damaged and re.search(r"^val/acc +- +0\.", damaged, re.MULTILINE)
    assert none.startswith("error: there is no run x in logs")
    assert alone.startswith("error: no git repository (")
