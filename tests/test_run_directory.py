"""What a run leaves in its directory: config, checkpoints, metrics, predictions."""

import csv
import math
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import succeed
from helpers.run_files import load
from helpers.trained_project import QUIET, SHORT, best, fit, go, last, metric, saved, told


def test_a_run_is_one_directory(exp1: Path) -> None:
    names = {str(path.relative_to(exp1)) for path in exp1.rglob("*") if path.is_file()}
    assert {name for name in names if "tfevents" not in name} - {
        "predictions.csv"
    } == {  # which other tests make
        "config.yaml",
        "code.patch",
        "hparams.yaml",
        "metrics.csv",
        "run.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert any("tfevents" in name for name in names)


def test_predictions_are_a_table_of_all_held_out_samples(fitted: Path) -> None:
    path = fitted / told(go(fitted, "predict --name exp1"), "Predictions")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(i) for i in range(360)]
    for row in rows:
        probability = [float(row[f"p{i}"]) for i in range(10)]
        assert math.isclose(sum(probability), 1, abs_tol=1e-4)
        assert probability.index(max(probability)) == int(row["class"])


def test_predictions_agree_with_the_tested_accuracy(fitted: Path) -> None:
    check = """
        from my_project.data_modules.digits import DigitsDataModule
        print(*DigitsDataModule().load(train=False).tensors[1].tolist())
    """
    labels = succeed(fitted, "-c", textwrap.dedent(check), PYTHONPATH="src").split()
    path = fitted / told(go(fitted, "predict --name exp1"), "Predictions")
    with path.open() as file:
        right = [
            row["class"] == label for row, label in zip(csv.DictReader(file), labels, strict=True)
        ]
    assert sum(right) / 360 == pytest.approx(
        metric(go(fitted, "test --name exp1"), "test/acc"), abs=1e-6
    )


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_metrics_are_means_over_samples_however_they_are_batched(fitted: Path, verb: str) -> None:
    small, large = (go(fitted, f"{verb} --name exp1 --data.batch_size {size}") for size in (7, 360))
    for name in ("acc", "loss"):
        assert metric(small, f"/{name}") == pytest.approx(metric(large, f"/{name}"), rel=1e-5)


def test_a_fast_run_leaves_nothing_behind(fitted: Path) -> None:
    before = sorted(fitted.glob("logs/**/*"))
    go(fitted, "fit --trainer.fast_dev_run true --name fast --test_after_fit true")
    assert sorted(fitted.glob("logs/**/*")) == before


@pytest.mark.parametrize(
    "logger",
    ["", "--trainer.logger CSVLogger --trainer.logger.save_dir logs", "--trainer.logger false"],
    ids=["tensorboard", "csv", "none"],
)
def test_the_configuration_beside_the_checkpoints_starts_the_same_run_again(
    fitted: Path, logger: str
) -> None:
    first = fit(
        fitted, f"{SHORT} --name saved {logger} --model.optimizer.lr 0.003 --test_after_fit true"
    )
    config = saved(first)
    assert best(first).exists()
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.003
    assert not config.keys() & {"ckpt_path", "test_after_fit", "git_commit_before_fit"}

    output = succeed(fitted, "fit", "-c", str(first / "config.yaml"))
    assert "Tested:" not in output
    again = fitted / told(output, "Run directory")
    assert again != first and again.parent == first.parent
    assert saved(again) == config
    old, new = load(last(first))["state_dict"], load(last(again))["state_dict"]
    assert all(torch.equal(value, new[key]) for key, value in old.items())


def test_the_saved_configuration_is_all_that_a_test_needs(fitted: Path, exp1: Path) -> None:
    output = succeed(fitted, "test", "-c", str(exp1 / "config.yaml"), *QUIET)
    assert told(output, "Checkpoint") == str(best(exp1).relative_to(fitted))


def test_optimizer_and_scheduler_are_among_the_loggers_hyperparameters(exp1: Path) -> None:
    configuration = yaml.safe_load((exp1 / "hparams.yaml").read_text())
    parameters = configuration["model"]["init_args"]
    assert parameters["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert parameters["optimizer"]["init_args"]["weight_decay"] == 0.01
    assert parameters["optimizer"]["init_args"]["lr"] == 0.01
    assert parameters["lr_scheduler"]["class_path"] == "my_project.utils.schedules.WarmupSchedule"
