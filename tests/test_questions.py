"""The questionnaire: what it asks, what it refuses, and that free text arrives as it was given."""

import keyword
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import east_asian_width

import pexpect
import pyte
import pytest
import yaml
from copier import run_copy
from helpers.template import QUESTIONS, ROOT, Render, choices_of, fits
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader

SETTINGS = yaml.safe_load((ROOT / "copier.yml").read_text())
FREE_TEXT = ["project_name", "package_name", "project_description", "user_name", "user_email"]
HOSTILE = [
    'say "hi"', "it's", "back\\slash", "{{ 7*7 }}", "{% raw %}", "{# no #}", "a: b", "# no comment", "100 %", "- item",
    "[1, 2]", "{a: b}", "!!python/object", "&a *a", "null", "true", "1e3", "emoji 🔥", "مرحبا", "数字识别",
    "'''", '"""', "$(touch x)", "`id`", "<b>&amp;", "\\u0000", "trailing\\", "---", "${HOME}", "%(name)s", "a\u2028b",
]  # fmt: skip


def refusal(render: Render, **answers: Any) -> str:
    """Return the one line with which the questionnaire refuses these answers."""
    with pytest.raises(ValueError) as caught:
        render(**answers)
    line = str(caught.value).split(": ", 1)[1].strip()
    assert "\n" not in line
    return line


def test_nothing_runs_on_the_users_machine() -> None:
    assert not SETTINGS.keys() & {"_tasks", "_migrations", "_jinja_extensions"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("class", "is a keyword"),
        ("lambda", "is a keyword"),
        ("json", "standard library"),
        ("random", "standard library"),
        ("torch", "a module that the project uses"),
        ("lightning", "a module that the project uses"),
        ("tests", "a module that the project uses"),
        ("main", "a module that the project uses"),
        ("My_Project", "no package name"),
        ("my-project", "no package name"),
        ("1st", "no package name"),
        ("größe", "no package name"),
        ("a" * 31, "no package name"),
        ("", "no package name"),
        ("a\n", "no package name"),
    ],
)
def test_a_name_that_cannot_be_a_packages_is_refused(
    render: Render, name: str, reason: str
) -> None:
    assert reason in refusal(render, package_name=name)


def test_the_list_of_reserved_names_is_complete() -> None:
    text = (ROOT / "includes" / "names.jinja").read_text()
    names = set(re.findall(r"\w+", text))
    assert {name for name in sys.stdlib_module_names if name[0] != "_"} <= names
    assert {
        name for name in [*keyword.kwlist, *keyword.softkwlist] if name.islower() and name[0] != "_"
    } <= names


@pytest.mark.parametrize(
    ("folder", "package"),
    [("my-project", "my_project"), ("Deep Nets 2", "deep_nets_2"), ("torch", "my_project"), ("2024", "my_project"),
     ("数字", "my_project"), ("class", "my_project"), ("a" * 60, "a" * 30)],
)  # fmt: skip
def test_the_defaults_follow_the_folder_and_are_valid(
    render: Render, folder: str, package: str
) -> None:
    project = render(name=folder)
    assert (project / "src" / package / "cli.py").exists()
    assert (project / "README.md").read_text().startswith(f"# {folder}\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_free_text_arrives_as_it_was_given(render: Render, text: str) -> None:
    project = render(
        project_name=text, project_description=text, user_name=text, package_name="my_project"
    )
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text}]
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert (answers["project_name"], answers["user_name"]) == (text, text)
    assert text in (project / "README.md").read_text()
    for path in (project / "configs").rglob("*.yaml"):
        yaml.safe_load(path.read_text())


@pytest.fixture(scope="session")
def packaging(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with only those files that free text goes to, and without git: it renders in no time."""
    copy = tmp_path_factory.mktemp("packaging") / "template"
    shutil.copytree(template, copy, ignore=shutil.ignore_patterns(".git", "src", "tests", "docs"))
    return copy


SYNTAX = st.sampled_from([*HOSTILE, *"{}%#'\"\\:-[]&*!|>`$,\x85\u2028"])
LINE = st.lists(
    SYNTAX | st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=6
).map("".join)
ANY = st.lists(SYNTAX | st.characters(codec="utf-8") | st.just("x" * 10_000), max_size=12).map(
    "".join
)
TEXTS = {
    "project_name": LINE | LINE | LINE | ANY,
    "package_name": st.just("my_project") | st.just("p2") | ANY,
    "project_description": LINE | LINE | LINE | ANY,
    "user_name": LINE | LINE | LINE | ANY,
    "user_email": st.sampled_from(["", "ada@example.org", "a+b'c@例え.jp"]) | ANY,
}


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(texts=st.fixed_dictionaries(TEXTS))
def test_any_text_is_refused_or_arrives_as_it_was_given(
    packaging: Path, texts: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        try:
            run_copy(str(packaging), project, data=texts, defaults=True, quiet=True)
        except ValueError as error:
            refused = re.fullmatch(
                r"Validation error for question '(\w+)': (.+)", str(error).strip()
            )
            assert refused and refused[1] in TEXTS, error
            assert not project.exists()
            return
        answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
        assert {name: answers[name] for name in texts} == texts
        metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        assert metadata["description"] == texts["project_description"]
        answered = {"name": texts["user_name"], "email": texts["user_email"]}
        author = {key: value for key, value in answered.items() if value}
        assert metadata.get("authors", []) == ([author] if author else [])
        assert texts["user_name"] in (project / "LICENSE").read_text()
        for path in (project / "configs").rglob("*.yaml"):
            yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("project_name", "", "1 to 80 characters"),
        ("project_name", "two\nlines", "one line"),
        ("project_name", "tab\there", "one line"),
        ("project_name", "next\x85line", "one line"),
        ("project_name", "x" * 10_000, "1 to 80 characters"),
        ("project_description", "two\nlines", "one line"),
        ("project_description", "x" * 10_000, "at most 300"),
        ("user_name", "two\nlines", "one line"),
        ("user_name", "x" * 10_000, "at most 100"),
        ("user_email", "nobody", "no e-mail address"),
        ("user_email", 'a"b@example.org', "no e-mail address"),
        ("user_email", "ada@example.org\n", "no e-mail address"),
        ("user_email", "a@b@c", "no e-mail address"),
        ("datasets", [], "at least one"),
        ("models", [], "at least one"),
        ("models", ["regression"], "None of them fits the datasets"),
    ],
)
def test_an_answer_that_cannot_work_is_refused(
    render: Render, question: str, answer: Any, reason: str
) -> None:
    assert reason in refusal(render, **{question: answer})


def test_a_refused_answer_leaves_nothing_behind(
    render: Render, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refusal(render, name="refused", package_name="torch")
    assert not list(Path(tmp_path_factory.getbasetemp()).glob("rendered*/refused"))


def test_few_questions_are_asked_and_fewer_by_default() -> None:
    asked = [name for name, question in QUESTIONS.items() if question.get("ask", True) is not False]
    assert len(asked) <= 14
    recommended = [name for name in asked if "customise" not in str(QUESTIONS[name].get("ask"))]
    assert recommended == ["readme_language", "setup", "project_name", "package_name", "loggers"]


LISTS = ("tools_code", "tools_experiments", "tools_scale", "tools_results")


def in_language(text: str, chinese: bool) -> list[str]:
    """Return the lines of a text of copier.yml, such as `{% if chinese %}中文{% else %}English{% endif %}`."""
    return (
        Environment(trim_blocks=True, lstrip_blocks=True)
        .from_string(text)
        .render(chinese=chinese)
        .splitlines()
    )


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "FW" else 1 for character in text)


def shown_texts(name: str, chinese: bool) -> list[tuple[str, int]]:
    """Return the lines of a question that a terminal shows, each with the columns that it may take."""
    question = SETTINGS[name]
    lines = [(line, 77) for line in in_language(question["help"], chinese)]
    choices = question.get("choices", [])
    return lines + [(line, 75) for choice in choices for line in in_language(str(choice), chinese)]


@pytest.mark.parametrize("chinese", [False, True])
def test_every_question_fits_a_terminal_of_80_columns(chinese: bool) -> None:
    for name, question in SETTINGS.items():
        if name[0] == "_" or question.get("ask") is False:
            continue
        assert len(in_language(question["help"], chinese)) <= 2, name
        for text, most in shown_texts(name, chinese):
            assert columns(text) <= most, (name, text)


def test_the_four_lists_together_offer_every_extra_once() -> None:
    listed = [extra for name in LISTS for extra in SETTINGS[name]["choices"].values()]
    assert sorted(listed) == sorted(choices_of("tooling"))


class Terminal:
    """A terminal in which Copier asks its questions."""

    def __init__(self, arguments: list[str], cwd: Path, columns: int, rows: int) -> None:
        env = {
            **os.environ,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
        }
        command = ["-m", "copier", "copy", *arguments]
        size = (rows, columns)
        self.child = pexpect.spawn(
            sys.executable, command, 60, cwd=cwd, env=env, dimensions=size, encoding="utf-8"
        )
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.Stream(self.screen)

    def lines(self) -> list[str]:
        """Return the lines on the screen. pyte leaves an empty cell after a character of two columns."""
        return [
            "".join(row[column].data for column in range(self.screen.columns)).rstrip()
            for row in self.rows()
        ]

    def rows(self) -> list[Any]:
        return [self.screen.buffer[number] for number in range(self.screen.lines)]

    def wait_for(self, text: str) -> list[str]:
        """Read what Copier prints until a text is on the screen, and return the screen."""
        while text not in "\n".join(self.lines()):
            self.stream.feed(self.child.read_nonblocking(size=100_000, timeout=60))
        return self.lines()

    def press(self, keys: str) -> None:
        self.child.send(keys)

    def rest(self) -> str:
        """Wait for the end, and return all that is printed until then."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0, self.child.before
        return str(self.child.before)


@pytest.mark.parametrize("size", [(80, 24), (100, 30)])
@pytest.mark.parametrize("setup", ["recommended", "customise"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_terminal_shows_every_question_whole(
    template: Path, tmp_path: Path, size: tuple[int, int], setup: str, language: str
) -> None:
    """Answer by the keyboard as a person does, and read the screen."""
    terminal = Terminal([str(template), "my-project"], tmp_path, *size)
    down = "\x1b[B"
    keys = {"readme_language": down * (language == "zh"), "setup": down * (setup == "customise")}
    keys |= {"tools_scale": " "}  # the topmost one, profile
    keys |= {"project_name": "\x15Bars"}  # Ctrl-U, as the question says
    for name, question in SETTINGS.items():
        asked = (
            name[0] != "_"
            and question.get("ask", True) is not False
            and question.get("when", True) is not False
        )
        if not asked or (
            setup == "recommended" and "customise" in f"{question.get('ask')}{question.get('when')}"
        ):
            continue
        chinese = language == "zh" and name != "readme_language"
        texts = [text for text, _ in shown_texts(name, chinese)]
        screen = terminal.wait_for(texts[-1])
        for text in texts:
            assert any(text in line for line in screen), (text, screen)
        terminal.press(keys.get(name, "") + "\r")
    end = terminal.rest().replace("\r", "")
    message = end[end.index("Bars 已生成" if language == "zh" else "Bars is ready") :]
    assert all(columns(line) <= 79 for line in message.splitlines()), message
    answers = yaml.safe_load((tmp_path / "my-project" / ".copier-answers.yml").read_text())
    assert answers["readme_language"] == language
    assert (answers["project_name"], answers["package_name"]) == ("Bars", "bars")
    assert sorted(answers["tooling"]) == ["agents", *(["profile"] if setup == "customise" else [])]
    assert not answers.keys() & {*LISTS, "chinese"}


@pytest.mark.parametrize("dataset", choices_of("datasets"))
def test_the_suggested_model_fits_the_datasets(render: Render, dataset: str) -> None:
    project = render(datasets=[dataset])
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert [model for model in answers["models"] if fits(dataset, model)]


def last_message(folder: str, system: str) -> str:
    """Return what Copier says after a project is made in a folder, on an operating system."""
    jinja = Environment(loader=FileSystemLoader(ROOT), trim_blocks=True, lstrip_blocks=True)
    return jinja.from_string(SETTINGS["_message_after_copy"]).render(
        project_name="digits",
        datasets=["digits"],
        models=["simplenet"],
        chinese=False,
        _copier_conf=SimpleNamespace(dst_path=Path(folder), os=system),
    )


def test_the_last_message_names_a_folder_with_a_blank_in_quotes() -> None:
    assert '\n  cd "deep nets"\n' in last_message("deep nets", "linux")


@pytest.mark.parametrize(("system", "lines"), [("linux", 2), ("macos", 2), ("windows", 1)])
def test_the_last_message_breaks_no_command_on_windows(system: str, lines: int) -> None:
    """Windows' shells do not continue a command after a backslash."""
    message = last_message("digits", system)
    command = message[message.index("uv run") : message.index("--name exp1")]
    assert len(command.splitlines()) == lines
    assert " ".join(command.replace("\\\n", "").split()).endswith(
        "fit -c configs/data/digits.yaml -c configs/model/simplenet.yaml"
    )


def test_a_project_in_the_folder_one_is_in_has_its_name(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Deep Nets").mkdir()
    monkeypatch.chdir(tmp_path / "Deep Nets")
    run_copy(str(template), ".", defaults=True, quiet=True)
    answers = yaml.safe_load(Path(".copier-answers.yml").read_text())
    assert (answers["project_name"], answers["package_name"]) == ("Deep Nets", "deep_nets")
