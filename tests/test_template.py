"""A lint of the template: names and choices that do not exist, questions that lack something, long paths.

Rendering finds some of these mistakes too, but only on the path that the answers take.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml
from helpers.template import ROOT, git
from jinja2 import Environment, meta, nodes
from mutations import BREAKS

KEYS = {"type", "help", "default", "choices", "multiselect", "validator", "ask", "when"}
KEYS |= {"placeholder", "qmark", "secret"}
COPIERS = {"_copier_conf", "_copier_answers", "_copier_operation", "_external_data"}
DERIVED = {
    "data": "datasets",
    "dataset": "datasets",
    "model": "models",
    "logger": "loggers",
    "extra": "loggers",
}
LONGEST = 120  # characters of a rendered path; Windows allows 260 with the project's folder
OPEN_BYTES = {"os.open", "gzip.open", "tarfile.open", "Image.open"}
JINJA = Environment(
    extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"]
)  # as Copier has them


def lint(settings: dict[str, Any], files: dict[str, str]) -> list[str]:
    """Return what is wrong with copier.yml's content and with files, by their path from the repository's root."""
    questions = {key: value for key, value in settings.items() if key[0] != "_"}
    texts = {**files, **{f"copier.yml: {key}": text for key, text in strings(settings)}}
    trees = {
        name: JINJA.parse(text) for name, text in texts.items() if not name.endswith((".py", ".gz"))
    }
    trees |= {f"the name {name}": JINJA.parse(name) for name in files}
    set_somewhere = {node.name for tree in trees.values() for node in assigned(tree)}
    found = [
        problem for name, question in questions.items() for problem in incomplete(name, question)
    ]
    for name, tree in trees.items():
        known = {
            *questions,
            *COPIERS,
            *JINJA.globals,
            *(set_somewhere if name.startswith("includes/") else ()),
        }
        unknown = meta.find_undeclared_variables(tree) - known
        found += [f"{name}: {variable} is no variable" for variable in sorted(unknown)]
        for question, choice in comparisons(tree):
            if choice not in choices(questions.get(question, {})):
                found.append(f"{name}: {choice} is no choice of {question}")
    for name in files:
        path = name.removeprefix("template/").replace("{{package_name}}", "p" * 30)
        if len(path) > LONGEST:
            found.append(f"{name}: the path has more than {LONGEST} characters")
    return found


def incomplete(name: str, question: dict[str, Any]) -> Iterator[str]:
    yield from (f"{name}: {key} is no key of a question" for key in question.keys() - KEYS)
    yield from (
        f"{name}: {key} is missing" for key in ("type", "help", "default") if key not in question
    )
    free = (
        question.get("type") == "str" and question.get("ask", True) and question.get("when", True)
    )
    if free and not question.keys() & {"choices", "validator"}:
        yield f"{name}: free text has no validator"


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield all strings in nested dictionaries and lists, with where they are. The names of choices are strings too."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if path.endswith("choices") and isinstance(key, str):
                yield f"{path}.{part}", key
            yield from strings(part, f"{path}.{key}".strip("."))


def assigned(tree: nodes.Template) -> Iterable[nodes.Name]:
    return (name for name in tree.find_all(nodes.Name) if name.ctx == "store")


def choices(question: dict[str, Any]) -> set[Any]:
    given = question.get("choices", ())
    return set(given.values() if isinstance(given, dict) else given) | (
        {True, False} if question.get("type") == "bool" else set()
    )


def comparisons(tree: nodes.Template) -> Iterator[tuple[str, Any]]:
    """Yield the questions with choices, and the constants that their answers, or parts of them, are compared with."""
    for compare in tree.find_all(nodes.Compare):
        for operand in compare.ops:
            sides = (compare.expr, operand.expr)
            names = [
                DERIVED.get(side.name, side.name) for side in sides if isinstance(side, nodes.Name)
            ]
            parts = [part for side in sides for part in getattr(side, "items", [side])]
            constants = [part.value for part in parts if isinstance(part, nodes.Const)]
            constants = [
                one
                for value in constants
                for one in (value if isinstance(value, tuple) else (value,))
            ]
            for name in names:
                if name in WITH_CHOICES:
                    yield from ((name, constant) for constant in constants)


def read() -> tuple[dict[str, Any], dict[str, str]]:
    """Return copier.yml and the template's files."""
    paths = [
        path
        for folder in ("template", "includes")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ]
    files = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        if path.suffix == ".jinja" or "includes" in path.parts
        else ""
        for path in paths
        if "__pycache__" not in path.parts
    }
    return yaml.safe_load((ROOT / "copier.yml").read_text()), files


WITH_CHOICES = {
    name for name, question in read()[0].items() if name[0] != "_" and "choices" in question
}


def test_the_template_is_in_order() -> None:
    assert lint(*read()) == []


def test_no_file_is_ignored() -> None:
    """Copier leaves such a file out of a working tree with changes, and template/.gitignore is for projects."""
    assert not git(ROOT, "ls-files", "--cached", "--ignored", "--exclude-standard")


@pytest.mark.parametrize(
    ("where", "planted", "problem"),
    [
        (
            "template/a.yaml.jinja",
            "{{ packge_name }}",
            "template/a.yaml.jinja: packge_name is no variable",
        ),
        (
            "template/{{ packge_name }}.py",
            "",
            "the name template/{{ packge_name }}.py: packge_name is no variable",
        ),
        (
            "template/a.jinja",
            "{% if 'mnits' in datasets %}{% endif %}",
            "template/a.jinja: mnits is no choice of datasets",
        ),
        (
            "template/a.jinja",
            "{% if license == 'mit' %}{% endif %}",
            "template/a.jinja: mit is no choice of license",
        ),
        (
            "includes/a.md",
            "{% for logger in loggers %}{% if logger in ('csv', 'WandB') %}{% endif %}{% endfor %}",
            "includes/a.md: WandB is no choice of loggers",
        ),
        (
            f"template/{'x' * 121}",
            "",
            f"template/{'x' * 121}: the path has more than 120 characters",
        ),
    ],
)
def test_a_planted_mistake_in_a_file_is_found(where: str, planted: str, problem: str) -> None:
    settings, files = read()
    assert lint(settings, {**files, where: planted}) == [problem]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"setup": {"question": "Which?"}}, "setup: question is no key of a question"),
        ({"setup": {"help": None}}, "setup: help is missing"),
        ({"setup": {"default": None}}, "setup: default is missing"),
        ({"setup": {"type": None}}, "setup: type is missing"),
        ({"user_name": {"validator": None}}, "user_name: free text has no validator"),
        (
            {"setup": {"ask": "{{ nobody is not defined }}"}},
            "copier.yml: setup.ask: nobody is no variable",
        ),
        (
            {"_exclude": ["{% if 'pytest' in tooling %}a{% endif %}"]},
            "copier.yml: _exclude.0: pytest is no choice of tooling",
        ),
    ],
)
def test_a_planted_mistake_in_the_questions_is_found(changes: dict[str, Any], problem: str) -> None:
    settings, files = read()
    for name, change in changes.items():
        if isinstance(change, dict):
            merged = {**settings[name], **change}
            settings[name] = {key: value for key, value in merged.items() if value is not None}
        else:
            settings[name] = change
    assert lint(settings, files) == [problem]


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("vendor.citation-file-format", "CITATION.cff"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/wish.yml"),
    ],
)
def test_what_github_reads_of_this_repository_is_valid(schema: str, name: str) -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        str(ROOT / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def keywords_that_lack(call: ast.Call) -> set[str]:
    """Return what a call that reads or writes text has to say, because Windows would take something else."""
    given = {keyword.arg for keyword in call.keywords}
    function = ast.unparse(call.func)
    name = function.split(".")[-1]
    constants = [one.value for one in call.args if isinstance(one, ast.Constant)]
    is_text = name == "open" and function not in OPEN_BYTES and "rb" not in constants
    if None in given or "wb" in constants or "ab" in constants:  # None is **
        return set()
    if name == "write_text":
        return {"encoding", "newline"} - given
    if name == "read_text" or is_text or "text" in given:
        return {"encoding"} - given
    return set()


def test_text_is_utf_8_with_its_own_line_ends_on_every_system() -> None:
    lacking = []
    for path in [*(ROOT / "template").rglob("*.py"), *(ROOT / "template").rglob("*.py.jinja")]:
        source = re.sub(r"{%.*?%}", "", path.read_text()).replace("{{ package_name }}", "package")
        for call in [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]:
            for keyword in keywords_that_lack(call):
                is_test = "tests" in path.relative_to(ROOT / "template").parts
                if keyword == "encoding" or not is_test:
                    lacking.append(f"{path}:{call.lineno} lacks {keyword}")
    assert lacking == []


def test_each_promise_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 30
    for path, function in named:
        code = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {function or 'test_'}" in code, f"{path} has no {function}"


def test_each_break_of_make_mutations_is_of_code_that_is_there() -> None:
    for one in BREAKS:
        code = (ROOT / one.file).read_text(encoding="utf-8")
        assert code.count(one.old) == 1, f"{one.file}: {one.old}"
