"""The commands and recipes of the READMEs work when they are followed literally, in their order."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from copier import run_copy
from helpers.commands import DIGITS, succeed
from helpers.server import Server
from helpers.template import ROOT, Render, choices_of, sweep

SHORT = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def readme(project: Path) -> str:
    return (project / "README.md").read_text()


def mnist(project: Path) -> None:
    """Put the official MNIST files where the project looks for them, or skip the test."""
    if "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR does not name a folder with the official MNIST files")
    shutil.copytree(os.environ["MNIST_DIR"], project / "data" / "mnist")


def without_numbers(text: str) -> list[str]:
    """Return the lines of an output, with `#` for each number and with single blanks."""
    lines = re.sub(r"\d+\.\d+|\d{8}T?-?\d+Z?-\w+|<run id>", "#", text).splitlines()
    return [" ".join(line.split()) for line in lines]


def test_the_first_run_prints_and_writes_what_the_page_shows(project: Path, readme: str) -> None:
    (fit,) = (block for block in blocks(readme, "bash") if "--test_after_fit" in block)
    ending, files, *_ = blocks(readme, "text")
    output = succeed(project, *fit.split()[2:], "--trainer.enable_progress_bar=false")
    assert not {*without_numbers(ending)} - {*without_numbers(output)}
    shown, reached = (re.search(r"test/acc\W+([\d.]+)", text) for text in (ending, output))
    assert shown and reached and float(shown[1]) == pytest.approx(float(reached[1]), abs=0.01)
    (run,) = (project / "logs" / "exp1").iterdir()
    for name in re.findall(r"^ +([\w.]+)", files, re.MULTILINE):
        assert (run / name).exists(), name

    (commands,) = (block for block in blocks(readme, "bash") if "main.py test" in block)
    assert [command.split()[2] for command in commands.splitlines()] == ["test", "predict", "fit"]
    for command in commands.splitlines():
        succeed(project, *command.partition(" # ")[0].split()[2:])
    assert (run / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("options", "least"), [(("--trainer.max_epochs=1",), 0.97), *sweep(((), 0.99))]
)
def test_mnist_reaches_97_percent_in_an_epoch_and_99_in_all(
    project: Path, options: tuple[str, ...], least: float
) -> None:
    mnist(project)
    configs = ("-c", "configs/data/mnist.yaml", "-c", "configs/model/simplenet.yaml")
    usual = ("--seed_everything=1", "--test_after_fit=true", SHORT[1])
    output = succeed(project, "fit", *configs, *usual, *options)
    accuracy = re.search(r"test/acc\W+([\d.]+)", output)
    assert accuracy is not None
    print(f"Test accuracy: {float(accuracy[1]):.4f}")
    assert float(accuracy[1]) >= least


def test_the_options_in_the_table_are_taken(project: Path, readme: str) -> None:
    succeed(project, "fit", *DIGITS, *SHORT, "--name=exp1")
    table = readme[readme.index("\n## Options") : readme.index("\n## Check")]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)[2:]
    options = {task: re.findall(r"`([^`]+)`", use) for task, use in rows}
    tasks = ("train longer", "change a value", "change a class", "see no warnings")
    arguments = " ".join(option for task in tasks for option in options[task]).split()
    succeed(project, "fit", *DIGITS, *arguments, "--trainer.fast_dev_run=true")
    for option in ("add a callback", "commit all changes before training"):
        succeed(project, "fit", *DIGITS, *SHORT, *options[option][0].split())
    config = next(project.glob("logs/exp1/*/config.yaml")).relative_to(project)
    (again,) = options["start a run again from the beginning"]
    succeed(
        project,
        *again.replace("logs/exp1/<run id>/config.yaml", str(config)).split(),
        "--trainer.fast_dev_run=true",
    )
    for task in ("see all options", "see the options of a class"):
        assert "usage:" in succeed(project, *options[task][0].split())


def test_the_best_model_is_two_lines_of_python(project: Path, readme: str) -> None:
    succeed(project, "fit", *DIGITS, *SHORT, "--name=exp1")
    (run,) = (project / "logs" / "exp1").iterdir()
    (code,) = (block for block in blocks(readme, "python") if "load_from_checkpoint" in block)
    code = code.replace("<run id>", run.name)
    succeed(project, "-c", code, PYTHONPATH=str(project / "src"))


def test_the_recipes_work_and_are_in_order(project: Path, readme: str) -> None:
    for code in blocks(readme, "python"):
        if name := re.match(r"# (src/\S+\.py)\n", code):
            (project / name[1]).write_text(code)
    (command,) = (block for block in blocks(readme, "bash") if "NoiseDataModule" in block)
    succeed(project, *command.replace("\\\n", "").split()[2:], *SHORT)

    focal = re.search(r"`(--model \S+FocalModule)`", readme)
    assert focal is not None
    printed = succeed(project, "fit", *DIGITS, *SHORT, *focal[1].split(), "--print_config")
    assert "FocalModule" in printed and "WarmupSchedule" in printed, (
        "the new class keeps what the config has set"
    )
    succeed(project, "fit", *DIGITS, *SHORT, *focal[1].split())

    create, update, log = re.findall(r"`(self\.[^`]*val_top3[^`]*)`", readme)
    path = project / "src" / "my_project" / "modules" / "classification.py"
    text = path.read_text().replace(
        "        self.val_loss = ", f"        {create}\n        self.val_loss = "
    )
    text = re.sub(r"( +self\.val_acc\.update.*\n)", rf"\1        {update}\n", text)
    text = re.sub(r"(def on_validation_epoch_end.*\n)", rf"\1        {log}\n", text)
    path.write_text(text)
    monitor = re.search(r"`(--checkpoint\.monitor val/top3)`", readme)
    assert monitor is not None
    succeed(project, "fit", *DIGITS, *SHORT, *monitor[1].split(), "--test_after_fit=true")

    callback = re.search(r"`(--trainer\.callbacks\+=\S+MyCallback)`", readme)
    assert callback is not None
    (project / "src" / "my_project" / "callbacks" / "mine.py").write_text(
        "from lightning.pytorch import Callback, LightningModule, Trainer\n\n\n"
        "class MyCallback(Callback):\n"
        "    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:\n"
        '        print("the end")\n'
    )
    assert "the end" in succeed(project, "fit", *DIGITS, *SHORT, callback[1])
    for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        succeed(project, "-m", *check)


@pytest.mark.parametrize(
    "logger", ["tensorboard", pytest.param("none", marks=pytest.mark.sweep)]
)  # the others are in tests/test_matrix.py
def test_the_projects_own_tests_pass(
    render: Render, warm: Server, logger: str, tmp_path: Path
) -> None:
    project = shutil.copytree(
        render(loggers=[logger] if logger != "none" else [], git_hooks=False), tmp_path / "project"
    )
    done = warm.run(project, "-m", "pytest", "-rs")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    skipped = re.findall(r"^SKIPPED .*", done.stdout, re.MULTILINE)
    assert all("cannot download" in line for line in skipped)


def test_the_hooks_pass_on_a_fresh_project_and_refuse_what_they_should(
    render: Render, tmp_path: Path
) -> None:
    project = shutil.copytree(render(loggers=["wandb"]), tmp_path / "project")
    git = ["git", "-C", str(project)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    hooks = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(ROOT / "build" / "pre-commit")}
    install = [sys.executable, "-m", "pre_commit", "install-hooks"]
    if (
        subprocess.run(install, cwd=project, env=environment).returncode != 0
        and "CI" not in os.environ
    ):
        pytest.skip("the hooks cannot be installed without a package index")
    fresh = subprocess.run(hooks, cwd=project, env=environment, capture_output=True, text=True)
    assert fresh.returncode == 0, fresh.stdout
    assert subprocess.run([*git, "diff", "--quiet"]).returncode == 0

    cell = {
        "cell_type": "code",
        "execution_count": 7,
        "id": "a",
        "metadata": {},
        "outputs": [],
        "source": [],
    }
    bad = {
        "notebooks/a.ipynb": json.dumps(
            {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        ),
        "large.bin": "x" * 2_000_000,
        "README.md": "<<<<<<< before updating\n",
        "a.py.rej": "@@\n",
        "key.pem": "-----BEGIN RSA PRIVATE KEY-----\n",
        "src/unused.py": "import os\n",
        "src/long.py": "x = {  'a':1 }\n",
    }
    for name, text in bad.items():
        (project / name).write_text(text)
    subprocess.run([*git, "add", "--all", "--force"], check=True)
    refused = subprocess.run(hooks, cwd=project, env=environment, capture_output=True, text=True)
    failed = {
        line.split("...")[0].split(" ")[0:3][-1]
        for line in refused.stdout.splitlines()
        if line.endswith("Failed")
    }
    assert len(failed) == 7, refused.stdout


EVERYTHING = {name: choices_of(name) for name in ("loggers", "datasets", "models", "tooling")}


@pytest.mark.parametrize(
    "answers", [{}, EVERYTHING, {"license": "Proprietary", "torch_build": "cpu", "loggers": []}]
)
@pytest.mark.parametrize("language", ["en+zh", "zh+en"])
def test_the_projects_readmes_say_the_same(
    render: Render, language: str, answers: dict[str, Any]
) -> None:
    project = render(readme_language=language, **answers)
    second = "README.zh.md" if language == "en+zh" else "README.en.md"
    texts = [(project / name).read_text() for name in ("README.md", second)]
    assert [
        f"]({name})" in text for name, text in zip((second, "README.md"), texts, strict=True)
    ] == [True, True]
    assert [bool(re.search(r"^# .*\n\n.*\n\nWith ", text, re.M)) for text in texts] == [
        language == "en+zh",
        language != "en+zh",
    ]
    for kind in ("bash", "python"):
        code = [[re.sub(r"  # .*", "", block) for block in blocks(text, kind)] for text in texts]
        assert code[0] == code[1]
    prose = [re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S) for text in texts]
    for pattern in (r"`([^`\n]+)`", r"\]\((?!README)([^)]+)\)", r"^(#+) ", r"^(- )", r"^(\| )"):
        assert sorted(re.findall(pattern, prose[0], re.M)) == sorted(
            re.findall(pattern, prose[1], re.M)
        ), pattern


def test_a_readme_in_chinese_is_chinese(render: Render) -> None:
    lines = (render(readme_language="zh", **EVERYTHING) / "README.md").read_text().splitlines()
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`|\([^)]*\)", "", "\n".join(lines[3:]), flags=re.M | re.S)
    sentences = [line for line in prose.splitlines() if len(re.findall(r"[A-Za-z]{2,}", line)) > 5]
    assert all(re.search(r"[\u4e00-\u9fff]", sentence) for sentence in sentences), sentences
    assert len(re.findall(r"[\u4e00-\u9fff]", prose)) > 800


def test_the_example_in_the_docs_adds_a_model(template: Path, tmp_path: Path) -> None:
    """The diff in docs/contributing.md applies, and what it adds is rendered for whoever chooses it."""
    (diff,) = blocks((ROOT / "docs" / "contributing.md").read_text(), "diff")
    copy = shutil.copytree(template, tmp_path / "template", ignore=shutil.ignore_patterns(".git"))
    subprocess.run(["git", "apply", "-"], cwd=copy, input=diff, text=True, check=True)
    run_copy(str(copy), tmp_path / "chosen", data={"models": ["linear"]}, defaults=True, quiet=True)
    run_copy(str(copy), tmp_path / "other", defaults=True, quiet=True)
    assert not list((tmp_path / "other").rglob("*linear*"))
    configs = ("-c", "configs/data/digits.yaml", "-c", "configs/model/linear.yaml")
    succeed(tmp_path / "chosen", "fit", *configs, "--trainer.fast_dev_run=true")


def test_a_dataset_is_added_later_as_the_docs_say(template: Path, project: Path) -> None:
    command, *copies = blocks((ROOT / "docs" / "choices.md").read_text(), "bash")[0].splitlines()
    copy = [part.replace("~/copier-lightning", str(template)) for part in shlex.split(command)]
    subprocess.run([sys.executable, "-m", *copy], cwd=project, check=True, capture_output=True)
    for line in copies:
        subprocess.run(shlex.split(line), cwd=project, check=True)
    configs = ("-c", "configs/data/cifar10.yaml", "-c", "configs/model/simplenet.yaml")
    assert "CIFAR10DataModule" in succeed(project, "fit", *configs, "--print_config")


def test_the_readmes_of_this_repository_say_the_same() -> None:
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh.md"))
    code = [
        [re.sub(r" +# .*", "", block) for block in blocks(text, "bash")]
        for text in (english, chinese)
    ]
    assert code[0] == code[1]
    for pattern in (r"^#+ ", r"^- ", r"^\| ", r"\]\(([^)]+)\)"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(
            re.findall(pattern, chinese, re.MULTILINE)
        ), pattern
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", english + chinese):
        assert (ROOT / link).exists(), link


def dry_run(target: str) -> str:
    """Return the commands that a target of the Makefile runs."""
    make = ["make", "--no-print-directory", "--dry-run", "--always-make", target]
    return subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_every_target_that_a_text_names_is_in_the_makefile() -> None:
    texts = ["README.md", "README.zh.md", "CONTRIBUTING.md", "docs/contributing.md"]
    named = {
        target
        for text in texts
        for target in re.findall(r"(?m)(?:^|`)make ([\w-]+)", (ROOT / text).read_text())
    }
    assert {"quick", "demo", "lint", "test", "test-all"} <= named
    for target in named:
        assert dry_run(target)


def test_the_sweeps_are_run_by_test_all_alone() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "-m 'not sweep'" in options["addopts"]
    assert dry_run("test").rstrip().endswith("-m pytest")
    assert dry_run("test-all").rstrip().endswith("-m pytest -m ''")


def test_the_quick_check_renders_tests_and_trains_a_project() -> None:
    commands = dry_run("quick")
    steps = ["ruff check", "copier copy", "pytest", "main.py fit"]
    places = [commands.index(step) for step in steps]
    assert places == sorted(places)


def test_the_readmes_commands_give_a_project_that_trains(template: Path, tmp_path: Path) -> None:
    start, *_ = blocks((ROOT / "README.md").read_text(), "bash")
    for page in ("index", "zh/index"):
        assert blocks((ROOT / "docs" / f"{page}.md").read_text(), "bash") == [start]
    begin, sync, fit = start.splitlines()
    copy, change = begin.removeprefix("uvx ").split(" && ")
    assert (change, sync) == ("cd my-project", "uv sync"), "which test_uv.py runs"
    command = [part.replace("~/copier-lightning", str(template)) for part in copy.split()]
    subprocess.run([sys.executable, "-m", *command, "--defaults"], cwd=tmp_path, check=True)
    project = tmp_path / "my-project"
    assert fit.startswith("uv run python src/main.py fit ")
    assert "test/acc" in succeed(project, *fit.split()[4:], *SHORT)
    assert (
        tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"] == "my-project"
    )
