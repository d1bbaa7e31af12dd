"""The learning rate: one option sets it, a schedule warms it up and lowers it, and metrics.csv shows it."""

import csv
import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.template import ROOT, Render

QUICK = (
    "--trainer.limit_train_batches=8",
    "--trainer.limit_val_batches=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
SCHEDULER = "--model.lr_scheduler"


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the tests of this file train, with all models."""
    models = ["simplenet", "mlp", "resnet", "vit", "regression", "autoencoder", "blank"]
    rendered = render(datasets=["digits"], models=models, package_name="my_project")
    return shutil.copytree(rendered, tmp_path_factory.mktemp("schedules") / "my-project")


def fit(project: Path, name: str, *options: str) -> str:
    return succeed(project, "fit", *DIGITS, *QUICK, f"--name={name}", *options)


def rows(project: Path, name: str) -> list[dict[str, str]]:
    (path,) = project.glob(f"logs/{name}/*/metrics.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def rates(project: Path, name: str, column: str = "lr") -> list[float]:
    """Return the learning rate of every step of a run."""
    return [float(row[column]) for row in rows(project, name)]


# The schedule ---------------------------------------------------------------------------------------------------------


def warmup_schedule() -> Any:
    path = ROOT / "template" / "src" / "{{package_name}}" / "utils" / "schedules.py"
    spec = importlib.util.spec_from_file_location("schedules", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WarmupSchedule


def optimizer() -> torch.optim.Optimizer:
    groups = [{"params": torch.zeros(1), "lr": rate} for rate in (1.0, 0.1)]
    return torch.optim.SGD(groups)


def steps(schedule: Any, count: int) -> list[float]:
    """Make so many steps, and return the learning rate of the first group in each."""
    used = []
    for _ in range(count):
        used.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return used


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("linear", [0.5, 1, 0.8889, 0.7778, 0.6667, 0.5556, 0.4444, 0.3333, 0.2222, 0.1111]),
        ("cosine", [0.5, 1, 0.9698, 0.8830, 0.75, 0.5868, 0.4132, 0.25, 0.1170, 0.0302]),
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]),
    ],
)
def test_the_rate_rises_to_the_optimizers_and_falls(decay: str, expected: list[float]) -> None:
    for warmup in (0.1, 1):  # a share of all steps, or their number
        schedule = warmup_schedule()(optimizer(), warmup=warmup, decay=decay, total_steps=10)
        assert steps(schedule, 10) == pytest.approx(expected, abs=1e-4)
        first, second = (group["lr"] for group in schedule.optimizer.param_groups)
        assert (first, second) == (0, 0), "at the end"


def test_each_parameter_group_has_its_own_rate_and_a_last_one() -> None:
    schedule = warmup_schedule()(optimizer(), warmup=0, total_steps=4, final=0.5, decay="linear")
    assert schedule.get_last_lr() == [1, 0.1]
    steps(schedule, 2)
    assert schedule.get_last_lr() == [0.75, pytest.approx(0.075)]
    steps(schedule, 7)
    assert schedule.get_last_lr() == [0.5, 0.05], "it stays there after its last step"


def test_its_state_loads_with_weights_only_and_goes_on_alike() -> None:
    one, other = (warmup_schedule()(optimizer(), total_steps=20) for _ in range(2))
    steps(one, 7)
    file = io.BytesIO()
    torch.save([one.state_dict(), one.optimizer.state_dict()], file)
    file.seek(0)
    state, state_of_optimizer = torch.load(file, weights_only=True)
    other.optimizer.load_state_dict(state_of_optimizer)
    other.load_state_dict(state)
    assert other.state_dict() == one.state_dict()
    assert steps(other, 13) == steps(one, 13)


# In a project ---------------------------------------------------------------------------------------------------------


def test_one_option_sets_the_learning_rate_of_every_config(project: Path) -> None:
    configs = sorted((project / "configs" / "model").glob("*.yaml"))
    assert len(configs) == 7
    for config in configs:
        arguments = yaml.safe_load(config.read_text())["model"]["init_args"]
        assert 0 < arguments["optimizer"]["init_args"]["lr"] <= 0.02, config
        schedule = arguments["lr_scheduler"]
        assert schedule["class_path"] == "my_project.utils.schedules.WarmupSchedule", config
        assert schedule["init_args"].keys() == {"warmup", "decay"}, config


def test_the_option_is_the_highest_rate_and_the_schedule_spans_the_training(project: Path) -> None:
    options = ("--model.optimizer.lr=0.003", "--trainer.max_epochs=2")
    output = fit(project, "one", *options)
    assert "has no effect" not in output
    used = rates(project, "one")
    assert len(used) == 16
    assert max(used) == pytest.approx(0.003)
    assert 0 < used[0] < 0.003 and 0 < used[-1] < 0.0001


@pytest.mark.parametrize(
    ("interval", "options", "factors"),
    [
        ("null", ("StepLR", "step_size=1", "gamma=0.5"), [1] * 8 + [0.5] * 8),
        ("step", ("StepLR", "step_size=4", "gamma=0.5"), [1] * 4 + [0.5] * 4 + [0.25] * 4 + [0.125] * 4),
        ("epoch", ("WarmupSchedule", "warmup=0", "decay=linear"), [1] * 8 + [0.5] * 8),
        ("null", ("OneCycleLR", "max_lr=0.01", "pct_start=0.5"), None),
    ],
)  # fmt: skip
def test_a_schedule_steps_after_every_batch_or_epoch(
    project: Path, interval: str, options: tuple[str, ...], factors: list[float] | None
) -> None:
    name, *settings = options
    path = "my_project.utils.schedules." if name == "WarmupSchedule" else ""
    chosen = [f"{SCHEDULER}={path}{name}", *(f"{SCHEDULER}.{setting}" for setting in settings)]
    run = f"{name}-{interval}"
    fit(project, run, f"--model.lr_interval={interval}", *chosen, "--trainer.max_epochs=2")
    if factors is None:
        assert len(set(rates(project, run))) > 8, "by batch"
    else:
        assert rates(project, run) == pytest.approx([0.01 * factor for factor in factors])


def test_an_interval_that_makes_no_sense_is_refused(project: Path) -> None:
    plateau = (
        f"{SCHEDULER}=torch.optim.lr_scheduler.ReduceLROnPlateau",
        "--model.lr_interval=step",
    )
    line = fail(project, "fit", *DIGITS, *QUICK, *plateau)
    assert line.startswith("lr_interval is step, but ReduceLROnPlateau steps after a validation")
    endless = ("--trainer.max_epochs=-1", "--trainer.max_steps=9", "--model.lr_interval=epoch")
    line = fail(project, "fit", *DIGITS, *QUICK, *endless)
    assert line.startswith("WarmupSchedule has no end: set trainer.max_epochs")


def test_a_finished_run_trains_longer_with_the_schedule_stretched(project: Path) -> None:
    fit(project, "short", "--trainer.max_epochs=2")
    line = "Nothing left to do: 2 of 2 epochs. --trainer.max_epochs 4 trains longer"
    assert line in succeed(project, "fit", "--run=short")
    output = succeed(project, "fit", "--run=short", "--trainer.max_epochs=3", *QUICK)
    assert "Schedule: total_steps is 24, and was 16" in output
    fit(project, "long", "--trainer.max_epochs=3")
    assert rates(project, "short")[16:] == rates(project, "long")[16:]
    assert len(rates(project, "short")) == 24


# Logged ---------------------------------------------------------------------------------------------------------------


def test_every_logger_gets_the_rate_of_the_step_and_once_an_epoch(project: Path) -> None:
    """StepLR changes the rate after the epoch. The value belongs to the epoch that has ended."""
    options = (f"{SCHEDULER}=StepLR", f"{SCHEDULER}.step_size=1", "--trainer.max_epochs=2")
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=elsewhere")
    seldom = ("--trainer.log_every_n_steps=5", *logger)
    fit(project, "logged", *options, *seldom)
    expected = {"4": 0.01, "7": 0.01, "9": 0.001, "14": 0.001, "15": 0.001}
    (record,) = project.glob("logs/logged/*/run.json")
    assert "lr" not in json.loads(record.read_text())["metrics"], "it is no metric"
    (copy,) = project.glob("logs/logged/*/*/metrics.csv")
    for path in (copy, *project.glob("logs/logged/*/metrics.csv")):
        found = csv.DictReader(path.read_text().splitlines())
        logged = {row["step"]: float(row["lr"]) for row in found if row.get("lr")}
        assert logged == pytest.approx(expected), path


def test_a_monitor_of_your_own_takes_its_place(project: Path) -> None:
    fit(project, "own", "--trainer.max_epochs=1", "--trainer.callbacks+=LearningRateMonitor")
    assert "lr" not in rows(project, "own")[0]
    assert len(rates(project, "own", "lr-AdamW")) == 8
