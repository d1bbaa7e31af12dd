"""The benchmarks compute what they say, and what they compare with trains; how fast, `make bench` says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bench import CHANGES, RECIPE, Figure
from helpers.commands import DIGITS, succeed
from helpers.template import ROOT, Render, sweep

BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.parametrize(
    ("target", "ours", "other", "row"),
    [
        (">= 0.9", [9.0, 1.0, 100.0], [10.0, 10.0, 1.0], "| speed | 9 s | 10 s | 0.90 | >= 0.9 |"),
        (">= 0.9", [8.0], [10.0], "| speed | 8 s | 10 s | 0.80 | >= 0.9, missed |"),
        ("<= 1.5", [30.0], [20.0], "| speed | 30 s | 20 s | 1.50 | <= 1.5 |"),
        ("<= 1.5", [32.0], [20.0], "| speed | 32 s | 20 s | 1.60 | <= 1.5, missed |"),
        ("<= 3", [2.5], None, "| speed | 2.5 s |  |  | <= 3 |"),
        ("<= 3", [3.5], None, "| speed | 3.5 s |  |  | <= 3, missed |"),
    ],
)
def test_a_figure_is_a_ratio_of_medians(
    target: str, ours: list[float], other: list[float] | None, row: str
) -> None:
    assert Figure("speed", "s", ours, other, target).row() == row


def test_a_figure_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, "bench.py", "throughput", "speed"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "bench.py: error: speed: choose among throughput, gains, "
    )


@pytest.mark.parametrize("script", ["loop.py", *sweep("per_sample.py")])
def test_what_is_compared_with_learns(render: Render, tmp_path: Path, script: str) -> None:
    if "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR does not name a folder with the official MNIST files")
    project = render(package_name="my_project")
    shutil.copytree(os.environ["MNIST_DIR"], project / "data" / "mnist")
    command = [
        sys.executable,
        str(BENCHMARKS / script),
        "--epochs=1",
        "--batch_size=256",
        f"--out={tmp_path / 'out'}",
    ]
    env = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out").read_text())
    assert len(result["seconds"]) == 1
    assert result["accuracy"] > 0.95


def test_files_that_are_mapped_into_memory_are_trained_on_and_timed(
    render: Render, tmp_path: Path
) -> None:
    project = shutil.copytree(render(package_name="my_project"), tmp_path / "project")
    shutil.copy(BENCHMARKS / "mapped.py", project / "src" / "my_project" / "data_modules")
    shutil.copy(BENCHMARKS / "clock.py", project / "src")
    for part, count in (("train", 500), ("val", 50), ("test", 50)):
        folder = tmp_path / "files" / part
        folder.mkdir(parents=True)
        labels = torch.arange(count, dtype=torch.uint8) % 10
        images = (labels * 25).view(-1, 1).expand(-1, 784)  # each class has its own grey
        (folder / "labels").write_bytes(labels.numpy().tobytes())
        (folder / "images").write_bytes(images.numpy().tobytes())
    data = (
        "--data=my_project.data_modules.mapped.MappedDataModule",
        f"--data.folder={tmp_path / 'files'}",
    )
    options = (
        "--trainer.max_epochs=20",
        "--data.batch_size=20",
        "--trainer.callbacks+=clock.Steps",
    )
    model = ("-c", "configs/model/simplenet.yaml")
    output = succeed(
        project,
        "fit",
        *data,
        *model,
        *options,
        "--test_after_fit=true",
        CLOCK=str(tmp_path / "steps.json"),
    )
    (accuracy,) = re.findall(r"test/acc\W+([\d.]+)", output)
    assert float(accuracy) > 0.8
    values = json.loads((tmp_path / "steps.json").read_text())
    assert values.keys() == {"start", "samples_per_second", "memory"}
    assert min(values.values()) >= 0


@pytest.mark.parametrize("change", CHANGES.values())
def test_the_recipe_for_a_gpu_can_be_changed_so(
    default_project: Path, change: tuple[str, ...]
) -> None:
    recipe, changed = (
        succeed(default_project, "fit", *DIGITS, *RECIPE, *options, "--print_config")
        for options in ((), change)
    )
    assert recipe != changed
