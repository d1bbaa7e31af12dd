"""`--test_after_fit`: the best checkpoint is tested after training."""

from pathlib import Path

import pytest
from helpers.run_files import load
from helpers.trained_project import DIVERGE, SHORT, best, go, metric, only, told


@pytest.mark.parametrize(
    "second",
    [
        "",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor train/loss --trainer.callbacks.mode max",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val/acc --trainer.callbacks.mode min",
    ],
    ids=[
        "the project's checkpoints alone",
        "a second one by another metric",
        "a second one by the same metric",
    ],
)
def test_after_training_the_best_checkpoint_is_tested_and_named(project: Path, second: str) -> None:
    output = go(project, f"fit --name diverged --test_after_fit true {DIVERGE} {second}")
    directory = only(project / "logs" / "diverged")
    assert told(output, "Tested") == str(best(directory).relative_to(project))
    assert load(best(directory))["epoch"] == 0
    tested = go(project, "test --name diverged")
    assert told(tested, "Checkpoint") == str(best(directory).relative_to(project))
    for name in ("test/acc", "test/loss"):
        assert metric(output, name) == pytest.approx(metric(tested, name), abs=1e-6)
    assert metric(output, "test/acc") > 0.8, "which the weights at the end are far from"


@pytest.mark.parametrize("test", [True, False])
def test_without_checkpoints_training_and_testing_work(fitted: Path, test: bool) -> None:
    name = f"none{test}".lower()
    options = f"{SHORT} --name {name} --trainer.enable_checkpointing false --test_after_fit {test}"
    output = go(fitted, f"fit {options}")
    assert not list((fitted / "logs" / name).rglob("*.ckpt"))
    assert ("Tested: the weights at the end" in output) == ("test/acc" in output) == test
