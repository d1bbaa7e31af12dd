"""`runs reproduce`."""

import re
import shutil
from pathlib import Path
from typing import Any

from helpers.run_files import record, run_of
from helpers.runs_tool import TINY, Edit, edit, in_turn, listed, printed, refused, tool
from helpers.template import git


def left_behind(project: Path, temporary: Path) -> list[str]:
    """Return the worktrees beside the project's own, and what is in the folder for temporary files."""
    worktrees = git(project, "worktree", "list", "--porcelain").count("worktree ") - 1
    assert (project / "data" / "mine" / "table.csv").exists(), "what was linked to is gone"
    return ["a worktree"] * worktrees + [path.name for path in temporary.glob("my-project-*")]


def test_a_clean_run_gives_the_same_metrics_again(tool_runs: Path, tmp_path: Path) -> None:
    """Its commit is what runs, not the code that is there now, and with what configs/local.yaml said then."""
    before = git(tool_runs, "status", "--porcelain"), listed(tool_runs)
    lines = printed(tool_runs, "reproduce", "exp1", TMPDIR=str(tmp_path)).splitlines()
    metrics = record(run_of(tool_runs, "exp1"))["metrics"]
    assert "test/acc" in metrics
    assert lines == [f"{name}: {value!r}, equal" for name, value in metrics.items()]
    assert not left_behind(tool_runs, tmp_path)
    assert before == (git(tool_runs, "status", "--porcelain"), listed(tool_runs))


def copied(project: Path, name: str, folder: Path, change: Edit) -> Path:
    """Return a copy of a run that stands elsewhere and says something else."""
    run = run_of(project, name)
    copy = shutil.copytree(run, folder / name / run.name)
    edit(copy, change)
    return copy


def test_changes_are_applied_and_the_worktree_is_kept_on_demand(
    tool_runs: Path, tmp_path: Path
) -> None:
    def change(said: dict[str, Any]) -> None:
        said["commands"].append({"command": "validate --run exp2"})
        said["metrics"]["val/loss"] += 0.001

    run, into = copied(tool_runs, "exp2", tmp_path, change), tmp_path / "again"
    options = ("--into", str(into), "--keep", "--tolerance=0.01")
    done = tool(tool_runs, "reproduce", str(run), *options, TMPDIR=str(tmp_path))
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
        tool_runs / "data" / "mine" / "table.csv"
    )
    again = run_of(project, "exp2")
    assert record(again)["git"] == {**record(run)["git"], "branch": "HEAD"}
    assert (again / "code.patch").read_text() == (run / "code.patch").read_text()
    assert left_behind(tool_runs, tmp_path) == ["a worktree"]
    assert f"git worktree remove --force {into}" in done.stderr
    git(tool_runs, "worktree", "remove", "--force", str(into))
    assert not left_behind(tool_runs, tmp_path)


def test_metrics_that_differ_are_an_error_and_what_else_differs_is_shown(
    tool_runs: Path, tmp_path: Path
) -> None:
    def change(said: dict[str, Any]) -> None:
        said["metrics"] |= {"val/loss": said["metrics"]["val/loss"] + 0.5, "val/acc": None}
        said["packages"]["torch"] = "0.1"

    run = copied(tool_runs, "exp2", tmp_path, change)
    done = tool(tool_runs, "reproduce", str(run), "--tolerance=0.4", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 2 of 5 metrics differ by more than 0.4"
    assert re.search(r"^val/loss: .* now, differs by 0\.5$", done.stdout, re.MULTILINE)
    assert re.search(r"^val/acc: null, 0\.\d+ now, differs by inf$", done.stdout, re.MULTILINE)
    assert re.search(r"^packages\.torch +0\.1 ", done.stdout, re.MULTILINE)
    assert not left_behind(tool_runs, tmp_path)


def test_a_fit_that_fails_is_an_error(tool_runs: Path, tmp_path: Path) -> None:
    run = copied(tool_runs, "exp1", tmp_path, lambda said: None)
    (run / "config.yaml").write_text("trainer: {max_epoch: 1}\n")
    done = tool(tool_runs, "reproduce", str(run), TMPDIR=str(tmp_path))
    assert done.returncode == 1 and not done.stdout
    cause, line = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (
        "did you mean trainer.max_epochs?" in cause
        and line == "error: fit fails there, with exit status 1: see above"
    )
    assert not left_behind(tool_runs, tmp_path)


def test_what_cannot_be_reproduced_is_answered_with_one_line(
    tool_runs: Path, tmp_path: Path
) -> None:
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
        "exp2/{id} was resumed with --model.optimizer.lr (": lambda said: said["commands"].append(
            {"command": "fit --run exp2 --trainer.max_epochs=2 --model.optimizer.lr 1"}
        ),
        "it began with --ckpt_path logs/x.ckpt, and there is no such file": lambda said: said[
            "commands"
        ][0].update(command="fit --ckpt_path=logs/x.ckpt"),
        "exp2/{id}/code.patch does not apply (": lambda said: None,
        "exp2/{id}/code.patch is gone, ": lambda said: None,
        "{into} is there already: ": lambda said: None,
    }
    calls = []
    for number, (problem, change) in enumerate(changes.items()):
        run = copied(tool_runs, "exp2", tmp_path / f"{number}", change)
        calls.append(["reproduce", str(run), "--keep"])
        if "does not apply" in problem:
            text = (run / "code.patch").read_text()
            (run / "code.patch").write_text(text.replace('"""', '""" of another time', 1))
        elif "is gone, " in problem:
            (run / "code.patch").unlink()
        elif "already" in problem:
            calls[-1] += ["--into", str(tmp_path)]
    lines, run_id = (
        in_turn(tool_runs, *calls, TMPDIR=str(tmp_path)),
        run_of(tool_runs, "exp2").name,
    )
    for line, problem in zip(lines, changes, strict=True):
        pattern = re.escape(problem).replace(r"\{id\}", run_id).replace(r"\{into\}", r"\S+")
        assert re.fullmatch(rf"error: (\S+/)?{pattern}.*\n", line), line
    assert not left_behind(tool_runs, tmp_path)


def test_a_system_that_allows_no_links_is_said_in_one_line(tool_runs: Path, tmp_path: Path) -> None:
    """As Windows is without its Developer Mode."""
    code = """
from pathlib import Path


def symlink_to(path, *args, **kwargs):
    raise OSError(22, "A required privilege is not held by the client")


Path.symlink_to = symlink_to
"""
    (tmp_path / "sitecustomize.py").write_text(code)
    paths = {"PYTHONPATH": f"{tool_runs / 'src'}:{tmp_path}", "TMPDIR": str(tmp_path)}
    line = refused(tool_runs, "reproduce", "exp1", **paths)
    problem = "cannot link data/mine (A required privilege is not held by the client)"
    assert line == f"{problem}: on Windows, turn on Developer Mode, which allows links"
    assert not left_behind(tool_runs, tmp_path)
