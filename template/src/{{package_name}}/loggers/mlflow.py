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


class MLFlowLogger(loggers.MLFlowLogger):
    """Lightning's, with one database for all runs of a project; a run that goes on keeps its MLflow run.

    Args:
        save_dir: The run's directory, `logs/<name>/<run id>`; its name is the experiment's, its id the MLflow run's.
        tracking_uri: The server; if None, MLFLOW_TRACKING_URI, and without that the file `logs/mlflow.db`.
        artifact_location: Where the experiment's artifacts go, if it is new; if None, to `logs/<name>/mlflow`, or where
            the server puts them.
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
        name, logs = directory.parent.name, directory.parents[1]
        tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        is_local = not tracking_uri
        chosen_location = artifact_location
        if is_local:
            tracking_uri = f"sqlite:///{logs}/mlflow.db"
            artifact_location = artifact_location or str(logs / name / "mlflow")
        logs.mkdir(parents=True, exist_ok=True)
        with FileLock(
            logs / "mlflow.lock"
        ):  # of runs that start at once, one alone makes database and experiment
            client = MlflowClient(tracking_uri)
            experiment = client.get_experiment_by_name(name)
            if experiment:
                identity = experiment.experiment_id
            else:
                identity = client.create_experiment(name, artifact_location)
            if experiment and is_local and not chosen_location:
                follow_moved_folder(logs, name, identity, experiment.artifact_location)
        runs = client.search_runs([identity], f"run_name = '{directory.name}'")
        run_id = runs[0].info.run_id if runs else None
        super().__init__(name, directory.name, tracking_uri, run_id=run_id, **kwargs)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log them; if the run goes on with other ones, MLflow, which lets none change, keeps the old ones."""
        try:
            super().log_hyperparams(params)
        except MlflowException as error:
            rank_zero_info(f"MLflow keeps the old hyperparameters: {error}")


def follow_moved_folder(logs: Path, name: str, experiment: str, old: str) -> None:
    """Correct where an experiment's artifacts are, if the project's folder was moved or copied since.

    MLflow keeps absolute paths in its database, and has no function that changes them.

    Args:
        logs: The folder of all runs, with the database.
        name: The experiment's name.
        experiment: Its id.
        old: Its artifact location in the database.
    """
    new = str(logs / name / "mlflow")
    if old == new or PurePath(old).name != "mlflow":
        return
    with closing(sqlite3.connect(logs / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            (new, experiment),
        )
        database.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?) WHERE experiment_id = ?",
            (old, new, experiment),
        )
