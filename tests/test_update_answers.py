"""Updates with other answers, and from every answer."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from allpairspy import AllPairs
from copier import VcsRef
from helpers.template import QUESTIONS, ROOT, choices_of, fits, git, sweep
from helpers.updates import (
    RELEASES,
    after_update,
    answers_of,
    commit,
    contents,
    copy,
    questions,
    update,
)
from test_questions import HOSTILE

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
