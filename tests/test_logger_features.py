"""What is special to a logger: artifacts, servers, passwords."""

import csv
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.commands import DIGITS, succeed
from helpers.loggers import (
    ONCE,
    SHORT,
    TESTED,
    check_files,
    check_parts,
    comet_archives,
    files,
    fit,
    fit_and_test,
    mlflow_runs,
    read_mlflow,
)
from helpers.template import Render, git
from mlflow import MlflowClient

pytestmark = pytest.mark.usefixtures("logger_accounts")


# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


def test_mlflow_artifacts_lie_below_the_runs_name(all_loggers: Path) -> None:
    before = files(all_loggers)
    options = (
        "-c",
        "configs/logger/mlflow.yaml",
        "--trainer.logger.log_model=true",
        "--name=artifacts",
    )
    directory, _ = fit_and_test(all_loggers, *options)
    (copy,) = directory.parent.glob("mlflow/*/artifacts/best/best.ckpt")
    assert copy.read_bytes() == (directory / "checkpoints" / "best.ckpt").read_bytes()
    outside = {path for path in files(all_loggers) - before if directory.parent not in path.parents}
    assert outside <= {all_loggers / "logs" / "mlflow.db", all_loggers / "logs" / "mlflow.lock"}


def test_mlflows_artifacts_follow_a_project_that_is_moved(
    all_loggers: Path, tmp_path: Path
) -> None:
    """Its database has absolute paths."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(all_loggers, old, ignore=shutil.ignore_patterns("logs"))
    logger = ("-c", "configs/logger/mlflow.yaml", "--trainer.logger.log_model=true")
    directory = fit(old, *SHORT, *logger, "--name=exp1", "--model.lr_scheduler=null")
    old.rename(new)
    here = new / directory.relative_to(old)
    succeed(new, "fit", f"--run={here}", "--trainer.max_epochs=2")
    fit(new, *SHORT, *logger, "--name=exp1")
    assert not old.exists()
    artifacts = new / "logs" / "exp1" / "mlflow"
    assert len(list(artifacts.glob("*/artifacts/best/best.ckpt"))) == 2
    for one in mlflow_runs(new, "exp1").values():
        assert Path(str(one.info.artifact_uri)).is_relative_to(artifacts)


def test_mlflow_goes_to_the_server_that_is_set(render: Render, tmp_path: Path) -> None:
    project = render(loggers=["mlflow"])
    address = f"sqlite:///{tmp_path}/server.db"
    options = "--model.lr_scheduler=null", "--trainer.logger.artifact_location=/elsewhere"
    succeed(project, "fit", *DIGITS, *SHORT, *options, "--name=exp1", MLFLOW_TRACKING_URI=address)
    succeed(project, "fit", "--run=last", "--trainer.max_epochs=2", MLFLOW_TRACKING_URI=address)
    experiment = MlflowClient(address).get_experiment_by_name("exp1")
    assert experiment
    assert experiment.artifact_location == "/elsewhere"
    (found,) = MlflowClient(address).search_runs([experiment.experiment_id])
    assert found.data.metrics["epoch"] == 1
    assert not (project / "logs" / "mlflow.db").exists()


def test_mlflow_keeps_hyperparameters_that_change(all_loggers: Path) -> None:
    options = "-c", "configs/logger/mlflow.yaml", "--name=changing", "--model.lr_scheduler=null"
    directory = fit(all_loggers, *SHORT, *options)
    output = succeed(
        all_loggers,
        "fit",
        f"--run={directory}",
        "--trainer.max_epochs=2",
        "--model.optimizer.weight_decay=0.1",
    )
    assert "MLflow keeps the old hyperparameters: Changing param values is not allowed" in output
    _, parameters = read_mlflow(directory)
    assert parameters["model/init_args/optimizer/init_args/weight_decay"] == "0.01"
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.1
    check_parts("mlflow", directory, ONCE)


def test_lightnings_own_table_lies_in_a_folder(all_loggers: Path) -> None:
    before = files(all_loggers)
    options = "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"
    directory, tested = fit_and_test(all_loggers, *options, "--name=table")
    check_files(all_loggers, before, directory, ["CSVLogger"])
    with (directory / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {
        name: float(row[name]) for row in rows for name in TESTED if row[name]
    } == pytest.approx(tested)


def test_comet_does_not_get_the_password_of_a_git_remote(all_loggers: Path, tmp_path: Path) -> None:
    project = shutil.copytree(
        all_loggers, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs")
    )
    git(project, "init", "--quiet")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    git(project, "remote", "add", "origin", "https://ada:s3cr3t@example.org/x.git")
    directory = fit(project, *SHORT, "-c", "configs/logger/comet.yaml", "--name=exp1")
    for path in comet_archives(directory):
        with zipfile.ZipFile(path) as archive:
            assert not [name for name in archive.namelist() if b"s3cr3t" in archive.read(name)]
