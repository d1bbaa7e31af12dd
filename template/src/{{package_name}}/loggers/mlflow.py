"""MLflow, with one MLflow run for each run."""

import os
import sqlite3
from argparse import Namespace
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock
from lightning.pytorch import loggers
from lightning.pytorch.utilities import rank_zero_info
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

NEW_LOCATION = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
NEW_RUN_LOCATIONS = (
    "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?) WHERE experiment_id = ?"
)


class MLFlowLogger(loggers.MLFlowLogger):
    """Lightning's logger, with one database for all runs of a project. A resumed run keeps its MLflow run.

    Args:
        save_dir: The run's directory, `logs/<name>/<run id>`. The experiment and the MLflow run have these names.
        tracking_uri: The server. If None, MLFLOW_TRACKING_URI, or else the file `logs/mlflow.db`.
        artifact_location: Folder for the artifacts of a new experiment. If None, `logs/<name>/mlflow`, or the
            server's choice.
        **kwargs: Further arguments of Lightning's logger.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
        **kwargs: Any,
    ) -> None:
        directory = Path(save_dir).absolute()
        logs = directory.parents[1]
        name = directory.parent.name
        logs.mkdir(parents=True, exist_ok=True)
        server = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        # If runs start together, only one of them may create the database and the experiment.
        with FileLock(logs / "mlflow.lock"):
            if server:
                client = MlflowClient(server)
                experiment = find_or_create(client, name, artifact_location)
            else:
                server = f"sqlite:///{logs}/mlflow.db"
                client = MlflowClient(server)
                experiment = local_experiment(client, logs, name, artifact_location)

        runs = client.search_runs([experiment], f"run_name = '{directory.name}'")
        run_id = None
        if runs:
            run_id = runs[0].info.run_id
        super().__init__(name, directory.name, server, run_id=run_id, **kwargs)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log hyperparameters. MLflow allows no changes, so a resumed run keeps the old values."""
        try:
            super().log_hyperparams(params)
        except MlflowException as error:
            rank_zero_info(f"MLflow keeps the old hyperparameters: {error}")


def find_or_create(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    """Return the id of an experiment. Create the experiment if it does not exist."""
    experiment = client.get_experiment_by_name(name)
    if experiment:
        return str(experiment.experiment_id)
    return str(client.create_experiment(name, artifact_location))


def local_experiment(
    client: MlflowClient, logs: Path, name: str, artifact_location: str | None
) -> str:
    """Return the id of an experiment in the project's own database. Its artifacts are in the project's folder.

    Args:
        client: The client of the database.
        logs: The folder of all runs.
        name: The experiment's name.
        artifact_location: Another folder for its artifacts, if the user chose one.
    """
    if artifact_location:
        return find_or_create(client, name, artifact_location)
    location = str(logs / name / "mlflow")
    identity = find_or_create(client, name, location)
    old = client.get_experiment(identity).artifact_location
    # The project has been moved or copied since, if the artifacts were in another folder of this name.
    if old != location and PurePath(old).name == "mlflow":
        move_artifacts(logs / "mlflow.db", identity, old, location)
    return identity


def move_artifacts(path: Path, experiment: str, old: str, new: str) -> None:
    """Correct the artifact location of an experiment. MLflow keeps absolute paths, and cannot change them.

    Args:
        path: The database.
        experiment: The experiment's id.
        old: Its artifact location in the database.
        new: Its artifact location now.
    """
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(NEW_LOCATION, (new, experiment))
        database.execute(NEW_RUN_LOCATIONS, (old, new, experiment))
