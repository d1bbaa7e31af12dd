"""The tooling choice `paper`: the citation file, the table of results with its configs, and the model card."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from helpers.commands import fail, succeed
from helpers.server import Server
from helpers.template import Render, git

BASELINE = (
    "-c",
    "configs/experiment/baseline.yaml",
    "--name=baseline",
    "--trainer.enable_progress_bar=false",
)
CARD = ("-m", "my_project.model_card", "--run=baseline")


@pytest.fixture(scope="module")
def trained(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a repository of its own, with the three runs of its table of results."""
    rendered = render(
        package_name="my_project", datasets=["digits"], loggers=["csv"], tooling=["paper"]
    )
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("paper") / "my-project")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Start")
    for seed in (1, 2, 3):
        succeed(project, "fit", *BASELINE, f"--seed_everything={seed}", "--test_after_fit=true")
    return project


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "my-project")


def records(project: Path) -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text()) for path in sorted(project.glob("logs/baseline/*/run.json"))
    ]


def own_tests(warm: Server, project: Path) -> str:
    """Return what the project's tests of its results print."""
    return warm.run(
        project,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/engine/test_results.py",
        "-rs",
    ).stdout


def test_the_readme_says_what_the_config_reaches(trained: Path) -> None:
    reached = mean(record["metrics"]["test/acc"] for record in records(trained))
    (value,) = re.findall(
        r"baseline.yaml` \| test/acc \| (\S+) \| 1, 2, 3 \|", (trained / "README.md").read_text()
    )
    assert reached == pytest.approx(float(value), abs=0.01)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "image_folder", "blank"])
def test_the_config_is_those_of_data_and_model_in_one(render: Render, dataset: str) -> None:
    project = render(datasets=[dataset], models=["resnet"], tooling=["paper"])
    baseline, data, model = (
        yaml.safe_load((project / "configs" / name).read_text())
        for name in ("experiment/baseline.yaml", f"data/{dataset}.yaml", "model/resnet.yaml")
    )
    trainer = data.get("trainer") or model.get("trainer") or {"max_epochs": 5}
    assert baseline == {"seed_everything": 1, **data, **model, "trainer": trainer}
    assert "| not run yet | none |" in (project / "README.md").read_text()


def test_the_projects_tests_hold_the_table_against_runs_and_configs(
    warm: Server, project: Path
) -> None:
    assert "2 passed" in own_tests(warm, project)
    readme = project / "README.md"
    text = readme.read_text()
    readme.write_text(re.sub(r"(test/acc \|) \S+", r"\1 0.9", text))
    assert "1 failed, 1 passed" in own_tests(warm, project)
    readme.write_text(text)
    shutil.copy2(
        project / "configs/experiment/baseline.yaml", project / "configs/experiment/other.yaml"
    )
    assert "test_every_experiment_is_in_the_table" in own_tests(warm, project)
    (project / "configs/experiment/other.yaml").write_text("# Written by a search: trial 3\n")
    shutil.rmtree(project / "logs" / "baseline")
    assert "1 passed, 1 skipped" in own_tests(warm, project)


def test_a_card_says_what_the_run_has_recorded(warm: Server, project: Path) -> None:
    done = warm.run(project, *CARD, cwd=project / "src")
    assert (done.returncode, done.stdout) == (0, "Model card: ../MODEL_CARD.md\n"), done.stderr
    card, newest = (project / "MODEL_CARD.md").read_text(), records(project)[-1]
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "license": "mit",
        "tags": ["pytorch", "lightning"],
    }
    assert f"| test/acc | {newest['metrics']['test/acc']:.4g} |" in card
    checkpoint = project / "logs" / "baseline" / newest["id"] / "checkpoints" / "best.ckpt"
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in card
    assert git(project, "rev-parse", "HEAD").strip() in card and "--seed_everything=3" in card
    (code,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    shutil.copy2(checkpoint, project / "src")
    succeed(project, "-c", code, cwd=project / "src")

    (project / "MODEL_CARD.md").write_text("mine")
    done = warm.run(project, *CARD, cwd=project / "src")
    assert (
        done.stderr.startswith("error: ../MODEL_CARD.md is there already") and done.returncode == 1
    )
    assert (project / "MODEL_CARD.md").read_text() == "mine"


def test_a_run_that_was_not_tested_has_no_card(warm: Server, project: Path) -> None:
    for path in project.glob("logs/baseline/*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": {"val/acc": 1.0}}))
    done = warm.run(project, *CARD, cwd=project / "src")
    assert done.returncode == 1 and re.fullmatch(
        r"error: \S+ was not tested: .* test --run \S+\n", done.stderr
    )
    assert not (project / "MODEL_CARD.md").exists()


def test_a_run_that_goes_on_has_to_be_tested_again(warm: Server, project: Path) -> None:
    fail(project, "fit", "--run=baseline", "--trainer.max_epochs=6")
    assert "test/acc" in records(project)[-1]["metrics"], "nothing has changed"
    succeed(
        project, "fit", "--run=baseline", "--trainer.max_epochs=21", "--model.lr_scheduler=null"
    )
    assert (
        "test/acc" not in records(project)[-1]["metrics"]
        and "val/acc" in records(project)[-1]["metrics"]
    )
    assert "was not tested" in warm.run(project, *CARD, cwd=project / "src").stderr


def test_a_run_that_was_killed_and_one_without_a_finite_result_have_a_card(
    warm: Server, project: Path
) -> None:
    path = sorted(project.glob("logs/baseline/*/run.json"))[-1]
    record = json.loads(path.read_text())
    killed = {"command": "fit", "start": "2026-11-23T18:00:00+00:00", "end": None}
    later = {
        "command": "-c x.yaml fit",
        "start": "2026-11-23T20:00:00+00:00",
        "end": "2026-11-23T20:01:30+00:00",
    }
    tested = {
        "command": "test --name fit",
        "start": "2026-11-23T20:00:00+00:00",
        "end": "2026-11-23T23:00:00+00:00",
    }
    record |= {"start": killed["start"], "end": None, "commands": [killed, later, tested]}
    path.write_text(json.dumps(record | {"metrics": {"test/loss": None, "test/acc": 0.5}}))
    config = path.with_name("config.yaml")
    config.write_text(re.sub("(?m)^seed_everything: .*", "seed_everything: 0", config.read_text()))
    done = warm.run(project, *CARD, cwd=project / "src")
    assert done.returncode == 0, done.stderr
    card = (project / "MODEL_CARD.md").read_text()
    assert "| Seed | 0 |" in card
    assert "| test/loss | not finite |" in card and "| Trained | 2026-11-23, in 0:01:30 h |" in card


@pytest.mark.parametrize("licence", ["MIT", "GPL-3.0-or-later", "Unlicense", "Proprietary"])
def test_the_citation_file_is_a_valid_one(render: Render, licence: str) -> None:
    texts = {
        "user_name": 'Ада "L" & co: #1',
        "project_description": "- a: 'b' \\ {c}",
        "user_email": "a@example.org",
    }
    project = render(tooling=["paper"], license=licence, **(texts if licence != "MIT" else {}))
    command = [
        "check-jsonschema",
        "--builtin-schema",
        "vendor.citation-file-format",
        "CITATION.cff",
    ]
    done = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]], cwd=project, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    citation = yaml.safe_load((project / "CITATION.cff").read_text())
    if licence != "MIT":
        assert citation["authors"] == [{"name": texts["user_name"], "email": "a@example.org"}]
        assert citation["abstract"] == texts["project_description"]
