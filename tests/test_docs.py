"""The documentation: it builds without a warning, and its commands work, in order, as they are written."""

import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import run_warm, search_path
from helpers.pages import DOCS, blocks, shown, write
from helpers.template import ROOT, Render, git
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RUNNERS = (  # what only a cluster, an account, a container engine, or an hour can run, so that it stands as ```shell
    "JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT=true my-project ",  # by test_schema.py, which has the command
    "make bench",
    "make release",
    "export UV_DEFAULT_INDEX=",  # the mirrors of packages and datasets
    "modelscope download ",
    "pip config set ",
    "pip install ",
    "sbatch ",
    "torchrun ",
    "wandb ",
)
ALIKE = (  # pages in both languages
    "index",
    "start",
    "tutorial",
    "tour",
    "choices",
    "environment",
    "dataset",
    "model",
    "metric",
    "callback",
    "logger",
    "tables",
    "text",
    "segmentation",
    "gan",
    "recipes",
    "editor",
    "runs",
    "problems",
    "fine_tuning",
    "predict",
    "searches",
    "distributed",
    "export",
    "performance",
    "updating",
    "migrating",
    "migrating_hydra",
    "why",
    "glossary",
    "design",
    "security",
)
ELSEWHERE = {  # pages whose commands are run by a test of their own
    "choices": "test_readme.py",
    "environment": "test_uv.py",
    "index": "test_readme.py",
    "zh/index": "test_readme.py",
    "migrating": "test_migrating.py",
    "text": "test_text.py",
    "migrating_hydra": "test_migrating_hydra.py",
    "updating": "test_update_answers.py",
}
TOOLS: dict[str, Any] = {"datasets": ["digits"], "models": ["mlp", "simplenet"]}
PAGES: dict[str, dict[str, Any]] = {  # with the answers of the project that they are tried in
    "tour": {},
    "tutorial": {
        "datasets": ["digits", "image_folder"],
        "models": ["simplenet"],
        "tooling": ["report", "runs", "export"],
    },
    "dataset": {},
    "model": {},
    "metric": {},
    "callback": {},
    "logger": {},
    "runs": {**TOOLS, "tooling": ["report", "runs"]},
    "tables": {"datasets": ["digits", "csv_table"], "models": ["mlp", "regression"]},
    "predict": {"datasets": ["digits", "csv_table"], "models": ["mlp", "simplenet"]},
    "fine_tuning": {"datasets": ["digits"], "models": ["simplenet", "vit"]},
    "segmentation": {
        "datasets": ["digits", "digit_masks", "mask_folder"],
        "models": ["segmentation"],
        "tooling": ["export"],
    },
    "searches": {**TOOLS, "tooling": ["optuna", "repeat"]},
    "distributed": {**TOOLS, "tooling": ["distributed"]},
    "packing": {
        "datasets": ["digits", "image_folder"],
        "models": ["simplenet"],
        "tooling": ["pack"],
    },
    "editor": {**TOOLS, "tooling": ["schema"]},
    "streaming": {"datasets": ["digits", "huggingface"], "models": ["simplenet"]},
    "gan": {"datasets": ["digits"]},
    "recipes": {"datasets": ["digits"]},
    "export": {**TOOLS, "datasets": ["digits", "csv_table"], "tooling": ["export"]},
}
LOCAL = "trainer:\n  limit_train_batches: 10\n  limit_val_batches: 1\n  limit_test_batches: 1\n"
EXP = "python src/main.py fit -c configs/data/digits.yaml -c configs/model/simplenet.yaml --trainer.max_epochs 1 --name"
BEFORE = {  # what the reader of a page has done
    "runs": [f"{EXP} exp1 --test_after_fit true --model.optimizer.lr 0.01", f"{EXP} exp2"],
    "searches": [f"{EXP} mlp", f"{EXP} simplenet"],
    "export": [f"{EXP} exp1"],
    "predict": [f"{EXP} exp1"],
    "recipes": [f"{EXP} exp1"],
}


FEWER = {  # trainings of the same kind, and epochs
    "--seeds 1..5": "--seeds 1..2",
    "--folds 5": "--folds 2",
    "max_epochs: 10\n": "max_epochs: 2\n",
}


def pages() -> list[str]:
    return sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))


def commands(text: str) -> list[str]:
    """Return the commands of a block, one for each line or several that belong together."""
    lines = text.replace("\\\n", "").splitlines()
    plain = [line for line in lines if line and not line.startswith("#")]
    if all(
        line.startswith("python ") and not set("|&><;$*") & set(line.partition("#")[0])
        for line in plain
    ):
        return plain
    return ["\n".join(plain)]


def execute(project: Path, command: str) -> str:
    """Run a command as a reader in the project's environment does, see it succeed, and return what it prints."""
    if command.partition("#")[0].strip() == "pytest":
        command = "pytest --collect-only"  # test_readme.py runs it all
    env = {**os.environ, "PATH": search_path(), "PYTHONPATH": "src", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["bash", "-euc", command], cwd=project, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def shorten(project: Path) -> None:
    """Have a project train for two epochs of a few batches, which is enough to see that a command works."""
    (project / "configs" / "local.yaml").write_text(LOCAL)
    for data in project.glob("configs/data/*.yaml"):
        data.write_text(re.sub(r"max_epochs: \d+", "max_epochs: 2", data.read_text()))
    search = project / "configs" / "search" / "optimizer.yaml"
    if search.exists():
        search.write_text(search.read_text().replace("trials: 30", "trials: 2"))


def follow(project: Path, page: str) -> int:  # noqa: C901
    """Do what a page says: write its files, and run its commands. Return how many commands there were."""
    count = 0
    for language, code in blocks(page):
        for name in re.findall(r"logs/(\w+)/(?:<run id>|20261123-182344Z-518074a3)", code) or [
            "exp1"
        ]:
            ids = sorted(path.name for path in project.glob(f"logs/{name}/*"))
            code = re.sub("<run id>|20261123-182344Z-518074a3", ids[0] if ids else "", code)
        for many, few in FEWER.items():
            code = code.replace(many, few)
        if write(project, language, code):
            continue
        if language == "python":
            execute(project, f"python - <<'END'\n{code}\nEND")
        elif language == "bash":
            for command in commands(code):
                execute(project, command)
                count += 1
        elif language == "console" and page == "tour":
            command, *expected = code.removeprefix("$ python src/main.py ").splitlines()
            done = run_warm(project, *shlex.split(command))
            assert done.returncode == 1 and done.stderr.splitlines() == expected
            count += 1
    return count


def ready(render: Render, page: str) -> Path:
    """Return a project of somebody who begins to read a page."""
    project = render(package_name="my_project", **PAGES[page])
    shorten(project)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Start")
    for command in BEFORE.get(page, []):
        execute(project, command)
    return project


@pytest.mark.parametrize("page", [page for page in PAGES if page != "recipes"])
def test_a_pages_commands_work_as_written(render: Render, page: str) -> None:
    count = follow(ready(render, page), page)
    assert count
    print(f"{page}: {count} commands")


def test_the_tutorial_is_tried_in_the_project_that_it_renders() -> None:
    _, command = blocks("tutorial")[0]
    answers = dict(re.findall(r"-d '(\w+)=\[(.*?)\]'", command))
    expected = {name: ",".join(given) for name, given in PAGES["tutorial"].items()}
    assert answers == expected


def test_the_recipes_do_what_they_say(render: Render) -> None:
    project = ready(render, "recipes")
    follow(project, "recipes")

    (run,) = project.glob("logs/shown/*")
    events = EventAccumulator(str(run))
    events.Reload()
    assert events.Images("val/mistakes")

    (record,) = project.glob("logs/exp1/*/run.json")
    plain, views = json.loads(record.read_text())["commands"][1:3]
    assert views["changes"] == {"model": "my_project.modules.shifted.ShiftedModule"}
    assert views["directory"].startswith("other/")
    assert views["metrics"]["test/loss"] != plain["metrics"]["test/loss"]


def test_what_the_pages_have_one_write_is_in_order(render: Render) -> None:
    project = render(package_name="my_project", datasets=["digits"])
    for page in PAGES:
        for language, code in blocks(page):
            write(project, language, code)
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_the_first_two_minutes(template: Path, tmp_path: Path) -> None:
    copy = "uvx copier copy ~/copier-lightning my-project"
    given = {  # the environment of the tests has all this; and what there is to ask is asked elsewhere
        "uv sync && source .venv/bin/activate": "",
        f"{copy} && cd my-project": f"copier copy --defaults '{template}' my-project",
    }
    folder = tmp_path
    for language, code in blocks("start"):
        assert language == "bash"
        for line in code.splitlines():
            command = given.pop(line, line)
            if command:
                output = execute(folder, command)
            if line.startswith("uvx copier copy "):
                folder = tmp_path / "my-project"
                shorten(folder)
    assert not given, "they stand there no more"
    assert "--model.CLASS" in output or "usage" in output


def test_every_page_is_tried_or_has_nothing_to_try() -> None:
    tried = {*PAGES, *ELSEWHERE, "start", *(f"zh/{page}" for page in ALIKE)}
    for page in pages():
        languages = {language for language, _ in blocks(page)}
        assert page in tried or "bash" not in languages, page
        for language, code in blocks(page):
            assert language in (
                "bash",
                "console",
                "diff",
                "json",
                "python",
                "shell",
                "text",
                "toml",
                "yaml",
            ), page
            if language == "shell":
                starts = [line for line in commands(code)[0].splitlines() if line[0] not in " #"]
                assert all(line.startswith(RUNNERS) for line in starts), (page, starts)


@pytest.mark.parametrize("page", ALIKE)
def test_the_pages_in_chinese_say_the_same(page: str) -> None:
    english, chinese = (
        [re.sub("#.*", "", code) for lang, code in blocks(name) if lang != "text"]
        for name in (page, f"zh/{page}")
    )
    assert english == chinese
    one, other = (shown(name) for name in (page, f"zh/{page}"))
    for pattern in (r"^#+ ", r"^\| ", r"^!\["):
        assert len(re.findall(pattern, one, re.MULTILINE)) == len(
            re.findall(pattern, other, re.MULTILINE)
        ), pattern


def test_lines_of_chinese_texts_end_at_punctuation() -> None:
    """A line that ends in the middle of a sentence would put a blank between two Chinese characters."""
    texts = [*(DOCS / "zh").glob("*.md"), ROOT / "README.zh.md", ROOT / "includes/readme.zh.md"]
    for text in texts:
        broken = re.findall(r".*[\u4e00-\u9fff]\n *[\u4e00-\u9fff].*", text.read_text())
        assert not broken, text


def test_the_first_pages_lead_to_every_page_of_their_language() -> None:
    english = {page for page in pages() if not page.startswith("zh/")}
    for first, expected in (("index", english), ("zh/index", {*pages()} - english)):
        place = DOCS / f"{first}.md"
        links = re.findall(r"\]\(([^)#]+\.md)\)", place.read_text())
        found = {(place.parent / link).resolve().relative_to(DOCS) for link in links}
        missing = expected - {path.with_suffix("").as_posix() for path in found} - {first}
        assert not missing


class Links(HTMLParser):
    """Collects what a page would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "link", "iframe", "source") and values.get("rel") not in (
            "index",
            "search",
            "next",
            "prev",
        ):
            self.loaded += [value for value in (values.get("src"), values.get("href")) if value]


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        str(DOCS),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in pages():
        html = (tmp_path / f"{page}.html").read_text()
        assert f'lang="{"zh-CN" if page.startswith("zh/") else "en"}"' in html
        prose = re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL)
        assert "**" not in prose, f"{page}: bold Chinese ends before its punctuation, not after it"
        links = Links()
        links.feed(html)
        assert links.loaded and not [link for link in links.loaded if "//" in link], page
    styles = "".join(path.read_text() for path in (tmp_path / "_static").rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//", styles)
