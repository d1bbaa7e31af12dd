"""`copier update` of projects in use: it keeps what is the owner's, or refuses before it changes a file.

The projects have own files, edits and deletions, and lie in many places, under many settings of git. What an update
must keep is compared byte by byte, or line by line where the template changed the same file.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import plumbum
import pytest
import yaml
from helpers.commands import DIGITS, succeed
from helpers.template import ROOT, Render, git, sweep
from packaging.requirements import Requirement
from test_update import (
    ANSWERS,
    EVERYTHING,
    RELEASES,
    commit,
    contents,
    copier,
    copy,
    questions,
    update,
)

MARK = "# the owner's line"
TOOLING = ["vscode", "devcontainer", "docker", "makefile", "docs", "gitlab_ci"]
# Own files that are committed, and own files that git ignores
ADDED = {
    "configs/data/mine.yaml": "data: my_project.data_modules.digits.DigitsDataModule\n",
    "configs/experiment/größe 1.yaml": "seed_everything: 1\n",
    "src/my_project/callbacks/mine.py": "MINE = 1\r\n",
    "src/my_project/metrics/mine.py": "MINE = 1\n",
    "src/my_project/models/mine.py": "MINE = 1\n",
    "src/my_project/modules/mine.py": "MINE = 1",
    "src/my_project/engine_of_mine/__init__.py": "",
    "tests/test_mine.py": "def test_mine() -> None: ...\n",
    "notes.rej": "not an edit that was rejected\n",
}
IGNORED = {
    ".env": "SECRET=1\n",
    "configs/local.yaml": "trainer:\n  accelerator: cpu\n",
    "data/mine/train.csv": "1,2\n",
    "logs/exp1/1/metrics.csv": "step\n1\n",
    "private/mine.py": "MINE = 1\n",
}
# Shipped files that an owner changes, and a line of each of them after which the owner's comes
CHANGED = {
    ".gitignore": "# Add your own below this line",
    "configs/default.yaml": "trainer:",
    "configs/data/digits.yaml": "data:",
    "src/my_project/cli.py": "class CLI",
    "src/my_project/data_modules/digits.py": "import",
    "src/my_project/data_modules/in_memory.py": "class InMemory",
    "src/my_project/models/simplenet.py": "import",
    "src/my_project/utils/project.py": "import",
    "README.md": "# ",
    "Makefile": "test:",
    "Dockerfile": "FROM",
    ".vscode/settings.json": "{",
}
DELETED = [
    ".vscode/launch.json",
    "configs/trainer/debug.yaml",
    "src/my_project/utils/optim.py",
    ".gitlab-ci.yml",
    "docs/conf.py",
]


def own(project: Path) -> None:
    """Add files to a project, change some of its files, delete others, and commit."""
    for name, line in CHANGED.items():
        path = project / name
        before, found, after = path.read_text().partition(line)
        assert found, f"{name} has no {line}"
        path.write_text(f"{before}{MARK}\n{found}{after}")
    for name in DELETED:
        (project / name).unlink()
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("/private/\n*.tmp\n")
    for name, text in (ADDED | IGNORED).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(text.encode())
    commit(project)


def check_kept(project: Path) -> None:
    """Check that a project still has all that its owner made of it."""
    after = contents(project)
    assert {name: after.get(name) for name in ADDED | IGNORED} == {
        name: text.encode() for name, text in (ADDED | IGNORED).items()
    }
    assert not after.keys() & set(DELETED)
    for name in CHANGED:
        assert MARK in after[name].decode(), f"{name} has lost the owner's line"
    assert [name for name in after if name.endswith(".rej")] == ["notes.rej"]


@pytest.fixture(scope="module")
def owned_projects(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function that gives a project of a release that its owner has worked in; a test copies it."""
    projects: dict[str, Path] = {}

    def owned(release: str) -> Path:
        if release not in projects:
            choices = questions(template, release)["tooling"]
            tooling = [name for name in TOOLING if name in choices]
            project = tmp_path_factory.mktemp("owned") / "my project"
            projects[release] = copy(template, project, release, tooling=tooling)
            own(project)
        return projects[release]

    return owned


@pytest.fixture
def owned(owned_projects: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives a copy of such a project in a folder of this name."""

    def owned(release: str = RELEASES[-1], name: str = "my project") -> Path:
        return shutil.copytree(owned_projects(release), tmp_path / name, symlinks=True)

    return owned


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that adds lines to the user's own git configuration."""
    config = tmp_path / "gitconfig"
    shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], config)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))

    def add(setting: str) -> None:
        name, _, value = setting.partition(" ")
        subprocess.run(["git", "config", "--global", name, value], check=True)

    with plumbum.local.env(GIT_CONFIG_GLOBAL=str(config)):
        yield add


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
    owned: Callable[..., Path], settings: Callable[[str], None], group: str
) -> None:
    project = owned()
    for setting in group.split("; "):
        settings(setting)
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
    owned: Callable[..., Path], settings: Callable[[str], None]
) -> None:
    project = owned()
    path = project / "src" / "my_project" / "cli.py"
    path.write_text(path.read_text().replace("\n", "  # mine\n"))
    commit(project)
    settings("status.showUntrackedFiles no")
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
    owned: Callable[..., Path], settings: Callable[[str], None]
) -> None:
    project = owned()
    before = contents(project)
    settings("core.quotePath false")
    with pytest.raises(UnicodeDecodeError):
        update(project)
    ask_shell(advice("_message_after_update", "Undo all of it"), project)
    assert contents(project) == before
    change = r"`git config core.quotePath` says false.*?To change it: +git config --global (core.quotePath \w+)"
    found = re.search(change, (ROOT / "copier.yml").read_text(), re.DOTALL)
    assert found
    settings(found[1])
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


def test_a_renamed_package_is_updated_under_its_new_name(owned: Callable[..., Path]) -> None:
    project = owned()
    git(project, "mv", "src/my_project", "src/core")
    for name in git(project, "grep", "-lw", "my_project", "--", ".", f":!{ANSWERS}").splitlines():
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"my_project", b"core"))
    commit(project)
    before = contents(project)
    with pytest.raises(ValueError) as caught:
        update(project)
    assert "write its new name as package_name into .copier-answers.yml" in str(caught.value)
    path = project / ANSWERS
    path.write_text(path.read_text().replace("package_name: my_project", "package_name: core"))
    commit(project)
    update(project)
    assert not (project / "src" / "my_project").exists()
    assert (project / "src" / "core" / "engine" / "__init__.py").exists()
    after = contents(project)
    assert MARK in after["src/core/cli.py"].decode()
    assert after["src/core/models/mine.py"] == before["src/core/models/mine.py"]


def test_a_project_whose_name_is_refused_by_now_can_be_updated(
    template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / "box", RELEASES[-1])
    update(project)
    assert (project / "src" / "box" / "engine" / "__init__.py").exists()


def installed(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that requirements bring, of those that are installed here."""
    found: set[str] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for extra in ("", *requirement.extras):
            key = f"{name}[{extra}]"
            if key not in found:
                found.add(key)
                try:
                    waiting += [(needed, extra) for needed in distribution(name).requires or []]
                except PackageNotFoundError:
                    break
    return {key.partition("[")[0] for key in found}


def test_names_of_all_that_a_project_can_import_are_refused(render: Render) -> None:
    project = render(
        **{name: answer for name, answer in EVERYTHING.items() if name != "readme_language"}
    )
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    optional = metadata["optional-dependencies"].values()
    brought = installed(
        [*metadata["dependencies"], *(text for texts in optional for text in texts)]
    )
    modules = {
        module.lower()
        for module, names in packages_distributions().items()
        if brought & {name.lower().replace("_", "-") for name in names}
    }
    modules |= {path.stem for path in (project / "tests").glob("*.py")}
    possible = {module for module in modules if re.fullmatch("[a-z][a-z0-9_]{0,29}", module)}
    assert {"fsspec", "filelock", "packaging", "typing_extensions", "conftest"} <= possible
    refused = set(re.findall(r"\w+", (ROOT / "includes" / "names.jinja").read_text()))
    assert not possible - refused
    with pytest.raises(ValueError, match="packaging is a module that the project uses"):
        render(package_name="packaging")
    with pytest.raises(ValueError, match="conftest is a module of the project's tests"):
        render(package_name="conftest")


# What a user may have set, and what a repository's attributes may say, with which a patch was once of no use
OF_A_PATCH = [
    "user.name Ada",
    "color.ui always; color.diff always; core.abbrev 4; core.pager false; diff.wsErrorHighlight all",
    "core.autocrlf true; core.safecrlf true",
    "core.autocrlf input; core.quotePath false; diff.dirstat lines",
    "diff.context 0; diff.interHunkContext 9; diff.algorithm patience; diff.suppressBlankEmpty true",
    "diff.external false; diff.python.command false; diff.python.textconv rev",
    "diff.mnemonicPrefix true; diff.renames copies; apply.ignoreWhitespace change",
    "diff.noprefix true; apply.whitespace error",
    "diff.submodule log; diff.ignoreSubmodules all; index.version 4",
    "status.short true; status.branch true; status.showUntrackedFiles no",
    "GIT_DIR /nowhere; GIT_PREFIX src/; GIT_DIFF_OPTS --unified=0",
    "GIT_INDEX_FILE /nowhere; GIT_LITERAL_PATHSPECS 1; GIT_EXTERNAL_DIFF false",
    "GIT_OBJECT_DIRECTORY /nowhere; GIT_WORK_TREE /",
]


@pytest.fixture(scope="module")
def changed(default_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a folder of its repository, in which all kinds of changes are not committed."""
    top = tmp_path_factory.mktemp("changed")
    project = shutil.copytree(default_project, top / "my project")
    code, library = project / "src" / "my_project", top / "library"
    (project / ".gitattributes").write_text("*.py diff=python\n")
    (code / "crlf.py").write_bytes(b"A = 1\r\nB = 2\r\n")
    (code / "größe.py").write_text("A = 1\n")
    (code / "picture.png").write_bytes(bytes(256))
    (project / "HEAD").write_text("a file with the name of a commit\n")
    git(top, "init", "--quiet")
    git(top, "init", "--quiet", str(library))
    git(library, "commit", "--quiet", "--allow-empty", "--message", "x")
    git(
        project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(library),
        "library",
    )
    commit(top)
    git(project / "library", "commit", "--quiet", "--allow-empty", "--message", "y")
    (project / "library" / "dirty").touch()
    (code / "crlf.py").write_bytes(b"A = 1\r\nB = 3\r\n")
    (code / "größe.py").write_text("A = 2\n")
    (code / "picture.png").write_bytes(bytes(257))
    (code / "cli.py").write_text(f"# changed \n\n{(code / 'cli.py').read_text()}")
    (code / "new one.py").write_text("NEW = 1\n\n\tblank = 1 \n")
    (code / "new_crlf.py").write_bytes(b"NEW = 1\r\n")
    (code / "utils" / "optim.py").rename(code / "utils" / "moved.py")
    (project / "configs" / "trainer" / "debug.yaml").unlink()
    return project


@pytest.mark.parametrize("group", OF_A_PATCH)
def test_the_patch_of_a_run_applies_under_any_setting_of_git(
    changed: Path, settings: Callable[[str], None], tmp_path: Path, group: str
) -> None:
    variables = {}
    for setting in group.split("; "):
        name, _, value = setting.partition(" ")
        if name.startswith("GIT_"):
            variables[name] = value
        else:
            settings(setting)
    script = [sys.executable, "-m", "my_project.engine.origin"]
    environment = {**os.environ, **variables, "PYTHONPATH": str(changed / "src")}
    done = subprocess.run(script, check=True, capture_output=True, cwd=changed, env=environment)
    origin = json.loads(done.stdout)
    assert origin["git"] == {
        "commit": git(changed, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": True,
    }
    patch, again = tmp_path / "code.patch", tmp_path / "again"
    patch.write_bytes(origin["patch"].encode())
    git(changed, "worktree", "add", "--quiet", "--detach", str(again))
    git(again, "apply", "--whitespace=nowarn", "--directory", "my project", str(patch))
    names = git(changed, "ls-files", "-z", "--cached", "--others", "src", "configs").split("\0")[
        :-1
    ]
    for name in names:
        there, here = again / "my project" / name, changed / name
        assert there.exists() == here.exists(), name
        if here.is_file() and here.suffix != ".png":  # a patch holds text alone
            expected, found = here.read_bytes(), there.read_bytes()
            if "autocrlf" in group:  # git decides how lines end
                expected, found = expected.replace(b"\r\n", b"\n"), found.replace(b"\r\n", b"\n")
            assert found == expected, name
    git(changed, "worktree", "remove", "--force", str(again))


def test_a_fit_in_another_repositorys_hook_commits_and_records_its_own(
    render: Render, tmp_path: Path, settings: Callable[[str], None]
) -> None:
    project = shutil.copytree(render(tooling=["runs"]), tmp_path / "my-project")
    git(project, "init", "--quiet")
    commit(project)
    (project / "src" / "my_project" / "new.py").touch()
    settings("status.showUntrackedFiles no")
    hook: dict[str, Any] = {
        "GIT_DIR": str(tmp_path / "another"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
    }
    short = (
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
    )
    quiet = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")
    printed = succeed(
        project, "fit", *DIGITS, *short, *quiet, "--name=a", "--git_commit_before_fit=true", **hook
    )
    assert f"Git: committed {git(project, 'log', '-1', '--format=%s').strip()}" in printed
    assert "src/my_project/new.py" in git(project, "show", "--stat", "--format=")
    record = json.loads(next(project.glob("logs/a/*/run.json")).read_text())
    head = git(project, "rev-parse", "HEAD").strip()
    assert record["git"] == {"commit": head, "branch": "main", "dirty": False}
    settings("diff.noprefix true")
    succeed(
        project, "-m", "my_project.runs", "reproduce", "a", PYTHONPATH=str(project / "src"), **hook
    )
