"""A release is kept whole, and the next one takes nothing away: guards, each seen to find a planted mistake."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.template import ROOT, git
from helpers.updates import RELEASES, answers_of, commit, contents, copy, release_version, update
from test_template import JINJA, choices

Questions = dict[str, dict[str, Any]]


def unmapped(old: Questions, new: Questions) -> list[str]:
    """Return what of a version's questions and choices is gone without its answers being taken over.

    The default of a new question can take over the answer to one that there is no more. An answer that is no choice
    any more is replaced by the question's default without a word, or refused where whole files depend on it.
    """
    found = []
    for name, question in old.items():
        if name in new:
            gone = choices(question) - choices(new[name]) if "choices" in new[name] else set()
            found += [
                f"{name}: {choice} is gone: keep it, or rename the question"
                for choice in sorted(gone)
            ]
            continue
        heirs = [heir for heir in new if re.search(rf"\b{name}\b", str(new[heir].get("default")))]
        if not heirs:
            found.append(f"{name} is gone, and no default takes its answer over")
        for heir in heirs:
            for choice in choices(question):
                mapped = JINJA.from_string(str(new[heir]["default"])).render({name: choice})
                if choices(new[heir]) and mapped not in map(str, choices(new[heir])):
                    found.append(f"{name}: {choice} becomes {mapped}, which is no choice of {heir}")
    return found


def questions_of(text: str) -> Questions:
    return {name: question for name, question in yaml.safe_load(text).items() if name[0] != "_"}


@pytest.mark.parametrize("release", RELEASES)
def test_no_answer_of_a_release_is_dropped(template: Path, release: str) -> None:
    now = questions_of((ROOT / "copier.yml").read_text())
    assert unmapped(questions_of(git(template, "show", f"{release}:copier.yml")), now) == []


@pytest.mark.parametrize(
    ("planted", "problems"),
    [
        ({"license": None}, ["license is gone, and no default takes its answer over"]),
        (
            {
                "license": None,
                "licence": {"type": "str", "default": "{{ license | default('MIT') }}"},
            },
            [],
        ),
        (
            {"license": {"type": "str", "choices": {"The MIT licence": "MIT", "Another": "BSD"}}},
            ["license: Apache-2.0 is gone: keep it, or rename the question"],
        ),
        (
            {
                "license": None,
                "licence": {
                    "type": "str",
                    "choices": ["MIT", "BSD"],
                    "default": "{{ license | default('MIT') | replace('Apache-2.0', 'Apache') }}",
                },
            },
            ["license: Apache-2.0 becomes Apache, which is no choice of licence"],
        ),
    ],
)
def test_an_answer_that_would_be_dropped_is_found(
    planted: dict[str, Any], problems: list[str]
) -> None:
    old = {
        "license": {
            "type": "str",
            "default": "MIT",
            "choices": {"MIT": "MIT", "Apache": "Apache-2.0"},
        }
    }
    new = {name: question for name, question in {**old, **planted}.items() if question}
    assert unmapped(old, new) == problems


@pytest.fixture
def plant(template: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives a project from the first release, whose template has a version with mistakes."""

    def plant(
        *mistakes: tuple[str, str, str], remove: str = "", rename: str = "", **answers: Any
    ) -> Path:
        copied = shutil.copytree(template, tmp_path / "planted")
        project = copy(copied, tmp_path / "my project", RELEASES[0], **answers)
        if remove:
            (copied / "template" / remove).unlink()
        if rename:
            (copied / "template" / rename).rename(
                (copied / "template" / rename).with_name("renamed.py")
            )
        for pattern, old, new in mistakes:
            for path in copied.glob(pattern):
                path.write_text(re.sub(old, new, path.read_text()))
        release_version(copied, "v1000.0.0")
        return project

    return plant


RETIRED = ("copier.yml", r"(?m)^    /LICENSE$", "    /LICENSE\n    /.project-root")


@pytest.mark.parametrize(
    ("planted", "mistakes", "gone"),
    [
        ({"remove": ".project-root"}, [], {".project-root"}),
        ({"rename": "src/{{package_name}}/utils/optim.py"}, [], {"src/my_project/utils/optim.py"}),
        ({"remove": ".project-root"}, [RETIRED], set()),
    ],
)
def test_a_file_that_an_update_would_delete_is_found(
    plant: Callable[..., Path],
    planted: dict[str, str],
    mistakes: list[tuple[str, str, str]],
    gone: set[str],
) -> None:
    project = plant(*mistakes, **planted)
    before = contents(project)
    update(project)
    assert before.keys() - contents(project).keys() == gone


def test_a_renamed_question_takes_the_old_answer_over(plant: Callable[..., Path]) -> None:
    uses = ("template/**/*.jinja", r"\bpython_version\b", "oldest_python")
    question = (
        "copier.yml",
        '(?s)python_version:(.*?)default: "3.11"',
        r"oldest_python:\1default: '{{ python_version }}'",
    )
    project = plant(uses, question, python_version="3.13")
    update(project)
    assert answers_of(project)["oldest_python"] == "3.13"
    assert 'requires-python = ">=3.13"' in (project / "pyproject.toml").read_text()


def test_without_that_guard_an_answer_that_is_no_choice_any_more_would_change(
    plant: Callable[..., Path],
) -> None:
    project = plant(("copier.yml", '"3.12", ', ""), python_version="3.12")
    update(project)
    assert answers_of(project)["python_version"] == "3.11"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository of a template that can be released: what Copier reads, and a test in place of ours."""
    folder = tmp_path / "repository"
    for name in (
        "docs/release.py",
        "CHANGELOG.md",
        "copier.yml",
        "template/a b.txt",
        "includes/b.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("_subdirectory: template\n")
    shutil.copy(ROOT / "docs" / "release.py", folder / "docs")
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- The first.\n")
    (folder / "tests").mkdir()
    for name in ("test_template.py", "test_update.py"):
        (folder / "tests" / name).write_text(
            "from pathlib import Path\n\n\ndef test():\n    assert not Path('bad').exists()\n"
        )
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def release(repository: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/release.py", version]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True)


def test_a_release_is_a_heading_a_bundle_and_a_tag(repository: Path, tmp_path: Path) -> None:
    assert release(repository, "0.1.0").returncode == 0
    (repository / "template" / "a b.txt").unlink()
    (repository / "template" / "run.sh").write_text("echo\n")
    (repository / "template" / "run.sh").chmod(0o755)
    changelog = repository / "CHANGELOG.md"
    changelog.write_text(
        changelog.read_text().replace("## 0.1.0", "## Unreleased\n\n- More.\n\n## 0.1.0")
    )
    commit(repository)
    done = release(repository, "0.2.0")
    assert done.returncode == 0, done.stderr
    assert not git(repository, "status", "--porcelain")
    assert re.search(
        r"## 0.2.0 \(\d{4}-\d\d-\d\d\)\n\n- More.\n\n## 0.1.0 \(", changelog.read_text()
    )
    assert git(repository, "cat-file", "-t", "v0.2.0").strip() == "tag"
    assert git(repository, "diff", "v0.2.0", "HEAD") == ""

    rebuilt = tmp_path / "rebuilt"  # by what the repository has, without its tags
    rebuilt.mkdir()
    code = f"import release, pathlib; release.history(pathlib.Path({str(rebuilt)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=repository / "docs", check=True)
    assert git(rebuilt, "tag").split() == ["v0.1.0", "v0.2.0"]
    for tag in ("v0.1.0", "v0.2.0"):
        assert git(rebuilt, "cat-file", "-t", tag).strip() == "tag"
        kept = git(
            repository, "ls-tree", "-r", tag, "CHANGELOG.md", "copier.yml", "includes", "template"
        )
        assert git(rebuilt, "ls-tree", "-r", tag) == kept


@pytest.mark.parametrize(
    ("version", "spoil", "line"),
    [
        (
            "1.0",
            "",
            '"1.0" is no version: it has three numbers, for instance make release VERSION=1.2.3.',
        ),
        (
            "",
            "",
            '"" is no version: it has three numbers, for instance make release VERSION=1.2.3.',
        ),
        (
            "v1.0.0",
            "",
            '"v1.0.0" is no version: it has three numbers, for instance make release VERSION=1.2.3.',
        ),
        ("0.9.0", "git tag v0.10.0", "0.9.0 does not come after v0.10.0, the newest release."),
        (
            "0.1.0",
            "touch c",
            "There are changes that are not committed: commit them, or put them away with git stash.",
        ),
        (
            "0.1.0",
            "sed -i s/Unreleased/0.0.9/ CHANGELOG.md && git commit -qam x",
            'CHANGELOG.md has nothing under "## Unreleased": write there what changes in a project.',
        ),
        (
            "0.1.0",
            "touch bad && git add bad && git commit -qm x",
            "The tests fail, see above; nothing is released.",
        ),
    ],
)
def test_a_release_that_cannot_be_changes_nothing(
    repository: Path, version: str, spoil: str, line: str
) -> None:
    subprocess.run(spoil, shell=True, cwd=repository, check=True)
    before = (
        git(repository, "log", "--format=%H"),
        git(repository, "tag"),
        git(repository, "status", "--porcelain"),
    )
    done = release(repository, version)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {line}"
    after = (
        git(repository, "log", "--format=%H"),
        git(repository, "tag"),
        git(repository, "status", "--porcelain"),
    )
    assert after == before


def test_the_changelog_can_be_shown_in_a_message() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert not re.search(r"\{\{|\{%|\{#", text), "Copier would take that for Jinja"
    headings = re.findall("(?m)^## (.*)$", text)
    versions = [heading.split()[0] for heading in headings if heading != "Unreleased"]
    assert versions == [release.removeprefix("v") for release in reversed(RELEASES)]


def test_the_oldest_copier_that_the_template_takes_is_tested() -> None:
    oldest = yaml.safe_load((ROOT / "copier.yml").read_text())["_min_copier_version"]
    assert f"\ncopier=={oldest}\n" in (ROOT / "requirements.txt").read_text()
    assert f'pip install "copier>={oldest}"' in (ROOT / "README.md").read_text()
