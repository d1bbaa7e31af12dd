"""Weights & Biases, offline and without an account."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail, succeed
from helpers.run_files import load
from helpers.template import Render, git
from helpers.trained_project import QUIET, fit, last, only, saved, told


@pytest.fixture(scope="module")
def wandb_project(render: Render) -> Path:
    return render(loggers=["wandb"])


def test_wandb_works_offline_without_an_account_and_a_run_goes_on_under_its_id(
    wandb_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(wandb_project, tmp_path / "my-project")
    git(project, "init", "--quiet")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    options = "--name exp1 --model.lr_scheduler null --trainer.log_every_n_steps 1 --trainer.limit_train_batches 3"
    first = fit(project, f"{options} --trainer.max_epochs 1 --git_commit_before_fit true")
    assert git(project, "log", "-1", "--format=%B").strip() == f"exp1_{first.name}"
    assert saved(first)["trainer"]["logger"]["init_args"]["offline"] is True
    assert {path.name.rpartition("-run-")[0] for path in (first / "wandb").glob("offline-*")} <= {
        "offline",
        "",
    }
    (record,) = first.glob("wandb/offline-run-*/*.wandb")
    assert record.name == f"run-{first.name}.wandb"
    for value in (
        b"weight_decay",
        b"OneCycleLR" if "OneCycle" in options else b"AdamW",
        b"val/acc",
    ):
        assert value in record.read_bytes(), (
            "hyperparameters and metrics are in what will be synced"
        )

    succeed(project, "fit", "--run=exp1", "--trainer.max_epochs=2", *QUIET)
    assert first == only(project / "logs" / "exp1")
    assert load(last(first))["epoch"] == 1
    records = list(first.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in records] == [record.name] * 2
    assert saved(first)["trainer"]["max_epochs"] == 2

    again = project / told(
        succeed(project, "fit", "-c", str(first / "config.yaml"), *QUIET), "Run directory"
    )
    assert again != first, "a new run with the same settings"
    assert saved(again)["model"] == saved(first)["model"]


def test_without_an_api_key_a_line_says_what_to_do(
    wandb_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    online = ("--trainer.logger.offline=false", f"--trainer.default_root_dir={tmp_path}")
    message = fail(wandb_project, "fit", *DIGITS, *online)
    assert message == (
        "the logger has no API key: run wandb login, or set --trainer.logger.offline true"
    )


def test_without_wandb_there_is_no_trace_of_it(default_project: Path) -> None:
    for path in default_project.rglob("*"):
        assert "wandb" not in path.name.lower()
        if path.is_file():
            assert b"wandb" not in path.read_bytes().lower(), path
