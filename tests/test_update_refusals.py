"""Updates that are refused, undone, or found out."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.project_in_use import ADDED, IGNORED, MARK, check_kept
from helpers.template import ROOT, git
from helpers.updates import RELEASES, commit, contents, copier, copy, update

# What an owner did, and what the refusal says
REFUSED = {
    "git mv src/my_project src/core": "src/my_project/ has no Python files",
    "git mv src/my_project my_project": "copier update --exclude /src",
    "sed -i 's/^package_name: .*/package_name: core/' .copier-answers.yml": "src/core/ has no Python files",
    "sed -i 's/^package_name: .*/package_name: my-core/' .copier-answers.yml": "is no package name",
    "sed -i '/^package_name/d; s/^project_name: .*/project_name: Core/' .copier-answers.yml": "src/core/ has no Python",
    "sed -i 's/^license: .*/license: WTFPL/' .copier-answers.yml": "'WTFPL' is not in",
    "sed -i 's/^- vscode/- nonsense/' .copier-answers.yml": "'nonsense' is not in",
    "sed -i '/^_commit/d' .copier-answers.yml": "cannot obtain old template references",
    "sed -i 's/^_commit: .*/_commit: v0.1.9/' .copier-answers.yml": "Unknown revision: 'v0.1.9'",
    "sed -i 's|^_src_path: .*|_src_path: /nowhere|' .copier-answers.yml": "Local template must be a directory",
    "sed -i 's/^license: .*/license: [/' .copier-answers.yml": "while parsing",
    "rm .copier-answers.yml": "Template not found",
    "rm -rf .git": "Updating is only supported in git-tracked subprojects",
    "echo >> README.md; git reset --quiet": "Destination repository is dirty",
}


@pytest.mark.parametrize("done", REFUSED)
def test_an_update_that_cannot_be_right_is_refused_before_it_begins(
    owned: Callable[..., Path], done: str
) -> None:
    project = owned()
    subprocess.run(done, shell=True, cwd=project, check=True)
    if (project / ".git").exists() and "README" not in done:
        commit(project)
    before = contents(project)
    with pytest.raises(Exception, match=re.escape(REFUSED[done])):
        update(project)
    assert contents(project) == before


def advice(message: str, label: str) -> str:
    """Return the command that a message of copier.yml gives under a label."""
    text = yaml.safe_load((ROOT / "copier.yml").read_text())[message]
    found = re.search(rf"^ *{label}: +(.*)$", text, re.MULTILINE)
    assert found, f"{message} has no {label}"
    return found[1]


def ask_shell(command: str, project: Path) -> list[str]:
    """Run a command that a message gives, and return the lines that it prints."""
    done = subprocess.run(
        command, shell=True, cwd=project, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


OFTEN_IGNORED = {
    ".devcontainer/devcontainer.json",
    ".env.example",
    ".vscode/extensions.json",
    ".vscode/settings.json",
}


@pytest.mark.parametrize("release", RELEASES)
def test_files_that_many_ignore_are_kept_and_the_others_are_listed(
    owned: Callable[..., Path], release: str
) -> None:
    project = owned(release)
    with (project / ".gitignore").open("a") as ignored:
        ignored.write(".devcontainer/\n.env*\n.vscode/\nDockerfile\nMakefile\ndocs/\n")
    git(project, "rm", "-r", "--quiet", "--cached", ".")
    commit(project)
    for name in OFTEN_IGNORED:
        with (project / name).open("a") as file:
            file.write(f"{MARK}\n")
    before = contents(project)
    listed = tuple(ask_shell(advice("_message_before_update", "List ignored files"), project))
    update(project, exclude=["/Makefile"])
    check_kept_files = {name: before[name] for name in (*OFTEN_IGNORED, "Makefile", *IGNORED)}
    after = contents(project)
    assert {name: after.get(name) for name in check_kept_files} == check_kept_files
    lost = {name for name in ("Dockerfile", "docs/.gitignore") if after.get(name) != before[name]}
    assert lost, "Copier keeps ignored files now: the message need not warn of it any more"
    assert all(name.startswith(listed) for name in (*lost, *OFTEN_IGNORED))


def test_a_choice_that_is_added_later_brings_files_that_many_ignore(
    template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / "my project", RELEASES[-1])
    update(project, tooling=["vscode", "devcontainer"])
    assert all((project / name).exists() for name in OFTEN_IGNORED)


def test_edits_that_are_rejected_are_found_though_git_status_shows_no_new_files(
    owned: Callable[..., Path], git_settings: Callable[[str], None]
) -> None:
    project = owned()
    path = project / "src" / "my_project" / "cli.py"
    path.write_text(path.read_text().replace("\n", "  # mine\n"))
    commit(project)
    git_settings("status.showUntrackedFiles no")
    update(project)
    rejected = ask_shell(advice("_message_after_update", "Rejected edits"), project)
    assert "src/my_project/cli.py.rej" in rejected
    assert (
        set(rejected)
        == {name for name in contents(project) if name.endswith(".rej")} - ADDED.keys()
    )
    shown = ask_shell(advice("_message_after_update", "See what it did"), project)
    assert any("engine/__init__.py" in line for line in shown)


def test_an_update_that_stops_because_of_a_name_can_be_undone_and_done(
    owned: Callable[..., Path], git_settings: Callable[[str], None]
) -> None:
    project = owned()
    before = contents(project)
    git_settings("core.quotePath false")
    with pytest.raises(UnicodeDecodeError):
        update(project)
    ask_shell(advice("_message_after_update", "Undo all of it"), project)
    assert contents(project) == before
    change = r"`git config core.quotePath` says false.*?To change it: +git config --global (core.quotePath \w+)"
    found = re.search(change, (ROOT / "copier.yml").read_text(), re.DOTALL)
    assert found
    git_settings(found[1])
    update(project)
    check_kept(project)


def test_an_update_between_commits_without_a_tag_says_where_the_changes_are(
    template: Path, tmp_path: Path
) -> None:
    untagged = tmp_path / "template"
    git(tmp_path, "clone", "--quiet", "--no-tags", str(template), str(untagged))
    project = copy(untagged, tmp_path / "my project", "HEAD~1")
    message = copier(project, "--vcs-ref", "HEAD")
    assert f"CHANGELOG.md of the template says what is new: {untagged}\n" in message
    assert "\n- " not in message.partition("Updating to")[2]
