"""Mistakes in a search, and the configs that are shipped."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import fail, search_path
from helpers.search import GRID, MLP, search, source, worker, write
from helpers.template import Render


def refused(project: Path, *args: str, study: str = "lr") -> str:
    """Run a worker, see it fail, and return the one line that says why."""
    return fail(project, *worker(project, *args, study=study), PYTHONPATH=source(project))


@pytest.mark.parametrize(
    ("change", "args", "line"),
    [
        (
            {},
            ("--trainer.max_epoch=3",),
            "trainer.max_epoch is not a known key: did you mean trainer.max_epochs?",
        ),
        ({}, ("--name=x",), "--name is of single runs: --study names a search and its runs"),
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
    search_project: Path, change: Any, args: tuple[str, ...], line: str
) -> None:
    write(search_project, **change)
    assert line in refused(search_project, *MLP, *args)
    assert not (search_project / "configs" / "experiment").exists()


def test_what_a_study_cannot_become_is_refused(search_project: Path) -> None:
    write(search_project, trials=1, space=GRID)
    search(search_project, "--trainer.max_epochs=1")
    write(search_project, trials=2, space=GRID, direction="minimize")
    assert "direction is minimize, but the study lr" in refused(search_project, *MLP)
    write(search_project, trials=2, space={**GRID, "model.optimizer.lr": [0.1, 0.2]})
    assert "name another one with --study" in refused(search_project, *MLP)
    (search_project / "configs" / "experiment" / "lr.yaml").write_text("# Mine\n")
    assert "configs/experiment/lr.yaml was not written by a search" in refused(search_project, *MLP)
    assert (search_project / "configs" / "experiment" / "lr.yaml").read_text() == "# Mine\n"


def test_the_config_that_is_shipped_can_be_searched(search_project: Path) -> None:
    output = search(search_project, "--trials=1", "--trainer.max_epochs=1", study="optimizer")
    assert all(
        f"--{key}=" in output for key in ("model.optimizer.lr", "model.optimizer.weight_decay")
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
        "model.optimizer.lr": 0.004,
        "model.optimizer.weight_decay": 0.02,
        "data.batch_size": 128,
    }
    assert values.keys() == sweep["parameters"].keys()
    command: list[str] = []
    for word in sweep["command"]:  # as the agent fills it in
        filled = {"${env}": ["/usr/bin/env"], "${program}": [sweep["program"]]}
        filled["${args}"] = [f"--{key}={value}" for key, value in values.items()]
        command += filled.get(word, [word])
    # WANDB_MODE wins over offline=false, and the agent sets the run's id
    env = {
        **os.environ,
        "PATH": search_path(),
        "CUDA_VISIBLE_DEVICES": "",
        "WANDB_MODE": "offline",
        "WANDB_RUN_ID": "fromagent",
    }
    subprocess.run(
        [*command, "--trainer.max_epochs=1"], cwd=project, env=env, check=True, capture_output=True
    )
    (run,) = project.glob("logs/sweep/*")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.004
    assert config["data"]["init_args"]["batch_size"] == 128
    assert config["trainer"]["logger"]["class_path"] == "lightning.pytorch.loggers.WandbLogger"
    assert config["trainer"]["logger"]["init_args"]["project"] == sweep["project"] == "my_project"
    assert sweep["metric"]["name"] in (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
