"""Where each logger writes, and what."""

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from helpers.commands import DIGITS, run_warm, succeed
from helpers.loggers import (
    CLASSES,
    LOGGERS,
    NAMES,
    QUIET,
    READ,
    SHORT,
    TESTED,
    check_files,
    comet_archives,
    files,
    fit_and_test,
    mlflow_runs,
    shown,
    table,
)
from helpers.template import Render, sweep

pytestmark = pytest.mark.usefixtures("logger_accounts")


# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


def check(logger: str, directory: Path, tested: dict[str, float]) -> None:
    """Assert that the logger has recorded all metrics, the tested ones as shown, and the whole configuration."""
    history, parameters = READ[logger](directory)
    metrics = {name: points[-1][1] for name, points in history.items() if points}
    assert metrics.keys() >= {*NAMES, *TESTED}
    for name in TESTED:
        assert math.isclose(metrics[name], tested[name], rel_tol=1e-6), name
    assert parameters["seed_everything"] == "42"
    assert parameters["trainer/max_epochs"] == "1"
    assert parameters["data/init_args/batch_size"] == "32"
    model = "model/init_args"
    assert parameters[f"{model}/optimizer/class_path"] == "torch.optim.AdamW"
    assert float(parameters[f"{model}/optimizer/init_args/weight_decay"]) == 0.01
    assert parameters[f"{model}/lr_scheduler/class_path"] == (
        "my_project.utils.schedules.WarmupSchedule"
    )
    assert float(parameters[f"{model}/optimizer/init_args/lr"]) == 0.01
    assert not any(name.startswith("optimizer/") for name in parameters), "they are there once"


@pytest.mark.parametrize("logger", LOGGERS)
def test_as_the_default(render: Render, logger_accounts: Path, logger: str) -> None:
    project = render(loggers=[logger])
    assert not (project / "configs" / "logger").exists()
    before = files(project)
    directory, tested = fit_and_test(project, "--name=exp1")
    assert directory.parent == project / "logs" / "exp1"
    check(logger, directory, tested)
    check("csv", directory, tested)
    check_files(project, before, directory, [logger])
    assert not [
        path for path in logger_accounts.iterdir() if path.name not in (".cache", ".config")
    ]


@pytest.mark.parametrize("logger", ["mlflow", *sweep("comet", "tensorboard", "csv")])
def test_as_another_from_a_folder_of_the_project(all_loggers: Path, logger: str) -> None:
    before = files(all_loggers)
    options = "-c", f"../configs/logger/{logger}.yaml", f"--trainer.logger.name={logger}"
    directory, tested = fit_and_test(all_loggers, *options, cwd=all_loggers / "notebooks")
    assert directory.parent == all_loggers / "logs" / logger
    check(logger, directory, tested)
    check_files(all_loggers, before, directory, [logger])


def test_several_at_once_share_the_directory(all_loggers: Path, several_loggers: Path) -> None:
    before = files(all_loggers)
    directory, tested = fit_and_test(
        all_loggers, "-c", str(several_loggers), "--trainer.logger.name=several"
    )
    assert directory.parent == all_loggers / "logs" / "several"
    for logger in LOGGERS:
        check(logger, directory, tested)
    check_files(all_loggers, before, directory, [*LOGGERS, "CSVLogger"])
    config = yaml.safe_load((directory / "config.yaml").read_text())["trainer"]["logger"]
    assert sorted(logger["class_path"].rpartition(".")[2] for logger in config) == sorted(
        CLASSES.values()
    )


def test_none_leaves_what_every_run_has(render: Render) -> None:
    project = render(loggers=[])
    before = files(project)
    directory, tested = fit_and_test(project, "--trainer.logger.name=exp1")
    assert directory.parent == project / "logs" / "exp1"
    check("csv", directory, tested)
    check_files(project, before, directory, [])


def test_two_runs_at_once_are_two(all_loggers: Path, several_loggers: Path, tmp_path: Path) -> None:
    """They are the first ones of the project and of the name, so that both would make MLflow's database."""
    project = shutil.copytree(
        all_loggers, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs")
    )
    options = *DIGITS, *SHORT, "-c", str(several_loggers), "--name=both", "--test_after_fit=true"
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: run_warm(project, "fit", *options), range(2)))
    outputs = [done.stdout + done.stderr for done in both]
    assert [done.returncode for done in both] == [0, 0], outputs
    directories = {project / shown(output): table(output) for output in outputs}
    assert directories.keys() == {
        path for path in (project / "logs" / "both").iterdir() if path.name[0] == "2"
    }
    assert len(directories) == 2
    for directory in directories:
        for logger in LOGGERS:
            check(logger, directory, directories[directory])
    keys = {
        path.name.partition("-")[0]
        for directory in directories
        for path in comet_archives(directory)
    }
    assert len(keys) == 2
    assert mlflow_runs(project, "both").keys() == {directory.name for directory in directories}


def test_a_fast_run_leaves_nothing_behind(all_loggers: Path, several_loggers: Path) -> None:
    before = files(all_loggers)
    succeed(
        all_loggers,
        "fit",
        *DIGITS,
        *QUIET,
        "-c",
        str(several_loggers),
        "--trainer.fast_dev_run=true",
    )
    assert files(all_loggers) == before


def test_a_model_may_use_the_logger_in_a_fast_run(all_loggers: Path, tmp_path: Path) -> None:
    project = shutil.copytree(all_loggers, tmp_path / "my-project")
    code = """
from .classification import ClassificationModule


class Drawing(ClassificationModule):
    def on_train_start(self) -> None:
        self.logger.experiment.add_image("image", None)
"""
    (project / "src" / "my_project" / "modules" / "drawing.py").write_text(code)
    options = "--model=my_project.modules.drawing.Drawing", "--trainer.fast_dev_run=true"
    succeed(project, "fit", *DIGITS, *QUIET, *options)
