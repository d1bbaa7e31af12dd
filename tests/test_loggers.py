"""The loggers, as the default one, as another, and all at once: what they wrote is read back. No account is needed."""

import csv
import json
import math
import re
import shutil
import signal
import struct
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import DIGITS, fail, run, run_warm, succeed
from helpers.template import Render, git, sweep
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)

LOGGERS = ["wandb", "comet", "mlflow", "tensorboard", "csv"]
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
EPOCH = ("--trainer.limit_train_batches=12", *QUIET)  # logged at step 9, and at step 11, its last
SHORT = ("--trainer.max_epochs=1", *EPOCH)
TESTED = ("test/acc", "test/loss")
NAMES = {"train/loss", "train/acc", "val/loss", "val/acc"}
PACKAGES = {
    "wandb": "wandb",
    "comet": "comet_ml",
    "mlflow": "mlflow",
    "tensorboard": "tensorboard,tensorboardX",
}
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

# Take packages away from a process: PYTHONPATH has a folder with this as sitecustomize.py, and GONE the names.
MISSING = """
import importlib.metadata, os, sys

gone = os.environ["GONE"].split(",")
found = importlib.metadata.version

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def version(name):
    if name.replace("-", "_") in gone:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path.insert(0, Finder())
importlib.metadata.version = version
"""


# Reading back ---------------------------------------------------------------------------------------------------------

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
    model = yaml.safe_load((directory / "config.yaml").read_text())["model"]["init_args"]
    return metrics, dict(flat(model))


def read_tensorboard(directory: Path) -> Logged:
    events = EventAccumulator(str(directory))
    events.Reload()
    metrics = {
        name: [(one.step, one.value) for one in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    return metrics, dict(flat(yaml.safe_load((directory / "hparams.yaml").read_text())))


def wandb_records(path: Path) -> Iterator[Record]:
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
            yield Record.FromString(record)
            record = b""


def read_wandb(directory: Path) -> Logged:
    metrics: Metrics = {}
    parameters: dict[str, str] = {}
    paths = sorted(directory.glob("wandb/offline-run-*/*.wandb"))
    assert paths
    for record in (record for path in paths for record in wandb_records(path)):
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


# Tools ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the developer's own accounts and servers out."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "COMET_API_KEY", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield home


@pytest.fixture(scope="module")
def every(render: Render) -> Path:
    """A project with all loggers. Tests add runs of other names, and change nothing else."""
    return render(loggers=LOGGERS)


@pytest.fixture(scope="module")
def several(every: Path) -> Path:
    """A config with all of them in a list, as their own configs have them, and Lightning's CSVLogger."""
    configs = [
        every / "configs" / "default.yaml",
        *sorted((every / "configs" / "logger").iterdir()),
    ]
    loggers = [yaml.safe_load(config.read_text())["trainer"]["logger"] for config in configs]
    loggers = [
        logger or {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}
        for logger in loggers
    ]
    assert sorted(logger["class_path"].rpartition(".")[2] for logger in loggers) == sorted(
        CLASSES.values()
    )
    path = every / "several.yaml"
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


def check(logger: str, directory: Path, tested: dict[str, float]) -> None:
    """Assert that the logger has recorded all metrics, the tested ones as shown, and what the model was made of."""
    history, parameters = READ[logger](directory)
    metrics = {name: points[-1][1] for name, points in history.items() if points}
    assert metrics.keys() >= {*NAMES, *TESTED}
    for name in TESTED:
        assert math.isclose(metrics[name], tested[name], rel_tol=1e-6), name
    assert parameters["optimizer/class_path"] == "torch.optim.AdamW"
    assert float(parameters["optimizer/init_args/weight_decay"]) == 0.01
    assert parameters["lr_scheduler/class_path"] == "torch.optim.lr_scheduler.OneCycleLR"
    assert float(parameters["lr_scheduler/init_args/max_lr"]) == 0.01


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


# Where they write, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logger", LOGGERS)
def test_as_the_default(render: Render, _accounts: Path, logger: str) -> None:
    project = render(loggers=[logger])
    assert not (project / "configs" / "logger").exists()
    before = files(project)
    directory, tested = fit_and_test(project, "--name=exp1")
    assert directory.parent == project / "logs" / "exp1"
    check(logger, directory, tested)
    check("csv", directory, tested)
    check_files(project, before, directory, [logger])
    assert not [path for path in _accounts.iterdir() if path.name not in (".cache", ".config")]


@pytest.mark.parametrize("logger", ["mlflow", *sweep("comet", "tensorboard", "csv")])
def test_as_another_from_a_folder_of_the_project(every: Path, logger: str) -> None:
    before = files(every)
    options = "-c", f"../configs/logger/{logger}.yaml", f"--trainer.logger.name={logger}"
    directory, tested = fit_and_test(every, *options, cwd=every / "notebooks")
    assert directory.parent == every / "logs" / logger
    check(logger, directory, tested)
    check_files(every, before, directory, [logger])


def test_several_at_once_share_the_directory(every: Path, several: Path) -> None:
    before = files(every)
    directory, tested = fit_and_test(every, "-c", str(several), "--trainer.logger.name=several")
    assert directory.parent == every / "logs" / "several"
    for logger in LOGGERS:
        check(logger, directory, tested)
    check_files(every, before, directory, [*LOGGERS, "CSVLogger"])
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


def test_two_runs_at_once_are_two(every: Path, several: Path, tmp_path: Path) -> None:
    """They are the first ones of the project and of the name, so that both would make MLflow's database."""
    project = shutil.copytree(every, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs"))
    options = *DIGITS, *SHORT, "-c", str(several), "--name=both", "--test_after_fit=true"
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: run(project, "fit", *options), range(2)))
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


def test_a_fast_run_leaves_nothing_behind(every: Path, several: Path) -> None:
    before = files(every)
    succeed(every, "fit", *DIGITS, *QUIET, "-c", str(several), "--trainer.fast_dev_run=true")
    assert files(every) == before


def test_a_model_may_use_the_logger_in_a_fast_run(every: Path, tmp_path: Path) -> None:
    project = shutil.copytree(every, tmp_path / "my-project")
    code = """
from .classification import ClassificationModule


class Drawing(ClassificationModule):
    def on_train_start(self) -> None:
        self.logger.experiment.add_image("image", None)
"""
    (project / "src" / "my_project" / "modules" / "drawing.py").write_text(code)
    options = "--model=my_project.modules.drawing.Drawing", "--trainer.fast_dev_run=true"
    succeed(project, "fit", *DIGITS, *QUIET, *options)


# A run that goes on ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("logger", ["wandb", *sweep("comet", "mlflow", "tensorboard", "csv")])
def test_a_run_goes_on_in_the_loggers_run(every: Path, logger: str) -> None:
    config = "default.yaml" if logger == LOGGERS[0] else f"logger/{logger}.yaml"
    options = (
        "-c",
        f"configs/{config}",
        "--model.lr_scheduler=null",
        f"--name=on-{logger}",
    )  # OneCycleLR has an end
    directory = fit(every, *options, *SHORT)
    assert fit(every, f"--run={directory.name}", "--trainer.max_epochs=2") == directory
    output = succeed(every, "test", f"--run={directory.name}")
    assert (every / shown(output)).resolve() == directory

    assert [path for path in directory.parent.iterdir() if path.name != "mlflow"] == [directory]
    check_parts(logger, directory, ONCE)
    check_parts("csv", directory, ONCE)
    metrics, parameters = READ[logger](directory)
    assert {name: metrics[name][-1][1] for name in TESTED} == pytest.approx(table(output))
    assert {name: len(metrics[name]) for name in TESTED} == dict.fromkeys(TESTED, 1)
    assert parameters["optimizer/class_path"] == "torch.optim.AdamW"
    record = json.loads((directory / "run.json").read_text())
    assert [command["status"] for command in record["commands"]] == ["finished"] * 3
    assert {name: record["metrics"][name] for name in TESTED} == pytest.approx(table(output))
    if logger == "mlflow":
        assert mlflow_runs(every, "on-mlflow").keys() == {directory.name}


@pytest.fixture
def stopping(every: Path, several: Path, tmp_path: Path) -> Path:
    """A project whose two short epochs are stopped in the second one, after step 21, by the signal in STOP."""
    project = shutil.copytree(every, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs"))
    code = """
import os
import signal

from lightning.pytorch import Callback


class Stop(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 22 and "STOP" in os.environ:
            os.kill(os.getpid(), getattr(signal, os.environ["STOP"]))
"""
    (project / "src" / "my_project" / "callbacks" / "stop.py").write_text(code)
    return project


STOP = "--trainer.callbacks+=my_project.callbacks.stop.Stop"
STOPPING = (*DIGITS, *EPOCH, "-c", "several.yaml", "--name=exp1", "--trainer.max_epochs=2", STOP)


def test_a_run_that_was_stopped_goes_on_in_every_logger(stopping: Path) -> None:
    done = run_warm(stopping, "fit", *STOPPING, STOP="SIGTERM")
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    directory = fit(stopping, "--run=last")
    for logger in LOGGERS:
        check_parts(logger, directory, ONCE)


def test_a_run_that_was_killed_goes_on_in_every_logger(stopping: Path) -> None:
    """What had not been written is lost; what was logged since the last checkpoint is logged again, and is the same."""
    done = run_warm(stopping, "fit", *STOPPING, STOP="SIGKILL")
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    directory = fit(stopping, "--run=last")
    check_parts("csv", directory, ONCE)
    for logger in ("mlflow", "tensorboard"):
        check_parts(logger, directory, ONCE | {"train/loss": [9, 19, 19]})
    assert mlflow_runs(stopping, "exp1").keys() == {directory.name}
    folders = list(directory.glob("wandb/offline-run-*"))
    assert [folder.name.endswith(f"-{directory.name}") for folder in folders] == [True, True]
    keys = [
        path.name.partition("-")[0] for path in directory.glob("comet/*/*.zip")
    ]  # the first is empty
    assert keys == [keys[0]] * 2


def test_a_test_of_a_checkpoint_is_recorded_with_its_run(every: Path, several: Path) -> None:
    directory, tested = fit_and_test(every, "-c", str(several), "--name=later")
    best = directory / "checkpoints" / "best.ckpt"
    output = succeed(
        every, "test", *DIGITS, *QUIET, "-c", str(several), f"--ckpt_path={best}"
    )  # without --name
    assert (every / shown(output)).resolve() == directory
    assert table(output) == tested
    for logger in LOGGERS:
        metrics, _ = READ[logger](directory)
        assert {name: metrics[name][-1][1] for name in TESTED} == pytest.approx(tested), logger
        assert {len(metrics[name]) for name in TESTED} == {1 if logger == "csv" else 2}, logger
    assert mlflow_runs(every, "later").keys() == {directory.name}


# Each one's own -------------------------------------------------------------------------------------------------------


def test_mlflow_artifacts_lie_below_the_runs_name(every: Path) -> None:
    before = files(every)
    options = (
        "-c",
        "configs/logger/mlflow.yaml",
        "--trainer.logger.log_model=true",
        "--name=artifacts",
    )
    directory, _ = fit_and_test(every, *options)
    (copy,) = directory.parent.glob("mlflow/*/artifacts/best/best.ckpt")
    assert copy.read_bytes() == (directory / "checkpoints" / "best.ckpt").read_bytes()
    outside = {path for path in files(every) - before if directory.parent not in path.parents}
    assert outside <= {every / "logs" / "mlflow.db", every / "logs" / "mlflow.lock"}


def test_mlflows_artifacts_follow_a_project_that_is_moved(every: Path, tmp_path: Path) -> None:
    """Its database has absolute paths."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(every, old, ignore=shutil.ignore_patterns("logs"))
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


def test_mlflow_keeps_hyperparameters_that_change(every: Path) -> None:
    options = "-c", "configs/logger/mlflow.yaml", "--name=changing", "--model.lr_scheduler=null"
    directory = fit(every, *SHORT, *options)
    output = succeed(
        every,
        "fit",
        f"--run={directory}",
        "--trainer.max_epochs=2",
        "--model.optimizer.weight_decay=0.1",
    )
    assert "MLflow keeps the old hyperparameters: Changing param values is not allowed" in output
    _, parameters = read_mlflow(directory)
    assert parameters["optimizer/init_args/weight_decay"] == "0.01"
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.1
    check_parts("mlflow", directory, ONCE)


def test_lightnings_own_table_lies_in_a_folder(every: Path) -> None:
    before = files(every)
    options = "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"
    directory, tested = fit_and_test(every, *options, "--name=table")
    check_files(every, before, directory, ["CSVLogger"])
    with (directory / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {
        name: float(row[name]) for row in rows for name in TESTED if row[name]
    } == pytest.approx(tested)


def test_comet_does_not_get_the_password_of_a_git_remote(every: Path, tmp_path: Path) -> None:
    project = shutil.copytree(every, tmp_path / "my-project", ignore=shutil.ignore_patterns("logs"))
    git(project, "init", "--quiet")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    git(project, "remote", "add", "origin", "https://ada:s3cr3t@example.org/x.git")
    directory = fit(project, *SHORT, "-c", "configs/logger/comet.yaml", "--name=exp1")
    for path in comet_archives(directory):
        with zipfile.ZipFile(path) as archive:
            assert not [name for name in archive.namelist() if b"s3cr3t" in archive.read(name)]


# Packages that are missing --------------------------------------------------------------------------------------------


@pytest.fixture
def missing(tmp_path: Path) -> str:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "sitecustomize.py").write_text(MISSING)
    return str(tmp_path / "missing")


@pytest.mark.parametrize("logger", ["wandb", *sweep("comet", "mlflow", "tensorboard")])
def test_a_logger_that_is_not_installed_is_named_with_the_command(
    every: Path, missing: str, logger: str
) -> None:
    before = files(every)
    options = [f"--trainer.logger=lightning.pytorch.loggers.{CLASSES[logger]}"]
    options += ["--trainer.logger.save_dir=logs"] * (logger == "tensorboard")  # which requires it
    done = run(every, "fit", *DIGITS, *options, PYTHONPATH=missing, GONE=PACKAGES[logger])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set to")]
    package = PACKAGES[logger].split(",")[0].replace("_", "-")
    assert re.fullmatch(f"error: .*pip install -U '{package}\\b.*", line), line
    assert files(every) == before


@pytest.mark.parametrize("logger", ["comet", *sweep("mlflow")])
def test_a_package_that_the_projects_own_logger_needs_is_named(
    every: Path, missing: str, logger: str
) -> None:
    options = "-c", f"configs/logger/{logger}.yaml"
    done = run(every, "fit", *DIGITS, *options, PYTHONPATH=missing, GONE=PACKAGES[logger])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set to")]
    assert line.startswith("error: ")
    assert re.search(rf"{PACKAGES[logger].replace('_', '.')}.*pip install", line), line


@pytest.mark.parametrize("where", ["import", "load"])
def test_a_package_that_a_data_module_needs_is_named(
    every: Path, tmp_path: Path, where: str
) -> None:
    project = shutil.copytree(every, tmp_path / "my-project")
    before, inside = (
        ("import nowhere\n", "") if where == "import" else ("", "        import nowhere\n")
    )
    code = f"""
{before}
from .digits import DigitsDataModule


class Pictures(DigitsDataModule):
    def load(self, train):
{inside}        return super().load(train)
"""
    (project / "src" / "my_project" / "data_modules" / "pictures.py").write_text(code)
    options = "--data=my_project.data_modules.pictures.Pictures", "--trainer.logger=false"
    line = fail(project, "fit", *DIGITS[2:], *QUIET, *options)
    assert line.endswith("(is it installed? pip install -e .)"), line
    assert "No module named 'nowhere'" in line
    if where == "import":
        assert line.startswith("src/my_project/data_modules/pictures.py, line 2: "), line
        assert "(data is my_project.data_modules.pictures.Pictures)" in line
