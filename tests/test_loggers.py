"""The loggers, as the default one, as another, and all at once: what they wrote is read back. No account is needed."""

import csv
import json
import math
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import DIGITS, Render, fail, run, succeed
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

LOGGERS = ["wandb", "comet", "mlflow", "tensorboard", "csv"]
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=12", *QUIET)
TESTED = ("test/acc", "test/loss")
NAMES = {"train/loss", "train/acc", "val/loss", "val/acc", "val/acc_best"}
PACKAGES = {"wandb": "wandb", "comet": "comet_ml", "mlflow": "mlflow", "tensorboard": "tensorboard,tensorboardX"}
CLASSES = {
    "wandb": "WandbLogger",
    "comet": "CometLogger",
    "mlflow": "MLFlowLogger",
    "tensorboard": "TensorBoardLogger",
    "csv": "CSVLogger",
}
# What each adds to a run's directory
FILES = {
    "wandb": ["wandb"],
    "comet": ["*.zip"],
    "mlflow": [],
    "tensorboard": ["events.out.tfevents.*", "hparams.yaml"],
    "csv": ["metrics.csv", "hparams.yaml"],
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

Logged = tuple[dict[str, float], dict[str, str]]  # each metric's last value, and the hyperparameters by their path


def flat(parameters: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in parameters.items():
        yield from flat(value, f"{path}{key}/") if isinstance(value, dict) else [(f"{path}{key}", str(value))]


def read_hparams(directory: Path) -> dict[str, str]:
    return dict(flat(yaml.safe_load((directory / "hparams.yaml").read_text())))


def read_csv(directory: Path) -> Logged:
    with (directory / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: float(value) for row in rows for key, value in row.items() if value}, read_hparams(directory)


def read_tensorboard(directory: Path) -> Logged:
    events = EventAccumulator(str(directory))
    events.Reload()
    metrics = {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    return metrics, read_hparams(directory)


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
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    metrics: dict[str, float] = {}
    parameters: dict[str, str] = {}
    for record in wandb_records(path):
        for item in record.history.item:
            metrics["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        for item in [*record.run.config.update, *record.config.update]:
            parameters |= flat({item.key or "/".join(item.nested_key): json.loads(item.value_json)})
    return metrics, parameters


def comet_messages(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return type and content of what the archive, the only one, would send."""
    (path,) = directory.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        lines = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    return [(line["type"], line.get("payload", {})) for line in lines]


def read_comet(directory: Path) -> Logged:
    metrics, parameters = {}, {}
    for kind, payload in comet_messages(directory):
        if kind == "metric_msg":
            metrics[payload["metric"]["metricName"]] = float(payload["metric"]["metricValue"])
        elif kind == "parameter_msg":
            item = payload.get("param") or payload["params"]
            parameters[item["paramName"].replace("|", "/")] = str(item["paramValue"])
    return metrics, parameters


def mlflow_runs(project: Path, name: str) -> dict[str | None, Run]:
    """Return the runs of an experiment by their names."""
    client = MlflowClient(f"sqlite:///{project}/logs/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def read_mlflow(directory: Path) -> Logged:
    run = mlflow_runs(directory.parents[2], directory.parent.name)[directory.name]
    assert run.info.status == "FINISHED"
    return run.data.metrics, run.data.params


READ = {
    "wandb": read_wandb,
    "comet": read_comet,
    "mlflow": read_mlflow,
    "tensorboard": read_tensorboard,
    "csv": read_csv,
}


# Tools ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
    """A config with all of them in a list, as their own configs have them."""
    configs = [every / "configs" / "default.yaml", *sorted((every / "configs" / "logger").iterdir())]
    loggers = [yaml.safe_load(config.read_text())["trainer"]["logger"] for config in configs]
    assert sorted(logger["class_path"].rpartition(".")[2] for logger in loggers) == sorted(CLASSES.values())
    path = every / "several.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"logger": loggers}}))
    return path


def files(folder: Path) -> set[Path]:
    """Return the files and the empty folders below a folder."""
    return {path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())}


def table(output: str) -> dict[str, float]:
    """Return the metrics from the table that a test ends with."""
    return {name: float(re.findall(rf"{name}\W+([\d.e-]+)", output)[-1]) for name in TESTED}


def fit_and_test(project: Path, *options: str, cwd: Path | None = None) -> tuple[Path, dict[str, float]]:
    """Train and test in one command; return the run's directory and the metrics that it shows."""
    configs = [str(project / part) if part.endswith(".yaml") else part for part in DIGITS]
    output = succeed(project, "fit", *configs, *SHORT, "--test_after_fit=true", *options, cwd=cwd)
    quiet = re.sub(r".*(anonymous setting|Failed to log ip).*", "", output)  # Lightning's doing, and without a network
    assert not re.search("warn|deprecat|is not empty|not found", quiet, re.I), output
    (shown,) = re.findall("^Run directory: (.*)$", output, re.M)
    return ((cwd or project) / shown).resolve(), table(output)


def check(logger: str, directory: Path, tested: dict[str, float]) -> None:
    """Assert that the logger has recorded all metrics, the tested ones as shown, and what the model was made of."""
    metrics, parameters = READ[logger](directory)
    assert metrics.keys() >= {*NAMES, *TESTED}
    for name in TESTED:
        assert math.isclose(metrics[name], tested[name], rel_tol=1e-6), name
    assert metrics["val/acc"] == metrics["val/acc_best"]
    assert parameters["optimizer/class_path"] == "torch.optim.AdamW"
    assert float(parameters["optimizer/init_args/weight_decay"]) == 0.01
    assert parameters["lr_scheduler/class_path"] == "torch.optim.lr_scheduler.OneCycleLR"
    assert float(parameters["lr_scheduler/init_args/max_lr"]) == 0.01


def check_files(project: Path, before: set[Path], directory: Path, loggers: list[str]) -> None:
    """Assert that the run's directory has what belongs there, and that nothing else is new in the project."""
    patterns = ["config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    found = [set(directory.glob(pattern)) for pattern in [*patterns, *(p for name in loggers for p in FILES[name])]]
    assert all(found), found
    database = {project / "logs" / "mlflow.db"} if "mlflow" in loggers else set()
    assert database <= files(project)
    new = {path for path in files(project) - before - database if directory / "wandb" not in path.parents}
    assert new == set().union(*found) - {directory / "wandb"}


# Where they write, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logger", LOGGERS)
def test_as_the_default(render: Render, _environment: Path, logger: str) -> None:
    project = render(loggers=[logger])
    assert not (project / "configs" / "logger").exists()
    before = files(project)
    directory, tested = fit_and_test(project, "--name=exp1")
    assert directory.parent == project / "logs" / "exp1"
    check(logger, directory, tested)
    check_files(project, before, directory, [logger])
    assert not [path for path in _environment.iterdir() if path.name not in (".cache", ".config")]


@pytest.mark.parametrize("logger", LOGGERS[1:])
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
    check_files(every, before, directory, LOGGERS)
    config = yaml.safe_load((directory / "config.yaml").read_text())["trainer"]["logger"]
    assert sorted(logger["class_path"].rpartition(".")[2] for logger in config) == sorted(CLASSES.values())


def test_none_leaves_config_and_checkpoints(render: Render) -> None:
    project = render(loggers=[])
    before = files(project)
    directory, _ = fit_and_test(project, "--trainer.logger.name=exp1")
    assert directory.parent == project / "logs" / "exp1"
    check_files(project, before, directory, [])


def test_a_later_test_is_recorded_with_the_run_it_belongs_to(every: Path, several: Path) -> None:
    directory, tested = fit_and_test(every, "-c", str(several), "--name=later")
    best = directory / "checkpoints" / "best.ckpt"
    output = succeed(every, "test", *DIGITS, *QUIET, "-c", str(several), f"--ckpt_path={best}")  # without --name
    (folder,) = directory.glob("test-*")
    title = f"{directory.name}/{folder.name}"
    assert table(output) == tested

    for logger in ("wandb", "comet", "tensorboard", "csv"):
        metrics, _ = READ[logger](folder)
        assert {name: metrics[name] for name in TESTED} == pytest.approx(tested)
    runs = mlflow_runs(every, "later")
    assert runs.keys() == {directory.name, title}
    assert {name: runs[title].data.metrics[name] for name in TESTED} == pytest.approx(tested)
    (record,) = folder.glob("wandb/offline-run-*/*.wandb")
    (started,) = [record.run for record in wandb_records(record) if record.WhichOneof("record_type") == "run"]
    assert (started.run_id, started.display_name) == (directory.name, "later")
    names = {payload["value"] for kind, payload in comet_messages(folder) if payload.get("key") == "Name"}
    assert names == {f"later/{title}"}


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


# Each one's own -------------------------------------------------------------------------------------------------------


def test_mlflow_artifacts_lie_below_the_runs_name(every: Path) -> None:
    before = files(every)
    options = "-c", "configs/logger/mlflow.yaml", "--trainer.logger.log_model=true", "--name=artifacts"
    directory, _ = fit_and_test(every, *options)
    (copy,) = directory.parent.glob("mlflow/*/artifacts/best/best.ckpt")
    assert copy.read_bytes() == (directory / "checkpoints" / "best.ckpt").read_bytes()
    outside = {path for path in files(every) - before if directory.parent not in path.parents}
    assert outside <= {every / "logs" / "mlflow.db"}


def test_mlflow_goes_to_the_server_that_is_set(render: Render, tmp_path: Path) -> None:
    project = render(loggers=["mlflow"])
    address = f"sqlite:///{tmp_path}/server.db"
    succeed(project, "fit", *DIGITS, *SHORT, "--name=exp1", MLFLOW_TRACKING_URI=address)
    assert MlflowClient(address).get_experiment_by_name("exp1")
    assert not (project / "logs" / "mlflow.db").exists()


def test_an_mlflow_run_goes_on_under_its_id(every: Path) -> None:
    options = "-c", "configs/logger/mlflow.yaml", "--name=on", "--model.lr_scheduler=null"
    directory, _ = fit_and_test(every, *options)
    run = mlflow_runs(every, "on")[directory.name]
    resume = f"--trainer.logger.run_id={run.info.run_id}", f"--trainer.logger.run_name={directory.name}"
    again, tested = fit_and_test(every, *options, *resume, "--ckpt_path=last", "--trainer.max_epochs=2")
    assert again == directory
    (found,) = mlflow_runs(every, "on").values()
    assert found.info.run_id == run.info.run_id
    assert {name: found.data.metrics[name] for name in TESTED} == pytest.approx(tested)
    assert found.data.metrics["epoch"] == 2


def test_a_comet_experiment_goes_on_under_its_key(every: Path) -> None:
    options = "-c", "configs/logger/comet.yaml", "--name=further", "--model.lr_scheduler=null"
    directory, _ = fit_and_test(every, *options)
    (archive,) = directory.glob("*.zip")
    key = archive.name.partition("-")[0]
    resume = f"--trainer.logger.experiment_key={key}", "--trainer.logger.mode=get", "--ckpt_path=last"
    again, tested = fit_and_test(every, *options, *resume, "--trainer.max_epochs=2")
    (archive,) = again.glob("*.zip")
    assert archive.name.partition("-")[0] == key
    with zipfile.ZipFile(archive) as contents:
        assert json.loads(contents.read("experiment.json"))["resume_strategy"] == "get"
    metrics, _ = read_comet(again)
    assert {name: metrics[name] for name in TESTED} == pytest.approx(tested)


# Packages that are missing --------------------------------------------------------------------------------------------


@pytest.fixture
def missing(tmp_path: Path) -> str:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "sitecustomize.py").write_text(MISSING)
    return str(tmp_path / "missing")


@pytest.mark.parametrize("logger", PACKAGES)
def test_a_logger_that_is_not_installed_is_named_with_the_command(every: Path, missing: str, logger: str) -> None:
    before = files(every)
    options = [f"--trainer.logger=lightning.pytorch.loggers.{CLASSES[logger]}"]
    options += ["--trainer.logger.save_dir=logs"] * (logger == "tensorboard")  # which requires it
    done = run(every, "fit", *DIGITS, *options, PYTHONPATH=missing, GONE=PACKAGES[logger])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set to")]
    package = PACKAGES[logger].split(",")[0].replace("_", "-")
    assert re.fullmatch(f"error: .*pip install -U '{package}\\b.*", line), line
    assert files(every) == before


@pytest.mark.parametrize("where", ["import", "load"])
def test_a_package_that_a_data_module_needs_is_named(every: Path, tmp_path: Path, where: str) -> None:
    project = shutil.copytree(every, tmp_path / "my-project")
    before, inside = ("import nowhere\n", "") if where == "import" else ("", "        import nowhere\n")
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
    assert line.endswith("No module named 'nowhere' (is it installed? pip install -e .)"), line
    if where == "import":
        assert line.startswith("data is my_project.data_modules.pictures.Pictures: "), line
