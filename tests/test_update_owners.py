"""Whose files an update changes, and that all edits are kept."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.template import ROOT, as_listed, files, git
from helpers.updates import (
    ANSWERS,
    RELEASES,
    commit,
    conflicts,
    contents,
    is_yours,
    owned,
    release_version,
    undo,
    update,
)

PLANTED = "# planted"


@pytest.fixture(scope="session")
def future(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with a version after the working tree, in which every file has another first line."""
    copy = tmp_path_factory.mktemp("the future") / "template"
    shutil.copytree(template, copy)
    for path in (copy / "template").rglob("*"):
        if path.is_file() and path.suffix != ".gz" and "answers_file" not in path.name:
            path.write_text(f"{PLANTED}\n{path.read_text()}")
    pyproject = copy / "template" / "pyproject.toml.jinja"
    pyproject.write_text(
        pyproject.read_text().replace("    # Add your own", '    "planted>=1",\n    # Add your own')
    )
    (copy / "template" / "scripts" / "planted.py").write_text("print('theirs')\n")
    release_version(copy, "v1000.0.0")
    return copy


@pytest.fixture
def current(started: Callable[..., Path], future: Path) -> Callable[..., Path]:
    """Return a function that gives a project from the working tree which can be updated to the future."""

    def current(everything: bool = False) -> Path:
        project = started("v999.0.0", everything)
        path = project / ANSWERS
        path.write_text(re.sub("(?m)^_src_path: .*", f"_src_path: {future}", path.read_text()))
        commit(project)
        return project

    return current


def in_tables(path: str) -> str:
    """Return how the table of owners names a file: one of the template's folders by the folder."""
    return re.sub("^(src/<package>/tools|tests/engine)/.*", r"\1/", as_listed(path))


def test_the_owners_in_the_docs_are_the_owners(current: Callable[..., Path]) -> None:
    owners = {owner: owned(owner) for owner in ("you", "both", "template")}
    project = current(everything=True)
    before = contents(project)
    name = {file: re.sub(r"^src/\w+/", "src/<package>/", file) for file in before}
    name = {file: in_tables(path) for file, path in name.items()}
    listed = [file for files in owners.values() for file in files]
    assert len(listed) == len(set(listed))
    assert set(name.values()) == set(listed) - {"README.en.md"}
    assert not (owned("nobody") | owned("moved")) & set(name.values())
    update(project)
    touched = {name[file] for file in before if contents(project)[file] != before[file]}
    assert touched == owners["both"] | owners["template"]


def test_every_conflict_is_marked_and_can_be_undone(current: Callable[..., Path]) -> None:
    project = current(everything=True)
    names = files(project) - {
        ANSWERS,
        *(name for name in files(project) if name.startswith(".git/")),
    }
    for name in names:
        if not name.endswith(".gz"):
            (project / name).write_text(f"# mine\n{(project / name).read_text()}")
    commit(project)
    before = contents(project)
    update(project)
    merged = {name for name in names if not is_yours(name)}
    assert conflicts(project) == merged
    for name in merged:
        assert (
            (project / name)
            .read_text()
            .startswith("<<<<<<< before updating\n# mine\n=======\n# planted\n>>>>>>>")
        )
    assert all((project / name).read_bytes() == before[name] for name in names - merged)
    undo(project)
    assert contents(project) == before


def test_what_the_user_deleted_renamed_and_added_stays(current: Callable[..., Path]) -> None:
    project = current(everything=True)
    names = sorted(
        files(project) - {ANSWERS, *(name for name in files(project) if name.startswith(".git/"))}
    )
    deleted, renamed = names[::3], names[1::3]
    for name in deleted:
        (project / name).unlink()
    for name in renamed:
        path = project / name
        path.rename(path.with_name(f"my {path.name}"))
    added = {
        "configs/data/实验 1.yaml": b"batch_size: 1\n",
        "src/my_project/callbacks/mine.py": b"MINE = 1\r\n",
        "figures/a b.png": bytes(range(256)),
        "src/my_project/empty.py": b"",
        "notes.txt": b"no line break at the end",
        "scripts/planted.py": b"print('mine')\n",  # as the template has it from now on
        ".env": b"ignored=1\n",
        "logs/exp1/metrics.csv": b"ignored\n",
    }
    for name, content in added.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    (project / "link").symlink_to("notes.txt")
    (project / "notes.txt").chmod(0o755)
    commit(project)
    before = contents(project)
    update(project)
    after = contents(project)
    assert after.keys() == before.keys()
    assert conflicts(project) == {"scripts/planted.py"}
    theirs = {name for name in names[2::3] if not is_yours(name)} | {"scripts/planted.py", ANSWERS}
    assert {name for name in before if after[name] != before[name]} == theirs
    assert (
        b"print('mine')\n" in after["scripts/planted.py"]
        and b"print('theirs')\n" in after["scripts/planted.py"]
    )
    assert (project / "link").is_symlink() and os.access(project / "notes.txt", os.X_OK)


def test_edits_of_a_project_in_use_merge_and_all_files_are_valid(
    current: Callable[..., Path],
) -> None:
    project = current()
    marker = "# Add your own below this line\n"
    edits = {
        "pyproject.toml": [(f"    {marker}", f'    {marker}    "einops",\n')],
        ".gitignore": [(marker, f"{marker}*.sif\n")],
        "configs/default.yaml": [
            ("max_epochs: 5", "max_epochs: 50"),
            ("seed_everything: 42", "seed_everything: 7"),
        ],
        "configs/data/mnist.yaml": [("batch_size: 64", "batch_size: 512")],
        "src/my_project/utils/optim.py": [
            ("def configure_optimizers", "LOUD = True\n\n\ndef configure_optimizers")
        ],
        "README.md": [("# my project", "# The best project")],
    }
    for name, changes in edits.items():
        text = (project / name).read_text()
        for old, new in changes:
            assert old in text, name
            text = text.replace(old, new)
        (project / name).write_text(text)
    commit(project)
    update(project)
    assert not conflicts(project)
    for name, changes in edits.items():
        text = (project / name).read_text()
        assert all(new in text for _, new in changes)
        assert text.startswith(PLANTED) is not is_yours(name)
    content = tomllib.loads((project / "pyproject.toml").read_text())
    for dependencies in (content["project"]["dependencies"], content["dependency-groups"]["dev"]):
        assert dependencies[-2:] == ["planted>=1", "einops"]
    for path in project.rglob("*.y*ml"):
        yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    "commands",
    [
        "rm -r data logs && mkdir ../disk && ln -s ../disk data && ln -s ../disk logs",
        "rm -r data logs && mkdir ../disk && ln -s ../disk data && ln -s ../disk logs && "
        "printf '/data\\n/logs\\n' >> .gitignore",
        "rm -r data logs && ln -s /not/mounted data && ln -s /not/mounted logs",
        "git init -q ../library && git -C ../library commit -q --allow-empty -m x && "
        "git -c protocol.file.allow=always submodule --quiet add ../library library",
        "chmod +x src/main.py src/my_project/cli.py",
        "mv src/my_project/utils/optim.py optim.py && ln -s ../../../optim.py src/my_project/utils/optim.py",
        "printf 'caf\\351\\n' > latin.txt && printf 'no end' > end.txt && printf 'a \\r\\n' > crlf.txt",
        "printf '* text=auto eol=lf\\n' > .gitattributes",
    ],
)
def test_links_modules_and_modes_do_not_stop_an_update(
    started: Callable[..., Path], commands: str
) -> None:
    project = started(RELEASES[0])
    subprocess.run(commands, shell=True, cwd=project, check=True)
    config = project / "configs" / "default.yaml"
    config.write_text(config.read_text().replace("max_epochs: 5", "max_epochs: 50"))
    commit(project)
    before = git(project, "ls-files", "--stage").splitlines()
    update(project)
    assert "max_epochs: 50" in config.read_text()
    assert not conflicts(project)
    changed = set(git(project, "diff", "--name-only").splitlines())
    assert not changed & {
        "configs/default.yaml",
        *git(project, "ls-files", "data", "logs", "library", "*.txt").split(),
    }
    git(project, "stash", "--quiet")
    assert git(project, "ls-files", "--stage").splitlines() == before


def test_a_setting_of_git_with_which_edits_would_be_dropped_can_be_changed(
    started: Callable[..., Path],
) -> None:
    project = started(RELEASES[0])
    git(project, "config", "apply.whitespace", "error")
    (project / "blank.txt").write_text("blank at the end \n")
    config = project / "configs" / "default.yaml"
    config.write_text(config.read_text().replace("max_epochs: 5", "max_epochs: 50"))
    commit(project)
    message = yaml.safe_load((ROOT / "copier.yml").read_text())["_message_before_update"]
    command = re.search("git (config apply.whitespace warn)", message)
    assert command
    git(project, *command[1].split())
    update(project)
    assert "max_epochs: 50" in config.read_text()
