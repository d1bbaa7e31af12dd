"""Callbacks that search for values, or freeze a part of the module: they work, or a line says what to do."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.run_files import run_of
from helpers.template import Render

QUICK = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=20",
    "--trainer.limit_val_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
BATCH_SIZE = ("--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.max_trials=3")

MODULE = '''"""A module with attributes that Lightning's callbacks look for."""

from typing import Any

import torch

from .classification import ClassificationModule


class Tunable(ClassificationModule):
    def __init__(self, *args: Any, lr: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lr = lr

    @property
    def backbone(self) -> torch.nn.Module:
        return self.net[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.lr)
'''


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = render(datasets=["digits"], package_name="my_project")
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("finders") / "my-project")
    (folder / "src" / "my_project" / "modules" / "tunable.py").write_text(MODULE)
    return folder


def config(project: Path, name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((run_of(project, name) / "config.yaml").read_text()))


def test_a_found_batch_size_is_recorded_and_trains_as_if_it_had_been_given(project: Path) -> None:
    """With OneCycleLR, whose length depends on it."""
    succeed(project, "fit", *DIGITS, *QUICK, *BATCH_SIZE, "--name=found")
    succeed(project, "fit", *DIGITS, *QUICK, "--data.batch_size=8", "--name=given")
    found = config(project, "found")
    assert found["data"]["init_args"]["batch_size"] == 8
    assert found == config(project, "given") | {"name": "found"}
    metrics = [(run_of(project, name) / "metrics.csv") for name in ("found", "given")]
    assert metrics[0].read_text() == metrics[1].read_text()
    resumed = ("--run=found", "--trainer.max_epochs=3", "--model.lr_scheduler=null")
    succeed(project, "fit", *resumed)
    assert config(project, "found")["data"]["init_args"]["batch_size"] == 8
    line = fail(project, "fit", *resumed, *BATCH_SIZE)
    assert line.startswith("BatchSizeFinder searches before a new training")


def test_a_found_learning_rate_is_recorded(project: Path) -> None:
    finder = (
        "--trainer.callbacks+=LearningRateFinder",
        "--trainer.callbacks.num_training_steps=30",
    )
    module = "--model=my_project.modules.tunable.Tunable"
    output = succeed(project, "fit", *DIGITS, module, *QUICK, *finder, "--name=rate")
    rate = config(project, "rate")["model"]["init_args"]["lr"]
    assert rate != 0.1
    assert f"Found: lr is {rate}\n" in output
    assert config(project, "rate")["trainer"]["callbacks"] is None
    line = fail(project, "fit", *DIGITS, *QUICK, *finder)
    assert line.startswith("LearningRateFinder sets the attribute lr or learning_rate, which Class")
    output = succeed(
        project, "fit", *DIGITS, *QUICK, *finder, "--trainer.callbacks.update_attr=false"
    )
    assert "LearningRateFinder suggests the learning rate 0.0" in output


def test_a_backbone_is_trained_or_a_line_says_that_there_is_none(project: Path) -> None:
    callback = "--trainer.callbacks+=BackboneFinetuning"
    options = ("--trainer.callbacks.unfreeze_backbone_at_epoch=1", "--name=backbone")
    module = "--model=my_project.modules.tunable.Tunable"
    succeed(project, "fit", *DIGITS, module, *QUICK, callback, *options)
    line = fail(project, "fit", *DIGITS, *QUICK, callback)
    assert line.startswith("BackboneFinetuning freezes the attribute backbone, which Class")
