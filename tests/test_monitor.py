"""The metric that says what is best: none, one that nothing logs, and one that is followed the wrong way."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import DIGITS, fail, succeed
from helpers.template import Render

QUICK = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(
        render(datasets=["digits"], package_name="my_project", tooling=["runs"]),
        tmp_path_factory.mktemp("monitor") / "my-project",
    )


NO_SANITY_CHECK = "--trainer.num_sanity_val_steps=0"


def fit(project: Path, name: str, *options: str) -> str:
    return succeed(project, "fit", *DIGITS, *QUICK, f"--name={name}", *options)


def checkpoints(project: Path, name: str) -> dict[str, Path]:
    return {path.name: path for path in project.glob(f"logs/{name}/*/checkpoints/*")}


def test_without_a_metric_there_is_the_last_checkpoint_alone(project: Path) -> None:
    fit(project, "none", "--checkpoint.monitor=null")
    assert checkpoints(project, "none").keys() == {"last.ckpt"}
    assert "last.ckpt" in succeed(project, "test", "--run=none")
    assert "has no best checkpoint" in fail(project, "test", "--run=none", "--ckpt_path=best")
    succeed(project, "fit", "--run=none", "--trainer.max_epochs=3", "--model.lr_scheduler=null")
    runs = ("-m", "my_project.runs", "summary", "--name=none")
    listed = succeed(project, *runs, PYTHONPATH=str(project / "src"))
    assert "None" not in listed
    plateau = "--model.lr_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau"
    message = fail(project, "fit", *DIGITS, *QUICK, "--checkpoint.monitor=null", plateau)
    assert message.startswith("ReduceLROnPlateau follows checkpoint.monitor, which is null: name")


@pytest.mark.parametrize(
    ("options", "logged"),
    [
        ((), "train/acc, val/acc, val/f1, val/loss"),
        (("--trainer.val_check_interval=2",), "val/acc, val/f1, val/loss"),
    ],
)
def test_a_metric_that_nothing_logs_costs_no_training(
    project: Path, options: tuple[str, ...], logged: str
) -> None:
    name = f"misspelt{len(options)}"
    misspelt = ("--checkpoint.monitor=val/los", f"--name={name}", NO_SANITY_CHECK)
    message = fail(project, "fit", *DIGITS, *QUICK, *options, *misspelt)
    assert message.startswith(f"checkpoint.monitor is val/los, but what is logged is {logged}: ")
    assert checkpoints(project, name).keys() == {"last.ckpt"}
    metric = ("--checkpoint.monitor=val/loss", "--checkpoint.mode=min")
    output = succeed(project, "fit", f"--run={name}", *metric)
    assert "sanity check" not in output
    whole = f"whole{len(options)}"
    fit(project, whole, *options, *metric)
    there, here = (
        torch.load(checkpoints(project, one)["last.ckpt"], weights_only=True)["state_dict"]
        for one in (whole, name)
    )
    for key, value in there.items():
        assert torch.equal(here[key], value), key


def test_a_misspelt_metric_in_the_last_epoch_leaves_what_the_line_says(project: Path) -> None:
    misspelt = ("--checkpoint.monitor=train/los", "--name=over", "--trainer.max_epochs=1")
    message = fail(project, "fit", *DIGITS, *QUICK, *misspelt)
    (line,) = message.splitlines()
    command = line.partition("trained weights. ")[2].removesuffix(" tests them")
    assert "test/acc" in succeed(project, *command.split())


@pytest.mark.parametrize(
    ("follower", "options"),
    [
        ("checkpoint.monitor", ["--checkpoint.monitor=val/los", "--checkpoint.mode=min"]),
        (
            "monitor of EarlyStopping",
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/los"],
        ),
        (
            "monitor of ModelCheckpoint",
            ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/los"],
        ),
    ],
)
def test_a_misspelt_metric_is_refused_before_the_first_epoch(
    project: Path, follower: str, options: list[str]
) -> None:
    message = fail(project, "fit", *DIGITS, *QUICK, *options, "--name=early")
    assert message.startswith(
        f"{follower} is val/los, but validation logs val/acc, val/f1, val/loss: did you mean val/loss?"
    )
    assert not list(project.glob("logs/early/*/metrics.csv")), "no step was trained"


def test_a_metric_of_the_training_may_be_followed(project: Path) -> None:
    fit(project, "right", "--checkpoint.monitor=train/acc")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--checkpoint.monitor=val/loss"],
            "checkpoint.monitor is val/loss, but checkpoint.mode is max, so that the worst counts as the best: "
            "set --checkpoint.mode min",
        ),
        (
            ["-c", "loss.yaml", "--checkpoint.monitor=val/acc"],
            "checkpoint.monitor is val/acc, but checkpoint.mode is min, so that the worst counts as",
        ),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/acc"],
            "trainer.callbacks.monitor is val/acc, but trainer.callbacks.mode is min, so that the worst counts as "
            "the best: set --trainer.callbacks.mode max",
        ),
    ],
)
def test_a_metric_is_not_followed_the_wrong_way(
    project: Path, options: list[str], line: str
) -> None:
    (project / "loss.yaml").write_text("checkpoint: {monitor: val/loss, mode: min}\n")
    assert fail(project, "fit", *DIGITS, *QUICK, *options).startswith(line)


def test_a_direction_that_is_chosen_is_taken(project: Path) -> None:
    fit(project, "chosen", "--checkpoint.monitor=val/loss", "--checkpoint.mode=max")
    succeed(project, "fit", "--run=chosen")
    message = fail(project, "fit", "--run=chosen", "--checkpoint.monitor=val/error")
    assert message.endswith("set --checkpoint.mode min")
    stopping = (
        '{"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "mode": "max"}}'
    )
    fit(project, "stopping", f"--trainer.callbacks+=[{stopping}]")
    succeed(project, "fit", "--run=stopping")


@pytest.mark.parametrize("name", ["best", "last"])
def test_no_other_callback_writes_the_runs_own_checkpoints(project: Path, name: str) -> None:
    own = ("--trainer.callbacks+=ModelCheckpoint", f"--trainer.callbacks.filename={name}")
    message = fail(project, "fit", *DIGITS, *QUICK, *own)
    assert message.startswith(f"trainer.callbacks.filename is {name}, but the run itself writes")
    fit(project, f"own-{name}", *own, f"--trainer.callbacks.dirpath={project / 'elsewhere'}")
    assert (project / "elsewhere" / f"{name}.ckpt").exists()
