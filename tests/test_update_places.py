"""An update keeps what is the owner's under any setting of git, and in any place."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.project_in_use import check_kept
from helpers.template import git, sweep
from helpers.updates import ANSWERS, RELEASES, commit, update

# Each group at once: an update of a project takes seconds
OF_AN_UPDATE = [
    "color.ui always; core.pager false; pager.diff false; status.short true; status.branch true; status.showStash true",
    "diff.noprefix true; diff.external false; diff.context 0; diff.relative true; diff.interHunkContext 9",
    "diff.mnemonicPrefix true; diff.renames copies; diff.algorithm histogram; merge.conflictStyle diff3",
    "commit.gpgSign true; tag.gpgSign true; core.hooksPath /nowhere; commit.verbose true; user.useConfigOnly true",
    "core.autocrlf true; core.fileMode false; core.symlinks false; core.ignoreCase true; apply.whitespace fix",
    "core.autocrlf input; feature.manyFiles true; init.defaultBranch trunk; submodule.recurse true",
]


@pytest.mark.parametrize("group", OF_AN_UPDATE)
def test_an_update_keeps_what_is_the_owners_under_any_setting_of_git(
    owned: Callable[..., Path], git_settings: Callable[[str], None], group: str
) -> None:
    project = owned()
    for setting in group.split("; "):
        git_settings(setting)
    update(project)
    check_kept(project)


def in_a_monorepo(project: Path) -> Path:
    shutil.rmtree(project / ".git")
    (project.parent / "src").mkdir()
    (project.parent / "src" / "main.py").write_text("OTHER = 1\n")
    git(project.parent, "init", "--quiet")
    commit(project.parent)
    return project


def in_a_submodule(project: Path) -> Path:
    top = project.parent / "top"
    git(project.parent, "init", "--quiet", "top")
    git(
        top,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(project),
        "a project",
    )
    commit(top)
    shutil.copytree(
        project, top / "a project", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git")
    )
    return top / "a project"


def in_a_worktree(project: Path) -> Path:
    tree = project.parent / "tree"
    git(project, "worktree", "add", "--quiet", "--detach", str(tree))
    shutil.copytree(project, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    return tree


def with_a_detached_head(project: Path) -> Path:
    git(project, "checkout", "--quiet", "--detach")
    return project


def in_a_folder_of_another_name(project: Path) -> Path:
    return project.rename(project.parent / "数字 [2] *é")


def without_unneeded_answers(project: Path) -> Path:
    path = project / ANSWERS
    path.write_text(
        re.sub(
            "(?m)^(license|readme_language|setup|torch_build|project_name): .*\n",
            "",
            path.read_text(),
        )
    )
    commit(project)
    return project


def with_an_answer_of_no_question(project: Path) -> Path:
    with (project / ANSWERS).open("a") as answers:
        answers.write("gone: true\n")
    commit(project)
    return project


PLACES = [
    in_a_monorepo,
    in_a_submodule,
    in_a_worktree,
    with_a_detached_head,
    in_a_folder_of_another_name,
    without_unneeded_answers,
    with_an_answer_of_no_question,
]


@pytest.mark.parametrize("release", [*sweep(*RELEASES[:-1]), RELEASES[-1]])
@pytest.mark.parametrize("place", PLACES)
def test_an_update_keeps_what_is_the_owners_in_any_place(
    owned: Callable[..., Path], place: Callable[[Path], Path], release: str
) -> None:
    project = place(owned(release))
    update(project)
    check_kept(project)
    assert (project / "src" / "my_project" / "engine" / "__init__.py").exists()
    if place is in_a_monorepo:
        assert (project.parent / "src" / "main.py").read_text() == "OTHER = 1\n"
