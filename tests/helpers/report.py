"""Helpers of the tests of reports."""

import os
import textwrap
from pathlib import Path

import pytest

from helpers.commands import DIGITS, run_warm, succeed
from helpers.run_files import rows
from helpers.template import Render

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=8", *QUIET)


LOGGERS = ("wandb", "comet", "mlflow", "tensorboard")  # the first is the default


TABLES, PICTURES = (
    ("classes.csv", "confusion.csv", "most_wrong.csv"),
    ("confusion.png", "most_wrong.png"),
)


MODULES = {
    "data_modules/named.py": """
        import torch

        from .digits import DigitsDataModule


        class Named(DigitsDataModule):
            classes = ("零", "one", "two", "three", "four", "five", "six", "seven", "eight", "a name, \\"9\\"")
            input_shape, mean, std = (3, 28, 28), torch.tensor([0.3, 0.2, 0.1]), [0.4, 0.3, 0.2]

            def on_after_batch_transfer(self, batch, dataloader_idx):
                images = batch[0].expand(-1, 3, -1, -1) / 255
                std = torch.tensor(self.std)
                return (images - self.mean[:, None, None]) / std[:, None, None], batch[1]
    """,
    "modules/own.py": """
        from .classification import ClassificationModule


        class Perfect(ClassificationModule):
            def predict_step(self, batch, batch_idx):
                return {"class": batch[1], "p": super().predict_step(batch, batch_idx)["p"]}


        class Silent(ClassificationModule):
            predict_step = ClassificationModule.__mro__[1].predict_step
    """,
}


@pytest.fixture(scope="module")
def report_project(render: Render) -> Path:
    """A project with the tool, and a run `exp1` that was tested and predicted with; tests add runs of other names."""
    project = render(
        package_name="my_project",
        datasets=["digits", "csv_table", "blank"],
        models=["simplenet", "mlp", "regression", "autoencoder"],
        loggers=list(LOGGERS),
        tooling=["report", "distributed"],
    )
    for name, code in MODULES.items():
        (project / "src" / "my_project" / name).write_text(textwrap.dedent(code))
    output = fit(project, *DIGITS, "--name=exp1", "--trainer.logger=false")
    directory = run(project, "exp1")
    assert output.count(f"Report: logs/exp1/{directory.name}/report\n") == 1
    assert "Warning" not in output
    succeed(project, "predict", "--run=exp1", *QUIET)
    return project


def fit(project: Path, *options: str) -> str:
    return succeed(project, "fit", *options, *SHORT, "--test_after_fit=true")


def run(project: Path, name: str) -> Path:
    (directory,) = (project / "logs" / name).glob("20*")  # beside MLflow's
    return directory


def report(project: Path, name: str) -> Path:
    return run(project, name) / "report"


def counts(directory: Path) -> list[list[int]]:
    return [
        [int(count) for count in list(row.values())[1:]]
        for row in rows(directory / "confusion.csv")
    ]


def execute(project: Path, code: str, *paths: Path) -> str:
    """Run Python code in a project, see it succeed, and return what it prints."""
    path = os.pathsep.join(map(str, [project / "src", *paths]))
    done = run_warm(project, "-c", textwrap.dedent(code), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return done.stdout
