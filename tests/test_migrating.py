"""A project of one's own gets the template: no file is overwritten, and updates keep each line."""

import os
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pexpect
import pytest
from copier import run_copy
from helpers.migrating import (
    CLONE,
    REPOSITORY,
    STEPS,
    attempt,
    commands,
    commit,
    read,
    shell,
    start,
    write,
)
from helpers.template import QUESTIONS, git
from release import releases
from test_questions import in_language

VISION = {
    ".gitignore": "__pycache__/\n*.mine\n",
    "LICENSE": "Mine\n",
    "README.md": "# Vision\n\nMine.\n",
    "configs/default.yaml": "mine: true\n",
    "pyproject.toml": '[project]\nname = "vision"\nversion = "3"\ndependencies = ["einops"]\n',
    "src/main.py": "print('mine')\n",
    "src/vision/cli.py": "MINE = 1\n",
    "src/vision/net.py": "MINE = 2\n",
    "tests/conftest.py": "MINE = 3\n",
}


def on_a_terminal(project: Path, command: str, keys: dict[str, str], other: str) -> list[str]:
    """Run Copier on a terminal, press Enter at questions, and a key for each file that it asks about; return these."""
    env = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color"}
    arguments = ["-m", *shlex.split(command)]
    child = pexpect.spawn(
        sys.executable, arguments, 60, cwd=project, env=env, dimensions=(500, 200), encoding="utf-8"
    )
    for name in ("readme_language", "setup", "project_name", "loggers"):
        child.expect_exact(in_language(QUESTIONS[name]["help"], chinese=False)[0])
        child.send("\r")
    asked: list[str] = []
    while child.expect([r"Overwrite ([^?\r\n]+)\? (?:\x1b\[[\d;]*m)*\(Y/n\)", pexpect.EOF]) == 0:
        assert child.match
        asked.append(child.match[1])
        child.send(keys.get(asked[-1], other))
    child.close()
    assert child.exitstatus == 0, child.before
    return asked


def test_copier_asks_about_every_file_of_a_repository(template: Path, tmp_path: Path) -> None:  # noqa: PLR0915
    project = start(tmp_path / "my project", VISION)
    guide = commands(REPOSITORY.split("\n### ")[0], template)
    *before, pretend, copy, status, difference, restore, add, adopt, undo = guide
    for command in before:
        shell(project, command)
    mine = read(project)
    assert mine == {**VISION, "notes.txt": "mine\n"}
    write(project, {"secret.mine": "ignored\n"})
    clashes = {line.split()[-1] for line in shell(project, pretend).splitlines()}
    assert clashes == mine.keys() - {"notes.txt", "src/vision/net.py"}
    assert git(project, "status", "--porcelain", "--ignored") == "!! secret.mine\n"

    def changed() -> set[str]:
        now = read(project)
        return {name for name, text in mine.items() if text != now[name]}

    asked = on_a_terminal(project, copy, {"pyproject.toml": "y", "src/main.py": "y"}, "n")
    assert sorted(asked) == sorted(clashes), "each once"
    assert changed() == {"pyproject.toml", "src/main.py"}
    state = shell(project, status)
    assert "?? .copier-answers.yml" in state
    assert " M pyproject.toml" in state
    assert '-version = "3"' in shell(project, difference)
    shell(project, undo)
    assert git(project, "status", "--porcelain", "--ignored") == "!! secret.mine\n"

    on_a_terminal(project, copy, {}, "n\r")
    assert changed(), "the Enter after an n was a yes to the next file"
    shell(project, undo)

    on_a_terminal(project, copy, {}, "\r")
    assert changed() == clashes, "Enter is a yes"
    shell(project, restore, typed="y\n" * 9)
    assert changed() == clashes - {"pyproject.toml"}
    for command in (add, adopt):
        shell(project, command)
    assert not git(project, "status", "--porcelain")


def test_without_a_terminal_no_file_is_overwritten(template: Path, tmp_path: Path) -> None:
    project = start(tmp_path / "my project", VISION)
    commit(project)
    mine = read(project)
    copy = next(
        line for line in commands(REPOSITORY, template) if line.startswith("copier copy -d")
    )
    for options in ("", " --defaults"):
        done = attempt(project, copy + options)
        assert done.returncode == 1
        assert "Interactive session required" in done.stderr
        assert read(project) == mine
        git(project, "clean", "-dfxq")  # what is new is written, up to the first file that is there

    datasets = write(tmp_path / "all datasets", {"faces": "mine\n"})
    (project / "data").symlink_to(datasets)
    link, separate, update = commands(REPOSITORY.split("\n### ", 2)[2], template)
    separate += " --defaults"
    assert '"data/.gitkeep" is forbidden' in " ".join(attempt(project, separate).stderr.split())
    shell(project, link.replace("/mnt/datasets", shlex.quote(str(datasets))))
    write(project, {".copier-answers.yml": "_src_path: gh:other/template\n"})
    commit(project)
    shell(project, separate)
    others = {".copier-answers.yml": "_src_path: gh:other/template\n", "data/faces": "mine\n"}
    assert {**mine, **others}.items() <= read(project).items()
    commit(project)
    option = re.search(r"`copier update( -a \S+)`", REPOSITORY)
    assert option
    shell(project, f"{update}{option[1]} --defaults")
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("shape", [VISION, CLONE], ids=["repository", "clone"])
def test_an_update_keeps_every_line_of_what_was_kept(
    template: Path, tmp_path: Path, shape: dict[str, str]
) -> None:
    """From the first release to the working tree, and on to a version that changes all files: that cannot be merged."""
    project, future = (
        start(tmp_path / "my project", shape),
        shutil.copytree(template, tmp_path / "a template"),
    )
    commit(project)
    if shape is CLONE:
        for command in commands(STEPS[1], template):
            shell(project, command)
    mine = read(project)
    answers = {"package_name": "my_project" if shape is CLONE else "vision"}
    with warnings.catch_warnings():
        run_copy(
            str(future),
            project,
            answers,
            vcs_ref=releases()[0],
            skip_if_exists=["*"],
            defaults=True,
            quiet=True,
        )
    for version in ("v999.0.0", "v1000.0.0"):
        commit(project)
        shell(project, commands(REPOSITORY, template)[-1] + " --defaults")
        now = read(project)
        assert f"_commit: {version}\n" in now[".copier-answers.yml"]
        for name, text in mine.items():
            assert not {*text.splitlines()} - {*now[name].splitlines()}, name
        for path in (future / "template").rglob("*"):
            if path.is_file() and path.suffix != ".gz" and "answers_file" not in path.name:
                path.write_text(f"# planted\n{path.read_text()}")
        commit(future)
        git(future, "tag", "--annotate", "--force", "v1000.0.0", "--message", "x")
    marked = git(project, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert ".gitignore" in marked
    assert "README.md" not in marked
    for name in marked:
        both = "(?s)<<<<<<< before updating\n.*=======\n# planted\n.*>>>>>>> after updating\n"
        assert re.search(both, now[name]), name
