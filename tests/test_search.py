"""A search: workers, pruning, the best config, storage."""

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
from helpers.commands import python, succeed
from helpers.search import GRID, MLP, SEARCH, search, write
from optuna.trial import TrialState

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


def start(project: Path, *args: str, interpreter: str = sys.executable) -> subprocess.Popen[str]:
    """Start a worker, in a group of processes of its own."""
    command = [interpreter, "-m", "my_project.search", "configs/search/lr.yaml", *args]
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=project, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


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
    search_project: Path, storage: str | None
) -> None:
    write(search_project, trials=3)
    shared = (f"--storage={storage}",) if storage else ()
    command = (*MLP, "--trainer.max_epochs=40", *shared)
    killed = start(search_project, *command, interpreter=python())
    wait_for(lambda: list(search_project.glob("logs/lr/*/checkpoints/last.ckpt")))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=300)
    wait_for(lambda: runs(search_project)[0]["status"] == "interrupted")  # its trial ends, too
    (run,) = runs(search_project)
    others = [start(search_project, *command, interpreter=python()) for _ in range(2)]
    for worker in others:
        output = "".join(worker.communicate(timeout=300))
        assert worker.returncode == 0, output
    there = trials(search_project, storage=storage)
    assert sorted(trial.state.name for trial in there) == [*["COMPLETE"] * 3, "FAIL"]
    assert there[0].state == TrialState.FAIL
    (again,) = [trial for trial in there[1:] if trial.params == there[0].params]
    assert again.user_attrs["run"] == f"logs/lr/{run['id']}"
    ended = runs(search_project)
    assert len(ended) == 3 and {run["status"] for run in ended} == {"finished"}
    assert sorted(run["trial"]["number"] for run in ended) == sorted(
        trial.number for trial in there[1:]
    )
    assert [command["status"] for command in ended[0]["commands"]] == ["interrupted", "finished"]
    rows = (search_project / "logs" / "lr" / run["id"] / "metrics.csv").read_text().splitlines()
    values = [float(row.split(",")[rows[0].split(",").index("val/acc")] or 0) for row in rows[1:]]
    assert again.value == max(values), "what it had reached before counts too"


def test_a_search_that_is_stopped_goes_on(search_project: Path) -> None:
    write(search_project, trials=1)
    command = (*MLP, "--trainer.max_epochs=60")
    worker = start(search_project, *command)
    wait_for(lambda: list(search_project.glob("logs/lr/*/checkpoints/last.ckpt")))
    os.killpg(worker.pid, signal.SIGINT)  # as a terminal does it
    output = "".join(worker.communicate(timeout=300))
    assert worker.returncode == -signal.SIGINT and "Traceback" not in output, output
    assert search(search_project, *command[len(MLP) :]).count("Trial 1: ") == 1
    (run,) = runs(search_project)
    assert [command["status"] for command in run["commands"]] == ["interrupted", "finished"]
    assert len(trials(search_project)) == 2
    assert "Best of 1: " in search(search_project), "there is nothing left to do"
    assert len(runs(search_project)) == 1


def test_bad_trials_stop_early_and_the_best_becomes_a_config(search_project: Path) -> None:
    write(search_project, **TWO_KINDS)
    output = search(
        search_project, "--trainer.max_epochs=60"
    )  # long enough for a busy machine to stop the bad one
    good, bad = sorted(runs(search_project), key=lambda run: run["trial"]["pruned"])
    assert not good["trial"]["pruned"] and bad["trial"]["pruned"]
    epochs = [
        len((search_project / f"logs/lr/{run['id']}/metrics.csv").read_text().splitlines())
        for run in (good, bad)
    ]
    assert epochs[1] < epochs[0] / 2
    assert bad["status"] == "interrupted"
    states = {trial.state for trial in trials(search_project)}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    (value,) = re.findall(
        r"Best of 2: trial \d, val/acc ([\d.]+), fit -c configs/experiment/lr.yaml", output
    )
    assert (
        (search_project / "configs/experiment/lr.yaml")
        .read_text()
        .startswith(f"# Written by a search: trial {good['trial']['number']}")
    )
    succeed(search_project, "fit", "-c", "configs/experiment/lr.yaml", "--name=again")
    (again,) = runs(search_project, "again")
    metrics = (
        (search_project / "logs" / "again" / again["id"] / "metrics.csv").read_text().splitlines()
    )
    accuracies = [float(row["val/acc"]) for row in csv.DictReader(metrics) if row["val/acc"]]
    assert f"{max(accuracies):.6g}" == value


def test_a_key_has_a_number_or_one_of_its_choices(search_project: Path) -> None:
    space = {
        "model.lr_scheduler": ["null"],
        "model.net.hidden_sizes": [[16, 8]],
        "model.optimizer": ["torch.optim.SGD"],
        "model.optimizer.lr": {"low": 0.05, "high": 0.1, "step": 0.05},
        "data.batch_size": {"low": 20, "high": 21},
        "trainer.gradient_clip_val": [None],
        "model.compile": [False],
    }
    write(search_project, space=space, trials=1)
    search(search_project, "--trainer.max_epochs=1", "--trainer.val_check_interval=0.25")
    (run,) = search_project.glob("logs/lr/*/config.yaml")
    with run.with_name("metrics.csv").open() as file:
        reached = [float(row["val/acc"]) for row in csv.DictReader(file) if row["val/acc"]]
    assert (
        len(reached) == 4
        and trials(search_project)[0].value == pytest.approx(max(reached)) != reached[0]
    )
    config = yaml.safe_load(run.read_text())
    model = config["model"]["init_args"]
    assert model["lr_scheduler"] is None and model["compile"] is False
    assert model["net"]["init_args"]["hidden_sizes"] == [16, 8]
    assert model["optimizer"]["class_path"] == "torch.optim.SGD" and model["optimizer"][
        "init_args"
    ]["lr"] in (0.05, 0.1)
    assert config["data"]["init_args"]["batch_size"] in (20, 21)
    assert config["trainer"]["gradient_clip_val"] is None


def test_a_trial_may_have_several_processes(search_project: Path) -> None:
    write(search_project, **TWO_KINDS)
    several = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")
    search_alone(search_project, "--trainer.max_epochs=20", *several)
    assert sorted(run["trial"]["pruned"] for run in runs(search_project)) == [False, True]


def test_a_trial_that_fails_is_told_and_the_next_one_begins(search_project: Path) -> None:
    sampler = {"class_path": "optuna.samplers.RandomSampler", "init_args": {"seed": 6}}
    write(search_project, space={"data.batch_size": [64, 0]}, trials=3, sampler=sampler)
    output = search(search_project, "--trainer.max_epochs=1")
    states = [trial.state for trial in trials(search_project)]
    assert states[0] == TrialState.COMPLETE and TrialState.FAIL in states, "the seed says so"
    assert states.count(TrialState.COMPLETE) == 3
    assert output.count(
        "The trial failed: data.batch_size is 0, but must be at least 1"
    ) == states.count(TrialState.FAIL)


def test_a_trial_that_diverges_is_a_bad_one_and_no_mistake(search_project: Path) -> None:
    grid = {"model.optimizer.lr": [1e30, 0.01]}
    settings = {"search_space": deepcopy(grid), "seed": 0}
    sampler = {"class_path": "optuna.samplers.GridSampler", "init_args": settings}
    write(search_project, space=grid, trials=2, sampler=sampler)
    output = search(search_project, "--trainer.max_epochs=1")
    states = {trial.params["model.optimizer.lr"]: trial.state for trial in trials(search_project)}
    assert states == {1e30: TrialState.PRUNED, 0.01: TrialState.COMPLETE}
    assert output.count(": training has diverged: after ") == 1
    assert "The trial failed" not in output
    assert {run["status"]: run["trial"]["pruned"] for run in runs(search_project)} == {
        "failed": True,
        "finished": False,
    }
