"""`copier update` from every release to the working tree: it brings what is new, and loses nothing.

All projects and the template lie in folders with a space in their names, and nothing is ever trusted.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from allpairspy import AllPairs
from copier import VcsRef, run_copy, run_update
from helpers.commands import DIGITS
from helpers.server import Server
from helpers.template import QUESTIONS, ROOT, as_listed, choices_of, files, fits, git, sweep
from packaging.version import Version
from release import releases
from test_questions import HOSTILE

RELEASES = releases()
ANSWERS = ".copier-answers.yml"
EVERYTHING: dict[str, Any] = {
    name: choices_of(name) for name in ("loggers", "datasets", "models", "tooling")
} | {"git_hooks": True, "readme_language": "en+zh"}
MARKERS = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def copy(template: Path, folder: Path, version: str, **answers: Any) -> Path:
    """Render a project from a version of the template, and commit it."""
    run_copy(
        str(template),
        folder,
        data=answers,
        vcs_ref=version,
        defaults=True,
        quiet=True,
        unsafe=False,
    )
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "x")


def update(
    project: Path,
    version: str | VcsRef | None = None,
    conflict: Literal["inline", "rej"] = "inline",
    exclude: Sequence[str] = (),
    **answers: Any,
) -> None:
    """Update a project to a version of the template, the working tree by default."""
    run_update(
        project,
        data=answers,
        vcs_ref=version,
        conflict=conflict,
        exclude=exclude,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
    )


def answers_of(project: Path) -> dict[str, Any]:
    recorded = yaml.safe_load((project / ANSWERS).read_text())
    return {name: answer for name, answer in recorded.items() if name[0] != "_"}


def owned(owner: str) -> set[str]:
    """Return the files of an owner from the table in docs/updating.md."""
    row = re.search(
        rf"^\| {owner} \| .*? \| (.*) \|$",
        (ROOT / "docs" / "updating.md").read_text(),
        re.MULTILINE,
    )
    assert row
    return set(re.findall("`([^`]+)`", row[1]))


def is_yours(name: str) -> bool:
    """Return whether an update leaves a file alone, be it the user's or of an older version."""
    return re.sub(r"^src/\w+/", "src/<package>/", name) in owned("you") | owned("nobody")


def contents(project: Path) -> dict[str, bytes]:
    return {
        name: (project / name).read_bytes()
        for name in files(project)
        if not name.startswith(".git/")
    }


def after_update(before: dict[str, bytes], fresh: dict[str, bytes]) -> dict[str, bytes]:
    """Return what an untouched project is after an update: as fresh, but what is the user's stays as it was."""
    theirs = {name: content for name, content in fresh.items() if not is_yours(name)}
    yours = {name: content for name, content in before.items() if is_yours(name)}
    moved = {
        name: (ROOT / "template" / name).read_bytes() for name in before.keys() & owned("moved")
    }
    return theirs | yours | moved


def lines(content: bytes) -> list[str]:
    return content.decode().splitlines(keepends=True)


@pytest.fixture(scope="session")
def started(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives a fresh copy of a project from a release, with default answers or all choices."""
    originals: dict[tuple[str, bool], Path] = {}

    def started(release: str, everything: bool = False) -> Path:
        key = release, everything
        if key not in originals:
            answers = EVERYTHING if everything else {}
            choices = questions(template, release)
            answers = {name: [c for c in answer if c in choices[name]] if isinstance(answer, list) else answer
                       for name, answer in answers.items()}  # fmt: skip
            originals[key] = copy(
                template, tmp_path_factory.mktemp("started") / "my project", release, **answers
            )
        return shutil.copytree(
            originals[key], tmp_path_factory.mktemp("my projects") / "my project"
        )

    return started


@pytest.fixture(scope="session")
def fresh(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], dict[str, bytes]]:
    """Return a function that renders the working tree anew with the answers of a project."""

    def fresh(project: Path) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp("fresh") / project.name
        run_copy(
            str(template), folder, data=answers_of(project), defaults=True, quiet=True, unsafe=False
        )
        return contents(folder)

    return fresh


def questions(template: Path, version: str) -> dict[str, tuple[Any, ...]]:
    """Return the questions of a version with their choices, if they have any."""
    settings = yaml.safe_load(git(template, "show", f"{version}:copier.yml"))
    return {
        name: tuple(
            dict(question["choices"]).values()
            if isinstance(question["choices"], dict)
            else question["choices"]
        )
        if "choices" in question
        else ()
        for name, question in settings.items()
        if name[0] != "_" and question.get("when", True)
    }


def edited(old: list[str], new: list[str], mark: str) -> tuple[list[str], list[str], int]:
    """Insert, change and delete a line where the template changes nothing within three lines.

    Returns the old lines with the edits, the new lines with the same edits, and the number of edits.
    """
    places = []
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        first = block.a + (3 if block.a or block.b else 0)
        is_last = block.a + block.size == len(old) and block.b + block.size == len(new)
        places += [
            (i, block.b - block.a)
            for i in range(first, block.a + block.size - (0 if is_last else 3))
        ]
    chosen = (
        [places[i] for i in sorted({len(places) // 6, len(places) // 2, len(places) * 5 // 6})]
        if places
        else []
    )
    chosen = [
        place
        for before, place in itertools.pairwise([(-9, 0), *chosen])
        if place[0] - before[0] > 2
    ]
    mine, expected = [*old], [*new]
    for number, (place, shift) in reversed([*enumerate(chosen)]):
        line = [f"{mark} {number}\n"]
        replaced = [line + old[place : place + 1], line, []][number]
        mine[place : place + 1] = replaced
        expected[place + shift : place + shift + 1] = replaced
    return mine, expected, len(chosen)


def conflicts(project: Path) -> set[str]:
    """Return the files that are marked as conflicts, and see that they are those that have markers in them."""
    unmerged = set(git(project, "diff", "--name-only", "--diff-filter=U").splitlines())
    marked = {
        name
        for name, content in contents(project).items()
        if MARKERS.search(content.decode(errors="replace"))
    }
    assert unmerged == marked
    return unmerged


def test_there_are_releases_to_update_from() -> None:
    assert RELEASES


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_an_untouched_project_becomes_a_fresh_one(
    started: Callable[..., Path],
    fresh: Callable[[Path], dict[str, bytes]],
    release: str,
    everything: bool,
) -> None:
    project = started(release, everything)
    before = contents(project)
    update(project)
    assert contents(project) == after_update(before, fresh(project))
    commit(project)
    update(project)
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_every_edit_is_kept(
    started: Callable[..., Path],
    fresh: Callable[[Path], dict[str, bytes]],
    release: str,
    everything: bool,
) -> None:
    project = started(release, everything)
    before = contents(project)
    expected = after_update(before, fresh(project))
    for name in before.keys() - {ANSWERS}:
        if not name.endswith(".gz"):
            mine, merged, count = edited(lines(before[name]), lines(expected[name]), "# mine")
            (project / name).write_bytes("".join(mine).encode())
            expected[name] = "".join(merged).encode()
            assert count or before[name] != expected[name] or not before[name], (
                f"{name} is not edited"
            )
    commit(project)
    update(project)
    expected[ANSWERS] = contents(project)[ANSWERS]
    assert contents(project) == expected
    commit(project)
    update(project)
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("release", RELEASES)
def test_where_both_changed_a_line_both_are_kept_and_marked(  # noqa: PLR0915
    started: Callable[..., Path], fresh: Callable[[Path], dict[str, bytes]], release: str
) -> None:
    project = started(release, everything=True)
    before, after = contents(project), after_update(contents(project), fresh(project))
    mine, theirs = {}, {}
    for name in before.keys() - {ANSWERS}:
        if before[name] == after[name]:
            continue
        old, new = lines(before[name]), lines(after[name])
        changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        change = next(change for change in changes if change[0] != "equal")
        mine[name] = f"# mine, in {name}\n"
        beside = (
            change[0] == "insert"
        )  # lines that are only added are in the way of those on both sides
        old[max(change[1] - beside, 0) : change[2] + beside] = [mine[name]]
        theirs[name] = new[change[3] : change[4]]
        (project / name).write_text("".join(old))
    assert mine or release != RELEASES[0], (
        "what is shipped is the first release: there is nothing to test"
    )
    commit(project)
    kept = contents(project)
    update(project)
    assert conflicts(project) == mine.keys()
    for name, line in mine.items():
        text = (project / name).read_text()
        assert line in text
        assert all(line in text for line in theirs[name])
    undo(project)
    assert contents(project) == kept
    update(project, conflict="rej")
    assert {path.name.removesuffix(".rej") for path in project.rglob("*.rej")} == {
        Path(name).name for name in mine
    }
    assert all(f"+{line}" in (project / f"{name}.rej").read_text() for name, line in mine.items())


def undo(project: Path) -> None:
    """Take an update back with the command that the message after it gives."""
    message = yaml.safe_load((ROOT / "copier.yml").read_text())["_message_after_update"]
    command = re.search(r"Undo all of it: +(.*)", message)
    assert command
    subprocess.run(command[1], shell=True, cwd=project, check=True, capture_output=True)
    assert not git(project, "status", "--porcelain")


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


def release_version(template: Path, version: str) -> None:
    commit(template)
    git(template, "tag", "--annotate", version, "--message", version)


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
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for dependencies in (metadata["dependencies"], metadata["optional-dependencies"]["dev"]):
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


CHANGES: dict[str, Any] = {
    "project_name": 'Another "name"',
    "project_description": "Another line: with {{ braces }} and # signs",
    "user_name": "Grace Hopper",
    "user_email": "grace@example.org",
    "torch_build": "cu130",
    "python_version": "3.12",
    "copyright_year": "1999",
    "loggers": ["wandb", "mlflow", "tensorboard", "csv"],
    "tooling": ["github_actions", "docker", "makefile"],
}


@pytest.mark.parametrize("release", RELEASES)
def test_changed_answers_give_what_a_fresh_project_has_with_them(
    started: Callable[..., Path], fresh: Callable[[Path], dict[str, bytes]], release: str
) -> None:
    project = started(release)
    before = contents(project)
    update(project, **CHANGES)
    assert answers_of(project).items() >= CHANGES.items()
    assert contents(project) == after_update(before, fresh(project))
    commit(project)
    update(project, VcsRef.CURRENT, project_name="A third name")
    assert answers_of(project).items() >= {**CHANGES, "project_name": "A third name"}.items()


@pytest.mark.parametrize(
    ("question", "answer", "was"),
    [
        ("package_name", "other", "my_project"),
        ("loggers", ["csv"], ["tensorboard"]),
        ("datasets", ["digits"], ["mnist", "digits"]),
        ("models", ["simplenet", "mlp"], ["simplenet"]),
        ("license", "Apache-2.0", "MIT"),
        ("readme_language", "zh", "en"),
        ("git_hooks", False, True),
    ],
)
def test_an_answer_whose_change_would_delete_files_is_refused(
    started: Callable[..., Path], question: str, answer: Any, was: Any
) -> None:
    project = started(RELEASES[0])
    with pytest.raises(
        ValueError, match=f"{question} is .* in this project, and an update cannot"
    ) as caught:
        update(project, **{question: answer})
    assert yaml.safe_load(str(caught.value).split(f"{question} is ")[1].split(" in this")[0]) == was
    assert not git(project, "status", "--porcelain")


def test_the_example_in_the_docs_is_what_happens(started: Callable[..., Path]) -> None:
    project = started("v0.1.0")
    page = (ROOT / "docs" / "updating.md").read_text()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    session = "".join(block + "\n" for block in re.findall(r"(?s)```console\n(.*?)```", page))
    for step in ("\n" + session).split("\n$ ")[1:]:
        command, _, expected = step.partition("\n")
        done = subprocess.run(
            command,
            shell=True,
            cwd=project,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0
        printed = done.stdout.replace(
            "Make sure Git >= 2.24 is installed to improve updates.\n", ""
        )  # by a newer Git
        assert printed.strip() == expected.strip()
    assert not git(project, "status", "--porcelain")
    assert "/ 127.5 - 1" in (project / "src/my_project/data_modules/in_memory.py").read_text()


def rows(choices: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yield answers that hold every pair of a version's choices."""
    several = [name for name in choices if QUESTIONS.get(name, {}).get("multiselect")]
    factors = {name: values for name, values in choices.items() if values and name not in several}
    factors |= {"git_hooks": (True, False)}
    factors |= {f"{name}: {value}": (True, False) for name in several for value in choices[name]}
    for row in AllPairs(list(factors.values())):
        given = dict(zip(factors, row, strict=True))
        answers = {name: value for name, value in given.items() if ": " not in name}
        answers |= {
            name: [value for value in choices[name] if given[f"{name}: {value}"]]
            for name in several
        }
        if any(fits(*pair) for pair in itertools.product(answers["datasets"], answers["models"])):
            yield answers


ENDS = sorted({RELEASES[0], RELEASES[-1]}) if RELEASES else []


def covering(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a few answers that hold each choice once, and do without each choice of several once."""

    def held(row: dict[str, Any]) -> set[tuple[str, str, bool]]:
        pairs = set()
        for name, answer in row.items():
            for value in choices_of(name) if isinstance(answer, list) else [answer]:
                is_made = value in answer if isinstance(answer, list) else True
                pairs.add((name, str(value), is_made))
        return pairs

    missing, few = set().union(*map(held, given)), []
    while missing:
        few.append(max(given, key=lambda row: len(missing & held(row))))
        missing -= held(few[-1])
    return few


def check_update(project: Path, fresh: Callable[[Path], dict[str, bytes]]) -> None:
    """Update a project, and see that no file is lost and that it is as fresh."""
    before, given = contents(project), answers_of(project)
    update(project)
    assert not before.keys() - contents(project).keys(), "files were deleted"
    assert answers_of(project).items() >= given.items()
    assert contents(project) == after_update(before, fresh(project))


@pytest.mark.parametrize("release", ENDS)
def test_every_answer_updates_without_a_file_lost(
    template: Path, fresh: Callable[[Path], dict[str, bytes]], tmp_path: Path, release: str
) -> None:
    few = covering([*rows(questions(template, release))])
    for number, row in enumerate(few):
        folder = tmp_path / f"row {number}" / "my project"
        check_update(copy(template, folder, release, **row), fresh)


@pytest.mark.sweep  # of the rows of the test before
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("release", ENDS)
def test_every_pair_of_answers_updates_without_a_file_lost(
    template: Path,
    fresh: Callable[[Path], dict[str, bytes]],
    tmp_path_factory: pytest.TempPathFactory,
    release: str,
    part: int,
) -> None:
    for row in itertools.islice(rows(questions(template, release)), part, None, 4):
        project = copy(template, tmp_path_factory.mktemp("a row") / "my project", release, **row)
        check_update(project, fresh)
        shutil.rmtree(project)


TEXTS = [*zip(HOSTILE[::3], HOSTILE[1::3], HOSTILE[2::3], strict=False)]
SHARES = [(release, TEXTS[number :: len(ENDS)]) for number, release in enumerate(ENDS)]
WHOLES = [(release, TEXTS) for release in ENDS]


@pytest.mark.parametrize(
    ("release", "share"), [*SHARES, *sweep(*WHOLES)], ids=[*ENDS, *(f"{end}, all" for end in ENDS)]
)
def test_hostile_text_survives(
    template: Path,
    fresh: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    release: str,
    share: list[tuple[str, ...]],
) -> None:
    for number, texts in enumerate(share):
        answers = dict(
            zip(("project_name", "project_description", "user_name"), texts, strict=True)
        )
        project = copy(template, tmp_path / f"project {number}" / "my project", release, **answers)
        before = contents(project)
        update(project)
        assert answers_of(project).items() >= answers.items()
        assert contents(project) == after_update(before, fresh(project))
        metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        assert (metadata["description"], metadata["authors"]) == (texts[1], [{"name": texts[2]}])


@pytest.mark.parametrize(
    ("release", "everything"),
    [
        *((release, False) for release in RELEASES[:-1]),
        *((release, True) for release in RELEASES[-1:]),
        *sweep(*((release, True) for release in RELEASES[:-1])),
    ],
)
def test_the_updated_project_passes_its_tests_and_its_old_runs_go_on(
    started: Callable[..., Path], warm: Server, release: str, everything: bool
) -> None:
    project = started(release, everything)
    quiet = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")

    def accuracy(*args: str) -> str:
        done = warm.run(project, *args)
        assert done.returncode == 0, done.stderr
        found = re.search(r"test/acc\s*│\s*([\d.]+)", done.stdout)
        assert found
        return found[1]

    constant = "--model.lr_scheduler=null"  # the one of the config plans for a number of epochs
    before = accuracy(
        "fit", *DIGITS, *quiet, constant, "--trainer.max_epochs=2", "--test_after_fit=true"
    )
    update(project)
    commit(project)
    assert accuracy("test", "--run=last") == before
    assert accuracy("fit", "--run=last", "--trainer.max_epochs=3", "--test_after_fit=true")
    assert len(list((project / "logs" / "default").iterdir())) == 1
    done = warm.run(project, "-m", "pytest", "-q")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout


def copier(project: Path, *args: str) -> str:
    """Run `copier update` as a user does, and return what it prints."""
    command = [sys.executable, "-m", "copier", "update", "--defaults", *args]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_the_message_says_what_is_new_and_how_to_see_and_undo_it(
    started: Callable[..., Path], release: str
) -> None:
    project = started(release)
    message = copier(project)
    assert f"From {release} to v999.0.0:" in message
    sections = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1:]
    for section in sections:
        is_new = section.startswith("Unreleased") or Version(section.split()[0]) > Version(release)
        assert (section.strip() in message) is is_new
    documented = (ROOT / "docs" / "updating.md").read_text()
    end = documented[documented.rindex("See what it did:") :].partition("```")[0]
    assert end in message
    commands = re.findall("(?m)^[A-Z][a-z ]+: +(git .*?)(?:    .*)?$", end)
    assert len(commands) == 4
    for command in commands:
        subprocess.run(command, shell=True, cwd=project, check=True)
    assert not git(project, "status", "--porcelain")
    assert "From" not in copier(project, "--vcs-ref", ":current:", "-d", "user_name=Ada")
