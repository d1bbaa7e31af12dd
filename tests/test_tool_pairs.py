"""Every command that reads a run, after every way to train one; and every command that trains, with every tool."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.run_files import record, run_of
from helpers.template import Render

TOOLING = ["distributed", "export", "optuna", "paper", "profile", "repeat", "report", "runs"]
QUICK = (
    *DIGITS,
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
WORKERS = ("--data.num_workers=2",)
TWO_LOGGERS = ("--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=logs")
AVERAGE = ("-c", "configs/trainer/ema.yaml")
PROFILE = ("-c", "configs/trainer/profile.yaml")
TWO_PROCESSES = ("--trainer.strategy=ddp", "--trainer.devices=2")
TRAININGS = {
    "all": (*AVERAGE, *PROFILE, *WORKERS, *TWO_LOGGERS, *TWO_PROCESSES),
    "average": AVERAGE,
    "processes": TWO_PROCESSES,
    "profile": PROFILE,
    "two_loggers": TWO_LOGGERS,
    "workers": WORKERS,
}
READING = [
    "predict --run {run}",
    "test --run {run}",
    "-m my_project.export --run {run} --format safetensors",
    "-m my_project.model_card --run {run}",
    "-m my_project.runs list --name {run}",
    "-m my_project.runs diff {run} plain",
    "-m my_project.runs plot --name {run} --metric train/loss",
    "-m my_project.runs summary --name {run}",
    "-m my_project.repeat --seeds 1..1 --name again -c logs/{run}/{id}/config.yaml",
    "-m my_project.search configs/search/optimizer.yaml --trials 1 --study found -c logs/{run}/{id}/config.yaml",
    "fit --run {run} --trainer.max_epochs 3",
    "fit -c logs/{run}/{id}/config.yaml --init_from {run} --name next",
]


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    """A project with all tools, and a run to compare others with."""
    project = render(
        package_name="my_project",
        datasets=["digits"],
        models=["simplenet"],
        loggers=["tensorboard"],
        tooling=TOOLING,
    )
    succeed(project, "fit", *QUICK, "--name=plain", "--test_after_fit=true")
    return project


@pytest.mark.parametrize(
    "training",
    [name if name == "all" else pytest.param(name, marks=pytest.mark.sweep) for name in TRAININGS],
)
def test_each_command_reads_a_run_however_it_was_trained(
    original: Path, tmp_path: Path, training: str
) -> None:
    project = shutil.copytree(original, tmp_path / "my-project")
    source = str(project / "src")
    test = "--test_after_fit=true"
    succeed(project, "fit", *QUICK, *TRAININGS[training], "--name=run", test, PYTHONPATH=source)
    succeed(project, "fit", "--run=run", "--trainer.max_epochs=2", PYTHONPATH=source)
    run = run_of(project, "run")
    assert (run / "report" / "confusion.csv").exists()
    for command in READING:
        words = command.format(run="run", id=run.name).split()
        output = succeed(project, *words, PYTHONPATH=source)
        assert "Warning" not in output, command
    for path in sorted(project.glob("logs/*/*/run.json")):
        assert record(path.parent)["status"] == "finished", path
    for name in ("again", "found", "next"):
        assert "val/acc" in record(run_of(project, name))["metrics"], name
