"""The tooling choice `repeat`, and how runs are summed up: seeds, folds, mean, deviation and confidence interval."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml
from helpers.commands import run_warm
from helpers.template import ROOT, Render

SKLEARN = ROOT / ".venv" / "sklearn"
MLP = (
    "-c",
    "configs/data/digits.yaml",
    "-c",
    "configs/model/mlp.yaml",
    "--trainer.enable_progress_bar=false",
)
SHORT = (*MLP, "--trainer.max_epochs=1", "--trainer.enable_model_summary=false")


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    return render(package_name="my_project", models=["mlp"], loggers=["csv"], tooling=["repeat"])


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "my-project")


def tool(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package."""
    return run_warm(project, "-m", *command, PYTHONPATH=str(project / "src"))


def repeat(project: Path, *args: str) -> str:
    done = tool(project, "my_project.repeat", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary(project: Path, *args: str) -> str:
    done = tool(project, "my_project.runs", "summary", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def runs(project: Path, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return config.yaml and run.json of each run of a name, in order."""
    directories = sorted(project.glob(f"logs/{name}/*"))
    return [
        (
            yaml.safe_load((run / "config.yaml").read_text()),
            json.loads((run / "run.json").read_text()),
        )
        for run in directories
    ]


def make(project: Path, name: str, run_id: str, acc: float, seed: int = 1, **options: Any) -> None:
    """Write a finished run with this accuracy in testing, as `fit` leaves it."""
    run = project / "logs" / name / run_id
    run.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "checkpoint": {"monitor": "val/acc", "mode": "max"},
        "data": options,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "run.json").write_text(
        json.dumps({"status": "finished", "metrics": {"test/acc": acc}, "commands": []})
    )
    (run / "metrics.csv").write_text(f"step,epoch,val/acc\n9,0,{acc - 0.1}\n19,1,{acc - 0.2}\n")


def test_seeds_are_trained_one_after_the_other_and_summed_up(project: Path) -> None:
    output = repeat(project, "--seeds", "4..6", "--name", "exp1", *SHORT, "--test_after_fit=true")
    trained = runs(project, "exp1")
    assert [config["seed_everything"] for config, _ in trained] == [4, 5, 6]
    values = [record["metrics"]["test/acc"] for _, record in trained]
    head, row = output.splitlines()[-2:]
    assert head.split()[:3] == ["experiment", "runs", "best.val/acc"] and "test/acc" in head
    assert row.split()[:2] == ["exp1", "3"]
    columns = (re.split(r"\s{2,}", line.strip()) for line in (head, row))
    found = dict(zip(*columns, strict=True))["test/acc"]
    assert found.startswith(f"{mean(values):.3f}"[:4])
    assert float(found.split("±")[1].split()[0]) == pytest.approx(stdev(values), rel=0.06)


def test_folds_are_disjoint_and_cover_the_training_set(project: Path) -> None:
    output = repeat(project, "--folds=3", "--name=folds", *SHORT)
    trained = runs(project, "folds")
    assert [config["data"]["init_args"]["fold"] for config, _ in trained] == ["1/3", "2/3", "3/3"]
    assert output.splitlines()[-1].split()[:2] == ["folds", "3"]


def test_seeds_and_folds_make_every_pair(project: Path) -> None:
    repeat(project, "--seeds=3,7", "--folds=2", *SHORT)
    pairs = [
        (config["seed_everything"], config["data"]["init_args"]["fold"])
        for config, _ in runs(project, "default")
    ]
    assert pairs == [(3, "1/2"), (3, "2/2"), (7, "1/2"), (7, "2/2")]


def test_ctrl_c_ends_it_with_the_run_that_it_is_at(project: Path) -> None:
    command = ["-m", "my_project.repeat", "--seeds=1..3", *MLP, "--trainer.max_epochs=200"]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of processes, as in a terminal
    )
    while not list(project.glob("logs/default/*/checkpoints/last.ckpt")):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    output = "".join(process.communicate(timeout=300))
    assert process.returncode == -signal.SIGINT and "Traceback" not in output, output
    assert "Interrupted: 0 of 3 runs are finished" in output
    ((_, record),) = runs(project, "default")
    assert record["status"] == "interrupted"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((*MLP,), "--seeds or --folds is missing: say what differs between the runs"),
        (("--seeds=a", *MLP), "--seeds is a, but must be such as 1..5 or 3,7"),
        (("--seeds=2..1", *MLP), "--seeds is 2..1, but must be such as 1..5 or 3,7"),
        (
            ("--folds=1", *MLP),
            "fold is 1/1, but must be such as 2/5, which is the second of five parts",
        ),
        (
            ("--seeds=1", *MLP, "--trainer.max_epoch=1"),
            "trainer.max_epoch is not a known key: did you mean",
        ),
    ],
)
def test_a_mistake_is_answered_in_a_line(project: Path, args: tuple[str, ...], line: str) -> None:
    done = tool(project, "my_project.repeat", *args)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (found,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line in found


def test_runs_of_other_configurations_have_rows_of_their_own(project: Path) -> None:
    for seed, acc in ((1, 0.9), (2, 0.8)):
        make(project, "exp1", f"2026-{seed}", acc, seed, batch_size=32)
        make(project, "exp1", f"2027-{seed}", acc - 0.3, seed, batch_size=64)
    make(project, "exp1", "2025-1", 0.1, 1, batch_size=32)  # an older one of the same seed
    make(project, "exp2", "2026-1", 0.5)
    rows = summary(project).splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == [
        "exp1 (data.batch_size=32)",
        "exp1 (data.batch_size=64)",
        "exp2",
    ]
    assert "0.850 ± 0.071 (0.215 to 1.000)" in rows[0], "no accuracy is above 1"
    assert "0.550 ± 0.071 (0.000 to 1.000)" in rows[1], "or below 0"
    assert rows[2].split() == ["exp2", "1", "0.4", "0.5"]


def test_runs_that_differ_in_much_have_short_labels(project: Path) -> None:
    """So that the table can be read. The newest run tells rows apart whose labels are equal."""
    for number in range(3):
        settings = {f"an_argument_with_a_long_name_{i}": number for i in range(20)}
        own: Any = {f"of_class_{number}": "x" * 200}
        make(
            project,
            "exp1",
            f"2026-{number}",
            0.5,
            class_path=f"a.b.Data{number}",
            **settings,
            **own,
        )
    for number in range(2):
        settings = {f"argument_{i}": 1 for i in range(20)} | {"z": number}
        make(
            project,
            "exp2",
            f"2027-{number}",
            0.5,
            **settings,
            **{f"z{i}": number for i in range(9)},
        )
    rows = summary(project).splitlines()[1:]
    assert all(len(row) < 250 for row in rows)
    labels = [row.split("  ")[0] for row in rows]
    start = "exp1 (data=Data0, data.an_argument_with_a_long_name_0=0, "
    assert labels[0].startswith(start) and labels[0].endswith(", and 17 more)")
    assert len(set(labels)) == 5


def test_tables_for_papers(project: Path) -> None:
    for seed, acc in ((1, 0.9), (2, 0.8)):
        make(project, "exp_1", f"2026-{seed}", acc, seed)
    args = ("--name=exp_1", "--metric=test/acc")
    assert summary(project, *args, "--format=markdown").splitlines() == [
        "| experiment | runs | test/acc |",
        "| --- | ---: | ---: |",
        "| exp_1 | 2 | 0.850 ± 0.071 (0.215 to 1.000) |",
    ]
    assert summary(project, *args, "--format=latex").splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"experiment & runs & test/acc \\",
        r"\midrule",
        r"exp\_1 & 2 & 0.850 $\pm$ 0.071 (0.215 to 1.000) \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.skipif(not SKLEARN.exists(), reason="`make test` installs scipy to .venv/sklearn")
def test_the_interval_is_that_of_students_distribution(original: Path) -> None:
    code = """if True:
        from scipy.stats import t
        from my_project.tools.runs.summary import student
        for freedom in range(1, 31):
            assert abs(student(freedom) - t.ppf(0.975, freedom)) < 5.1e-4, freedom
        for freedom in range(31, 201):
            assert 0 < t.ppf(0.975, freedom) / student(freedom) - 1 < 0.045, freedom
    """
    path = os.pathsep.join([str(original / "src"), str(SKLEARN)])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
