"""Helpers of the tests of loggers: reading back what each has written."""

import csv
import json
import math
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from helpers.commands import DIGITS, succeed
from helpers.template import Render

LOGGERS = ["wandb", "comet", "mlflow", "tensorboard", "csv"]


QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


EPOCH = ("--trainer.limit_train_batches=12", *QUIET)  # logged at step 9, and at step 11, its last


SHORT = ("--trainer.max_epochs=1", *EPOCH)


TESTED = ("test/acc", "test/f1", "test/loss")


NAMES = {"train/loss", "train/acc", "val/loss", "val/acc", "val/f1"}


CLASSES = {
    "wandb": "WandbLogger",
    "comet": "CometLogger",
    "mlflow": "MLFlowLogger",
    "tensorboard": "TensorBoardLogger",
    "csv": "CSVLogger",
}


# What every run's directory has, and what each logger adds to it
RUN = [
    "config.yaml",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "metrics.csv",
    "run.json",
    "code.patch",
]


FILES = {
    "wandb": ["wandb"],
    "comet": ["comet/*/*.zip"],
    "mlflow": [],
    "tensorboard": ["events.out.tfevents.*", "hparams.yaml"],
    "csv": [],
    "CSVLogger": ["csv/metrics.csv", "csv/hparams.yaml"],
}


Metrics = dict[
    str, list[tuple[int, float]]
]  # each metric's steps and values, in the order in which they were logged


Logged = tuple[Metrics, dict[str, str]]  # with the hyperparameters by their path


def flat(parameters: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in parameters.items():
        yield from (
            flat(value, f"{path}{key}/")
            if isinstance(value, dict)
            else [(f"{path}{key}", str(value))]
        )


def read_csv(directory: Path) -> Logged:
    """Read what every run has; what was tested is in `run.json`, and the hyperparameters are in `config.yaml`."""
    with (directory / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    metrics = {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        for name in rows[0]
    }
    tested = json.loads((directory / "run.json").read_text())["metrics"]
    metrics |= {name: [(0, tested[name])] for name in TESTED if name in tested}
    return metrics, dict(flat(yaml.safe_load((directory / "config.yaml").read_text())))


def read_tensorboard(directory: Path) -> Logged:
    events = EventAccumulator(str(directory))
    events.Reload()
    metrics = {
        name: [(one.step, one.value) for one in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    return metrics, dict(flat(yaml.safe_load((directory / "hparams.yaml").read_text())))


def leveldb_records(path: Path) -> Iterator[bytes]:
    """Read the log of a run: in blocks of 32 KiB, parts of records, each after checksum, length and kind."""
    data, at, record = path.read_bytes(), 7, b""  # the first bytes say what file it is
    while at < len(data):
        if (rest := 2**15 - at % 2**15) < 7:
            at += rest
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of it, or its last part
            yield record
            record = b""


def read_wandb(directory: Path) -> Logged:
    metrics: Metrics = {}
    parameters: dict[str, str] = {}
    paths = sorted(directory.glob("wandb/offline-run-*/*.wandb"))
    assert paths
    for record in (Record.FromString(data) for path in paths for data in leveldb_records(path)):
        if record.WhichOneof("record_type") == "run":
            assert (record.run.run_id, record.run.display_name) == (
                directory.name,
                directory.parent.name,
            )
        values = {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for name in values:
            metrics.setdefault(name, []).append((values["trainer/global_step"], values[name]))
        for item in [*record.run.config.update, *record.config.update]:
            parameters |= flat({item.key or "/".join(item.nested_key): json.loads(item.value_json)})
    return metrics, parameters


def comet_archives(directory: Path) -> list[Path]:
    """Return a run's archives in the order of their commands; see that `comet upload` would make one experiment."""
    paths = sorted(directory.glob("comet/*/*.zip"))
    assert len({path.name.partition("-")[0] for path in paths}) == 1
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            experiment = json.loads(archive.read("experiment.json"))
        assert experiment["offline_id"] == path.name.partition("-")[0]
        assert re.fullmatch("[0-9a-z]{32,50}", experiment["offline_id"])
        assert experiment["resume_strategy"] == "get_or_create"
    return paths


def read_comet(directory: Path) -> Logged:
    metrics: Metrics = {}
    parameters = {}
    for path in comet_archives(directory):
        with zipfile.ZipFile(path) as archive:
            messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        for payload in (message["payload"] for message in messages if "payload" in message):
            if "metric" in payload:
                metric = payload["metric"]
                point = metric["step"], float(metric["metricValue"])
                if (points := metrics.setdefault(metric["metricName"], [])) and points[-1] == point:
                    continue  # Comet writes some twice
                points.append(point)
            elif item := payload.get("param") or payload.get("params"):
                parameters[item["paramName"].replace("|", "/")] = str(item["paramValue"])
            elif payload.get("key") == "Name":
                assert payload["value"] == f"{directory.parent.name}/{directory.name}"
    return metrics, parameters


def mlflow_runs(project: Path, name: str) -> dict[str | None, Run]:
    """Return the runs of an experiment by their names; see that no two have the same."""
    client = MlflowClient(f"sqlite:///{project}/logs/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found)
    return runs


def read_mlflow(directory: Path) -> Logged:
    project = directory.parents[2]
    run = mlflow_runs(project, directory.parent.name)[directory.name]
    assert run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{project}/logs/mlflow.db")
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        name: [(one.step, one.value) for one in history[name]] for name in history
    }, run.data.params


READ = {
    "wandb": read_wandb,
    "comet": read_comet,
    "mlflow": read_mlflow,
    "tensorboard": read_tensorboard,
    "csv": read_csv,
}


@pytest.fixture(scope="module")
def logger_accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the developer's own accounts and servers out."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "COMET_API_KEY", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield home


@pytest.fixture(scope="module")
def all_loggers(render: Render) -> Path:
    """A project with all loggers. Tests add runs of other names, and change nothing else."""
    return render(loggers=LOGGERS)


@pytest.fixture(scope="module")
def several_loggers(all_loggers: Path) -> Path:
    """A config with all of them in a list, as their own configs have them, and Lightning's CSVLogger."""
    configs = [
        all_loggers / "configs" / "default.yaml",
        *sorted((all_loggers / "configs" / "logger").iterdir()),
    ]
    loggers = [yaml.safe_load(config.read_text())["trainer"]["logger"] for config in configs]
    loggers = [
        logger or {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}
        for logger in loggers
    ]
    assert sorted(logger["class_path"].rpartition(".")[2] for logger in loggers) == sorted(
        CLASSES.values()
    )
    path = all_loggers / "several.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"logger": loggers}}))
    return path


def files(folder: Path) -> set[Path]:
    """Return the files and the empty folders below a folder."""
    return {path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())}


def table(output: str) -> dict[str, float]:
    """Return the metrics from the table that a test ends with."""
    return {name: float(re.findall(rf"{name}\W+([\d.e-]+)", output)[-1]) for name in TESTED}


def shown(output: str) -> str:
    """Return the run's directory from what a command prints; see that nothing in it sounds like a warning."""
    quiet = re.sub(
        r".*(anonymous setting|Failed to log ip).*", "", output
    )  # Lightning's doing, and without a network
    assert not re.search("warn|deprecat|is not empty|not found", quiet, re.I), output
    (directory,) = set(re.findall("^Run directory: (.*)$", output, re.M))
    return str(directory)


def fit(project: Path, *options: str, cwd: Path | None = None) -> Path:
    """Train on the digits, or with `--run`, and return the run's directory."""
    configs = [str(project / part) if part.endswith(".yaml") else part for part in DIGITS]
    start = [] if any(option.startswith("--run=") for option in options) else configs
    return ((cwd or project) / shown(succeed(project, "fit", *start, *options, cwd=cwd))).resolve()


def fit_and_test(
    project: Path, *options: str, cwd: Path | None = None
) -> tuple[Path, dict[str, float]]:
    """Train and test in one command; return the run's directory and the metrics that it shows."""
    configs = [str(project / part) if part.endswith(".yaml") else part for part in DIGITS]
    output = succeed(project, "fit", *configs, *SHORT, "--test_after_fit=true", *options, cwd=cwd)
    return ((cwd or project) / shown(output)).resolve(), table(output)


def check_files(project: Path, before: set[Path], directory: Path, loggers: list[str]) -> None:
    """Assert that the run's directory has what belongs there, and that nothing else is new in the project."""
    found = [
        set(directory.glob(pattern))
        for pattern in [*RUN, *(p for name in loggers for p in FILES[name])]
    ]
    assert all(found), found
    shared = {
        project / "logs" / name for name in ("mlflow.db", "mlflow.lock") if "mlflow" in loggers
    }
    assert shared <= files(project)
    new = {
        path for path in files(project) - before - shared if directory / "wandb" not in path.parents
    }
    assert new == set().union(*found) - {directory / "wandb"}


ONCE = {
    name: [9, 19] if name == "train/loss" else [11, 23] for name in NAMES
}  # the steps of two short epochs


def check_parts(logger: str, directory: Path, expected: dict[str, list[int]]) -> None:
    """Assert that the logger's one run has these steps, with the values that metrics.csv has."""
    metrics, _ = READ[logger](directory)
    plain, _ = read_csv(directory)
    assert {name: [step for step, _ in metrics[name]] for name in NAMES} == expected
    for name in NAMES:
        values = dict(plain[name])
        assert all(
            math.isclose(value, values[step], rel_tol=1e-6) for step, value in metrics[name]
        ), name
