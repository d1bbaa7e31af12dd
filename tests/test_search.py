"""The tooling choices `optuna` and `sweep`: what workers of a study do, and what an agent of a sweep would run."""

import csv
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from helpers.commands import fail, succeed
from helpers.template import Render
from optuna.trial import TrialState

MLP = (
    "-c",
    "configs/data/digits.yaml",
    "-c",
    "configs/model/mlp.yaml",
    "--trainer.enable_progress_bar=false",
)
SEARCH: dict[str, Any] = {
    "metric": "val/acc",
    "trials": 3,
    "space": {"model.lr_scheduler.max_lr": {"low": 0.001, "high": 0.01, "log": True}},
    "pruner": {"class_path": "optuna.pruners.NopPruner"},
    "heartbeat": 1,
}
# One learning rate learns, the other one does not: it is below 0.5 at the third epoch
GRID = {"model.lr_scheduler.max_lr": [0.01, 1e-9], "data.batch_size": [64]}
TWO_KINDS: dict[str, Any] = {
    **SEARCH,
    "trials": 2,
    "space": GRID,
    "sampler": {
        "class_path": "optuna.samplers.GridSampler",
        "init_args": {"search_space": deepcopy(GRID), "seed": 0},
    },
    "pruner": {
        "class_path": "optuna.pruners.ThresholdPruner",
        "init_args": {"lower": 0.5, "n_warmup_steps": 2},
    },
}
POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    return render(
        package_name="my_project", models=["mlp"], loggers=["csv"], tooling=["optuna", "sweep"]
    )


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "my-project")


def write(project: Path, study: str = "lr", **search: Any) -> None:
    (project / "configs" / "search" / f"{study}.yaml").write_text(
        yaml.safe_dump({**SEARCH, **search})
    )


def start(project: Path, *args: str, study: str = "lr") -> subprocess.Popen[str]:
    """Start a worker, in a group of processes of its own."""
    command = [sys.executable, "-m", "my_project.search", f"configs/search/{study}.yaml", *args]
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=project, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def search(project: Path, *args: str, study: str = "lr") -> str:
    """Run a worker, see it succeed, and return what it prints."""
    return succeed(project, *worker(project, *MLP, *args, study=study), PYTHONPATH=source(project))


def worker(project: Path, *args: str, study: str) -> list[str]:
    return ["-m", "my_project.search", f"configs/search/{study}.yaml", *args]


def source(project: Path) -> str:
    return str(project / "src")


def search_alone(project: Path, *args: str) -> str:
    """Run a worker that starts anew, see it succeed without a trace of it left, and return what it prints."""
    worker = start(project, *MLP, *args)
    output = "".join(worker.communicate(timeout=300))
    assert worker.returncode == 0, output
    wait_for(lambda: not alive(worker.pid))
    return output


def alive(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def refused(project: Path, *args: str, study: str = "lr") -> str:
    """Run a worker, see it fail, and return the one line that says why."""
    return fail(project, *worker(project, *args, study=study), PYTHONPATH=source(project))


def wait_for(what: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def trials(
    project: Path, study: str = "lr", storage: str | None = None
) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(
        study_name=study, storage=storage or f"sqlite:///{project}/logs/search.db"
    ).trials


def runs(project: Path, name: str = "lr") -> list[dict[str, Any]]:
    """Return what run.json says of each run of a name, in order."""
    return [
        json.loads(path.read_text()) for path in sorted(project.glob(f"logs/{name}/*/run.json"))
    ]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[str | None]:  # noqa: PLR0915
    """None, for the file that workers share by default, and the URL of a PostgreSQL server started for the test."""
    if request.param == "sqlite":
        yield None
        return
    if not POSTGRESQL:
        pytest.skip(
            "needs a PostgreSQL server (Debian has it as postgresql), which is not installed"
        )
    user = pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp())  # which the server's user can reach, unlike the tests'
    prefix: list[str] = []
    if os.getuid() == 0:  # as whom it refuses to run
        user = "postgres"
        shutil.chown(folder, user)
        prefix = ["runuser", "-u", user, "--"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def server_command(*command: str) -> None:
        path = str(POSTGRESQL[0] / command[0])
        subprocess.run(
            [*prefix, path, *command[1:]], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )

    data, options = str(folder / "data"), f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    try:
        server_command("initdb", "--auth=trust", "--no-sync", data)
        server_command(
            "pg_ctl",
            "--pgdata",
            data,
            "--options",
            options,
            "--log",
            str(folder / "log"),
            "--wait",
            "start",
        )
        yield f"postgresql+psycopg://{user}@127.0.0.1:{port}/postgres"
        server_command("pg_ctl", "--pgdata", data, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_workers_share_a_study_and_take_up_the_trial_of_one_that_is_killed(
    project: Path, storage: str | None
) -> None:
    write(project, trials=3)
    shared = (f"--storage={storage}",) if storage else ()
    command = (*MLP, "--trainer.max_epochs=40", *shared)
    killed = start(project, *command)
    wait_for(lambda: list(project.glob("logs/lr/*/checkpoints/last.ckpt")))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    wait_for(lambda: not alive(killed.pid))  # until its trial has ended too
    (run,) = runs(project)
    assert run["status"] == "interrupted"
    others = [start(project, *command) for _ in range(2)]
    for worker in others:
        output = "".join(worker.communicate(timeout=300))
        assert worker.returncode == 0, output
    there = trials(project, storage=storage)
    assert sorted(trial.state.name for trial in there) == [*["COMPLETE"] * 3, "FAIL"]
    assert there[0].state == TrialState.FAIL
    (again,) = [trial for trial in there[1:] if trial.params == there[0].params]
    assert again.user_attrs["run"] == f"logs/lr/{run['id']}"
    ended = runs(project)
    assert len(ended) == 3 and {run["status"] for run in ended} == {"finished"}
    assert sorted(run["trial"]["number"] for run in ended) == sorted(
        trial.number for trial in there[1:]
    )
    assert [command["status"] for command in ended[0]["commands"]] == ["interrupted", "finished"]
    rows = (project / "logs" / "lr" / run["id"] / "metrics.csv").read_text().splitlines()
    values = [float(row.split(",")[rows[0].split(",").index("val/acc")] or 0) for row in rows[1:]]
    assert again.value == max(values), "what it had reached before counts too"


def test_a_search_that_is_stopped_goes_on(project: Path) -> None:
    write(project, trials=1)
    command = (*MLP, "--trainer.max_epochs=60")
    worker = start(project, *command)
    wait_for(lambda: list(project.glob("logs/lr/*/checkpoints/last.ckpt")))
    os.killpg(worker.pid, signal.SIGINT)  # as a terminal does it
    output = "".join(worker.communicate(timeout=60))
    assert worker.returncode == 130 and "Traceback" not in output, output
    assert search(project, *command[len(MLP) :]).count("Trial 1: ") == 1
    (run,) = runs(project)
    assert [command["status"] for command in run["commands"]] == ["interrupted", "finished"]
    assert len(trials(project)) == 2
    assert "Best of 1: " in search(project), "there is nothing left to do"
    assert len(runs(project)) == 1


def test_bad_trials_stop_early_and_the_best_becomes_a_config(project: Path) -> None:
    write(project, **TWO_KINDS)
    output = search(
        project, "--trainer.max_epochs=60"
    )  # long enough for a busy machine to stop the bad one
    good, bad = sorted(runs(project), key=lambda run: run["trial"]["pruned"])
    assert not good["trial"]["pruned"] and bad["trial"]["pruned"]
    epochs = [
        len((project / f"logs/lr/{run['id']}/metrics.csv").read_text().splitlines())
        for run in (good, bad)
    ]
    assert epochs[1] < epochs[0] / 2
    assert bad["status"] == "interrupted"
    states = {trial.state for trial in trials(project)}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    (value,) = re.findall(
        r"Best of 2: trial \d, val/acc ([\d.]+), fit -c configs/experiment/lr.yaml", output
    )
    assert (
        (project / "configs/experiment/lr.yaml")
        .read_text()
        .startswith(f"# Written by a search: trial {good['trial']['number']}")
    )
    succeed(project, "fit", "-c", "configs/experiment/lr.yaml", "--name=again")
    (again,) = runs(project, "again")
    metrics = (project / "logs" / "again" / again["id"] / "metrics.csv").read_text().splitlines()
    accuracies = [float(row["val/acc"]) for row in csv.DictReader(metrics) if row["val/acc"]]
    assert f"{max(accuracies):.6g}" == value


def test_a_key_has_a_number_or_one_of_its_choices(project: Path) -> None:
    space = {
        "model.lr_scheduler": ["null"],
        "model.net.hidden_sizes": [[16, 8]],
        "model.optimizer": ["torch.optim.SGD"],
        "model.optimizer.lr": {"low": 0.1, "high": 0.5, "step": 0.4},
        "data.batch_size": {"low": 20, "high": 21},
        "trainer.gradient_clip_val": [None],
        "model.compile": [False],
    }
    write(project, space=space, trials=1)
    search(project, "--trainer.max_epochs=1", "--trainer.val_check_interval=0.25")
    (run,) = project.glob("logs/lr/*/config.yaml")
    with run.with_name("metrics.csv").open() as file:
        reached = [float(row["val/acc"]) for row in csv.DictReader(file) if row["val/acc"]]
    assert (
        len(reached) == 4 and trials(project)[0].value == pytest.approx(max(reached)) != reached[0]
    )
    config = yaml.safe_load(run.read_text())
    model = config["model"]["init_args"]
    assert model["lr_scheduler"] is None and model["compile"] is False
    assert model["net"]["init_args"]["hidden_sizes"] == [16, 8]
    assert model["optimizer"]["class_path"] == "torch.optim.SGD" and model["optimizer"][
        "init_args"
    ]["lr"] in (0.1, 0.5)
    assert config["data"]["init_args"]["batch_size"] in (20, 21)
    assert config["trainer"]["gradient_clip_val"] is None


def test_a_trial_may_have_several_processes(project: Path) -> None:
    write(project, **TWO_KINDS)
    several = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")
    search_alone(project, "--trainer.max_epochs=20", *several)
    assert sorted(run["trial"]["pruned"] for run in runs(project)) == [False, True]


def test_a_trial_that_fails_is_told_and_the_next_one_begins(project: Path) -> None:
    sampler = {"class_path": "optuna.samplers.RandomSampler", "init_args": {"seed": 6}}
    write(project, space={"data.batch_size": [64, 0]}, trials=3, sampler=sampler)
    output = search(project, "--trainer.max_epochs=1")
    states = [trial.state for trial in trials(project)]
    assert states[0] == TrialState.COMPLETE and TrialState.FAIL in states, "the seed says so"
    assert states.count(TrialState.COMPLETE) == 3
    assert output.count(
        "The trial failed: data.batch_size is 0, but must be at least 1"
    ) == states.count(TrialState.FAIL)


def test_a_trial_that_diverges_is_a_bad_one_and_no_mistake(project: Path) -> None:
    grid = {"model.lr_scheduler.max_lr": [1e30, 0.01]}
    settings = {"search_space": deepcopy(grid), "seed": 0}
    sampler = {"class_path": "optuna.samplers.GridSampler", "init_args": settings}
    write(project, space=grid, trials=2, sampler=sampler)
    output = search(project, "--trainer.max_epochs=1")
    states = {trial.params["model.lr_scheduler.max_lr"]: trial.state for trial in trials(project)}
    assert states == {1e30: TrialState.PRUNED, 0.01: TrialState.COMPLETE}
    assert output.count(": training has diverged: after ") == 1
    assert "The trial failed" not in output
    assert {run["status"]: run["trial"]["pruned"] for run in runs(project)} == {
        "failed": True,
        "finished": False,
    }


@pytest.mark.parametrize(
    ("change", "args", "line"),
    [
        (
            {},
            ("--trainer.max_epoch=3",),
            "trainer.max_epoch is not a known key: did you mean trainer.max_epochs?",
        ),
        ({}, ("--run=last",), "--run=last names one run, but a search starts many: leave it out"),
        ({}, ("--trials=x",), "trials is x, but must be int"),
        (
            {},
            ("--storage=sqlite:////missing/x.db",),
            "sqlite:////missing/x.db cannot be used: unable to open database",
        ),
        (
            {},
            ("--storage=postgresql+psycopg://me:hidden@127.0.0.1:1/x",),
            "psycopg://***@127.0.0.1:1/x cannot be used",
        ),
        (
            {"metric": "val/ac"},
            ("--trainer.max_epochs=2",),
            "metric is val/ac, but the run has finite train/acc",
        ),
        ({"direction": "up"}, (), "direction is up, but must be"),
        ({"trails": 3}, (), "trails is not a known key: did you mean trials?"),
        ({"space": {"model.lr": {"low": 1}}}, (), "space.high is missing"),
        ({"space": {"model.lr": {"low": 2, "high": 1}}}, (), "space.model.lr: "),
        (
            {"space": {"model.optimizer.lrr": [1]}},
            (),
            "model.optimizer.lrr is not a known key: did you mean lr?",
        ),
        (
            {"sampler": {"class_path": "optuna.samplers.TPESamplr"}},
            (),
            "TPESamplr: did you mean TPESampler?",
        ),
    ],
)
def test_a_mistake_is_answered_in_a_line(
    project: Path, change: Any, args: tuple[str, ...], line: str
) -> None:
    write(project, **change)
    assert line in refused(project, *MLP, *args)
    assert not (project / "configs" / "experiment").exists()


def test_what_a_study_cannot_become_is_refused(project: Path) -> None:
    write(project, trials=1, space=GRID)
    search(project, "--trainer.max_epochs=1")
    write(project, trials=2, space=GRID, direction="minimize")
    assert "direction is minimize, but the study lr" in refused(project, *MLP)
    write(project, trials=2, space={**GRID, "model.lr_scheduler.max_lr": [0.1, 0.2]})
    assert "name another one with --study" in refused(project, *MLP)
    (project / "configs" / "experiment" / "lr.yaml").write_text("# Mine\n")
    assert "configs/experiment/lr.yaml was not written by a search" in refused(project, *MLP)
    assert (project / "configs" / "experiment" / "lr.yaml").read_text() == "# Mine\n"


def test_the_config_that_is_shipped_can_be_searched(project: Path) -> None:
    output = search(project, "--trials=1", "--trainer.max_epochs=1", study="optimizer")
    assert all(
        f"--{key}=" in output
        for key in ("model.lr_scheduler.max_lr", "model.optimizer.weight_decay")
    )


@pytest.mark.parametrize("loggers", [["csv"], ["wandb", "tensorboard"]])
def test_the_command_of_a_sweeps_agent_trains(
    render: Render, tmp_path: Path, loggers: list[str]
) -> None:
    project = render(
        package_name="my_project",
        datasets=["digits"],
        models=["mlp"],
        loggers=loggers,
        tooling=["sweep"],
    )
    sweep = yaml.safe_load((project / "configs" / "search" / "sweep.yaml").read_text())
    values = {
        "model.lr_scheduler.max_lr": 0.004,
        "model.optimizer.weight_decay": 0.02,
        "data.batch_size": 128,
    }
    assert values.keys() == sweep["parameters"].keys()
    command: list[str] = []
    for word in sweep["command"]:  # as the agent fills it in
        filled = {"${env}": ["/usr/bin/env"], "${program}": [sweep["program"]]}
        filled["${args}"] = [f"--{key}={value}" for key, value in values.items()]
        command += filled.get(word, [word])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # WANDB_MODE wins over offline=false, and the agent sets the run's id
    env = {
        **os.environ,
        "PATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        "WANDB_MODE": "offline",
        "WANDB_RUN_ID": "fromagent",
    }
    subprocess.run(
        [*command, "--trainer.max_epochs=1"], cwd=project, env=env, check=True, capture_output=True
    )
    (run,) = project.glob("logs/sweep/*")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr_scheduler"]["init_args"]["max_lr"] == 0.004
    assert config["data"]["init_args"]["batch_size"] == 128
    assert config["trainer"]["logger"]["class_path"] == "lightning.pytorch.loggers.WandbLogger"
    assert config["trainer"]["logger"]["init_args"]["project"] == sweep["project"] == "my_project"
    assert sweep["metric"]["name"] in (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
