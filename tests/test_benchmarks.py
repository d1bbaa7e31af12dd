"""The benchmarks compute what they say, and what they compare with trains; how fast, `make bench` says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import Figure
from conftest import ROOT, Render

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
def test_a_figure_is_a_ratio_of_medians(target: str, ours: list[float], other: list[float] | None, row: str) -> None:
    assert Figure("speed", "s", ours, other, target).row() == row


def test_a_figure_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, "bench.py", "throughput", "speed"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bench.py: error: speed: choose among throughput, time_to_99, ")


@pytest.mark.parametrize("script", ["loop.py", "per_sample.py"])
def test_what_is_compared_with_learns(render: Render, tmp_path: Path, script: str) -> None:
    if "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR does not name a folder with the official MNIST files")
    project = render(package_name="my_project")
    shutil.copytree(os.environ["MNIST_DIR"], project / "data" / "mnist")
    command = [sys.executable, str(BENCHMARKS / script), "--epochs=1", "--batch_size=256", f"--out={tmp_path / 'out'}"]
    env = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out").read_text())
    assert len(result["seconds"]) == 1
    assert result["accuracy"] > 0.95
