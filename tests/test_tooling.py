"""The files that the tooling choices and torch_build add: which they are, and that what they say works.

test_agents.py, test_docker.py and test_slurm.py have more about theirs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import search_path, succeed
from helpers.template import QUESTIONS, Render, as_listed, choices_of, files


def package(*names: str) -> set[str]:
    return {f"src/my_project/{name}" for name in names}


TOOLS = package("tools/__init__.py", "tools/options.py")
RUNS = TOOLS | package("runs.py", "tools/run_files.py", "tools/runs/")
FILES = {
    "agents": {"AGENTS.md"},
    "github_actions": {
        ".github/dependabot.yml",
        ".github/workflows/ci.yml",
        ".github/workflows/template.yml",
    },
    "gitlab_ci": {".gitlab-ci.yml"},
    "docker": {"Dockerfile", ".dockerignore"},
    "devcontainer": {".devcontainer/devcontainer.json"},
    "vscode": {".vscode/launch.json", ".vscode/settings.json", ".vscode/extensions.json"},
    "makefile": {"Makefile"},
    "notebooks": {"notebooks/first_run.ipynb"},
    "docs": {"docs/.gitignore", "docs/conf.py", "docs/index.md"},
    "profile": {"configs/trainer/profile.yaml", "src/my_project/callbacks/speed.py"},
    "distributed": {
        "configs/trainer/ddp.yaml",
        "configs/trainer/fsdp.yaml",
        "src/my_project/distributed.py",
    },
    "pack": {
        "configs/data/packed.yaml",
        *TOOLS,
        *package("data_modules/augment.py", "data_modules/packed.py", "data_modules/pictures.py"),
        *package("pack.py", "tools/data_options.py", "tools/pack/"),
    },
    "slurm": {"scripts/train.sbatch"},
    "runs": RUNS,
    "repeat": RUNS | package("repeat.py", "tools/repeat.py", "tools/fit_process.py"),
    "optuna": {
        "configs/search/optimizer.yaml",
        *RUNS,
        *package("search.py", "tools/search/", "tools/fit_process.py"),
    },
    "sweep": {"configs/search/sweep.yaml"},
    "schema": {"configs/.gitignore", *TOOLS, *package("schema.py", "tools/schema/")},
    "report": package("callbacks/report.py", "tools/__init__.py", "tools/report/"),
    "export": TOOLS | package("export.py", "tools/export.py"),
    "paper": {
        "CITATION.cff",
        "configs/experiment/baseline.yaml",
        "tests/engine/test_results.py",
        *TOOLS,
        *package("model_card.py", "tools/model_card.py", "tools/run_files.py"),
    },
}
BUILDS = list(QUESTIONS["torch_build"]["choices"].values())
PYTHONS = QUESTIONS["python_version"]["choices"]
INDEX = "https://download.pytorch.org/whl/"
MINE = '''def product(*rest: int) -> int:
    """Return ``a*b``, and more of *rest.

    Args:
        *rest: Factors.
    """
    return rest[0]
'''


@pytest.fixture(scope="module")
def equipped(render: Render) -> Path:
    """A project with every tool, the digits and SimpleNet, that tests read but do not change."""
    return render(tooling=list(FILES), datasets=["digits"])


def execute(project: Path, command: str) -> str:
    """Run a shell command in a project as in its environment, see it succeed, and return what it prints."""
    env = {
        name: value for name, value in os.environ.items() if "MAKE" not in name
    }  # of `make test`, to a make in it
    env |= {"PATH": search_path(), "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, shell=True, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dry_run(project: Path, target: str) -> list[str]:
    """Return the commands that a target of the Makefile stands for."""
    return execute(project, f"make --dry-run {target}").splitlines()


def resolve(project: Path, arguments: list[str]) -> Any:
    """Return the configuration that arguments of the command line amount to."""
    return yaml.safe_load(succeed(project, *arguments, "--print_config"))


def parse(path: Path) -> Any:
    """Return what a YAML, JSON or TOML file says."""
    match path.suffix:
        case ".toml":
            return tomllib.loads(path.read_text())
        case ".json" | ".ipynb":
            return json.loads(path.read_text())
    return yaml.safe_load(path.read_text())


def commands(project: Path) -> list[str]:
    """Return what the GitHub workflow runs."""
    steps = parse(project / ".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def test_each_choice_is_tested_here() -> None:
    assert FILES.keys() == set(choices_of("tooling"))


@pytest.fixture(scope="module")
def bare(render: Render) -> Path:
    """A project without any tool."""
    return render(tooling=[])


def listed(project: Path) -> set[str]:
    return {as_listed(name) for name in files(project)}


@pytest.mark.parametrize("choice", FILES)
def test_a_choice_adds_its_files_and_no_others(choice: str, render: Render, bare: Path) -> None:
    assert listed(render(tooling=[choice])) == listed(bare) | FILES[choice]


def test_all_choices_together_add_all_of_these_files(render: Render, bare: Path) -> None:
    assert listed(render(tooling=list(FILES))) == listed(bare).union(*FILES.values())


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("tooling", [[], list(FILES)], ids=["no tooling", "all tooling"])
def test_the_files_can_be_read_and_name_the_build(
    build: str, tooling: list[str], render: Render
) -> None:
    project = render(torch_build=build, tooling=tooling)
    uv = parse(project / "pyproject.toml")["tool"].get("uv", {})
    if build == "auto":
        assert not uv
    else:
        assert uv["index"] == [{"name": "pytorch", "url": INDEX + build, "explicit": True}]
        assert uv["sources"].keys() == ({"torch", "triton-rocm"} if "rocm" in build else {"torch"})
        assert {source["index"] for sources in uv["sources"].values() for source in sources} == {
            "pytorch"
        }
    if not tooling:
        return
    for name in set().union(*FILES.values()):
        assert Path(name).suffix not in (".yml", ".json", ".ipynb") or parse(project / name), name
    assert dry_run(project, "install") == ["uv sync --group docs"]
    container = parse(project / ".devcontainer/devcontainer.json")
    assert container["postCreateCommand"].endswith("pip install uv && uv sync")
    lock, install = commands(project)[:2]
    for_all, editable = install.split(" --constraint /tmp/versions.txt ")
    assert editable == "--editable . --group dev"
    assert for_all.split()[-2:] == ["--torch-backend", "cpu"], "tests need no GPU"
    assert ("--no-sources-package torch" in for_all) == (build != "auto"), "nor the build's index"
    assert ("--no-emit-package torch" in lock) == (build not in ("auto", "cpu")), (
        "that index has no +cu126 or +rocm7.2"
    )


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        (".github/dependabot.yml", "dependabot"),
        (".github/workflows/ci.yml", "github-workflows"),
        (".github/workflows/template.yml", "github-workflows"),
        (".gitlab-ci.yml", "gitlab-ci --data-transform gitlab-ci"),
    ],
)
def test_the_workflows_follow_their_schemas(name: str, schema: str, equipped: Path) -> None:
    pytest.importorskip(
        "check_jsonschema", reason="check-jsonschema, which has the schemas, is not installed"
    )
    execute(
        equipped, f"{sys.executable} -m check_jsonschema --builtin-schema vendor.{schema} {name}"
    )


@pytest.mark.parametrize("version", PYTHONS)
def test_the_oldest_and_the_newest_python_are_tested(version: str, render: Render) -> None:
    project = render(python_version=version, tooling=list(FILES))
    expected = sorted({version, PYTHONS[-1]})
    github = parse(project / ".github/workflows/ci.yml")["jobs"]["test"]
    assert github["strategy"]["matrix"] == {"python-version": expected}
    assert {"python-version": "${{ matrix.python-version }}"}.items() <= github["steps"][1][
        "with"
    ].items()
    assert parse(project / ".gitlab-ci.yml")["test"]["parallel"]["matrix"] == [{"PYTHON": expected}]
    assert parse(project / ".devcontainer/devcontainer.json")["image"].endswith(
        f"/python:{version}"
    )


def test_the_workflow_may_only_read_and_stops_what_is_outdated(equipped: Path) -> None:
    text = (equipped / ".github/workflows/ci.yml").read_text()
    github = yaml.safe_load(text)
    assert github["permissions"] == {"contents": "read"}
    assert github["concurrency"] == {
        "group": "${{ github.workflow }}-${{ github.ref }}",
        "cancel-in-progress": True,
    }
    assert github[True].keys() == {"push", "pull_request"}  # to YAML 1.1, "on" is true


def test_zizmor_finds_no_weakness_in_the_workflows(equipped: Path) -> None:
    execute(equipped, "zizmor --offline --quiet .")


def test_each_action_is_pinned_by_commit_and_dependabot_renews_it(equipped: Path) -> None:
    texts = [path.read_text() for path in (equipped / ".github" / "workflows").iterdir()]
    used = {name for text in texts for name in re.findall(r"uses: (.*)", text)}
    pinned_with_version = r"(actions/checkout|astral-sh/setup-uv)@[0-9a-f]{40} # v\d+\.\d+\.\d+"
    assert len(used) == 2
    assert all(re.fullmatch(pinned_with_version, name) for name in used)
    updates = parse(equipped / ".github" / "dependabot.yml")["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["github-actions", "uv"]
    assert all(update["cooldown"] == {"default-days": 7} for update in updates)


def test_what_the_workflows_run_works(equipped: Path, tmp_path: Path) -> None:
    project = shutil.copytree(equipped, tmp_path / "project")
    lines = commands(project)  # the first two install the project: see test_uv.py
    assert lines[2:] == [*dry_run(project, "lint"), *dry_run(project, "test")]
    assert ["pip install uv", *lines] == parse(project / ".gitlab-ci.yml")["test"]["script"]
    groups = parse(project / "pyproject.toml")["dependency-groups"]
    assert {"mypy", "pytest", "ruff"} <= {
        re.split(r"\W", requirement)[0] for requirement in groups["dev"]
    }
    for command in lines[2:]:
        execute(project, command)


# What GitHub's machines have: pipx, and gh with the titles of all issues in a file
PIPX = f'#!/bin/sh\n[ "$1 $2" = "run copier>=9.19.1" ] && shift 2 && exec {sys.executable} -m copier "$@"\n'
GH = """#!/bin/sh
case "$1 $2" in
    "issue list") cat issues ;;
    "issue create") [ "$3 $5" = "--title --body" ] && echo "$4" >> issues && echo "$6" >> bodies ;;
    *) exit 1 ;;
esac
"""


def test_an_issue_tells_once_of_a_new_version_of_the_template(
    equipped: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(equipped, tmp_path / "project")
    workflow = parse(project / ".github/workflows/template.yml")
    assert workflow["permissions"] == {"contents": "read", "issues": "write"}
    assert workflow[True].keys() == {"schedule", "workflow_dispatch"}
    script = tmp_path / "script"
    script.write_text(workflow["jobs"]["check"]["steps"][1]["run"])
    for name, text in (("pipx", PIPX), ("gh", GH)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    settings = (tmp_path / "gitconfig").resolve()
    settings.write_text(f'[url "{template}"]\n\tinsteadOf = https://example.org/template.git\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    (project / "issues").write_text("Version 1.0 of something\n")

    def weekly(address: str, version: str) -> list[str]:
        answers = project / ".copier-answers.yml"
        text = re.sub("(?m)^_src_path: .*", f"_src_path: {address}", answers.read_text())
        answers.write_text(re.sub("(?m)^_commit: .*", f"_commit: {version}", text))
        subprocess.run(["bash", "-e", "-o", "pipefail", str(script)], cwd=project, check=True)
        return (project / "issues").read_text().splitlines()[1:]

    assert weekly(str(template), "v0.1.0") == []
    assert weekly("https://example.org/template.git", "v999.0.0") == []
    assert weekly("https://example.org/template.git", "v0.1.0") == [
        "Version 999.0.0 of the template"
    ]
    assert weekly("https://example.org/template.git", "v0.1.0") == [
        "Version 999.0.0 of the template"
    ]
    assert (
        (project / "bodies")
        .read_text()
        .startswith("`copier update`, on a branch of its own, brings it into")
    )


def test_make_says_what_it_can_do(equipped: Path) -> None:
    lines = execute(equipped, "make").splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"make {target}" for target in ("help", "install", "lint", "test", "fit", "docs")
    ]
    assert all(line.split(": ")[1] for line in lines)
    assert dry_run(equipped, "docs") == ["sphinx-build -W docs build/docs"]


def test_make_fit_trains(equipped: Path, tmp_path: Path) -> None:
    project = shutil.copytree(equipped, tmp_path / "project")
    execute(
        project,
        'make fit ARGS="--name exp1 --trainer.max_epochs 1 --trainer.limit_train_batches 2"',
    )
    assert list(project.glob("logs/exp1/*/checkpoints/best.ckpt"))


@pytest.mark.parametrize(
    ("dataset", "model"), [("digits", "simplenet"), ("csv_table", "mlp"), ("image_folder", "vit")]
)
def test_vs_code_debugs_what_is_there(dataset: str, model: str, render: Render) -> None:
    project = render(tooling=["vscode"], datasets=[dataset], models=[model])
    fit, short, tests = parse(project / ".vscode/launch.json")["configurations"]
    for configuration, one_batch in ((fit, False), (short, True)):
        program = configuration["program"].replace("${workspaceFolder}", str(project))
        assert program == str(project / "src" / "main.py")
        config = resolve(project, configuration["args"])
        assert config["trainer"]["fast_dev_run"] is one_batch
        assert config["data"]["init_args"].get("num_workers", 0) == 0, (
            "breakpoints are in the process that is debugged"
        )
        assert dataset.replace("_", "") in config["data"]["class_path"].lower().replace("_", "")
        assert model in config["model"]["init_args"]["net"]["class_path"].lower()
    assert (tests["module"], tests["args"]) == ("pytest", ["${file}"])


def test_vs_code_formats_with_the_extension_that_it_recommends(equipped: Path) -> None:
    settings = parse(equipped / ".vscode/settings.json")
    recommended = parse(equipped / ".vscode/extensions.json")["recommendations"]
    assert settings["[python]"]["editor.defaultFormatter"] in recommended
    assert settings["[python]"]["editor.formatOnSave"] and settings["python.testing.pytestEnabled"]
    container = parse(equipped / ".devcontainer/devcontainer.json")
    assert container["customizations"]["vscode"]["extensions"] == recommended


@pytest.mark.parametrize(
    ("dataset", "model", "prediction"),
    [
        ("digits", "simplenet", "class"),
        ("digits", "autoencoder", "error"),
        ("blank", "regression", "prediction"),
    ],
)
def test_the_notebook_shows_predictions_of_the_newest_run(
    dataset: str, model: str, prediction: str, render: Render
) -> None:
    project = render(tooling=["notebooks"], datasets=[dataset], models=[model])
    cells = parse(project / "notebooks" / "first_run.ipynb")["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    configs = f"-c configs/data/{dataset}.yaml -c configs/model/{model}.yaml"
    execute(
        project,
        f"python src/main.py fit {configs} --trainer.max_epochs 1 --trainer.limit_train_batches 5",
    )
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (project / "notebooks" / "cells.py").write_text("\n".join(code))
    printed = execute(project, "cd notebooks && python -W error::UserWarning cells.py")
    assert "test/loss" in printed
    assert re.search(r"inputs: \(\d+, 1, 28, 28\)", printed)
    for name in ("targets", prediction):
        assert re.search(rf"^{name}: tensor\(\[ *[\d.]+, ", printed, re.MULTILINE), printed


def test_the_notebook_is_valid(equipped: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbformat.validate(
        nbformat.read(equipped / "notebooks" / "first_run.ipynb", as_version=nbformat.NO_CONVERT)
    )


def test_the_documentation_is_built_without_a_warning(render: Render) -> None:
    for module in ("sphinx", "myst_parser"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    # timm is installed apart from the rest, and Sphinx would have to import it.
    models = [model for model in choices_of("models") if model != "timm"]
    project = render(
        tooling=["docs", "makefile"],
        models=models,
        project_name="Reading Digits",
        package_name="my_project",
    )
    (project / "src" / "my_project" / "models" / "mine.py").write_text(MINE)
    execute(project, "make docs")
    pages = {path.name: path.read_text() for path in (project / "build" / "docs").rglob("*.html")}
    assert "<h1>Reading Digits" in pages["index.html"]
    assert {
        f"my_project.models.{name}.html" for name in ("simplenet", "mlp", "vit")
    } <= pages.keys()
    own = re.sub(r"<[^>]+>", "", pages["my_project.models.mine.html"])
    assert (
        "Return a*b, and more of *rest" in own and "*rest \u2013 Factors" in own and "\\" not in own
    ), "a module of the user's is there too"
    text = re.sub(r"<[^>]+>", "", pages["my_project.modules.classification.html"])
    assert "float32 of shape (N, *input_shape)" in text, "an asterisk stays one"
    assert "num_classes \u2013 Number of classes" in text, "arguments are listed"
