"""Trainings with everything that has a state, and how they are stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.commands import succeed
from helpers.template import Render

PACKAGE = "my_project"


# A module as a user writes it: nothing in it is persistent, and it takes a seat in each way of logging.
MODULE = """
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MaxMetric, MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from ..utils import optim


class OwnModule(LightningModule):
    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 10))
        self.optimizer, self.lr_scheduler, self.monitor, self.mode = optimizer, lr_scheduler, monitor, mode
        self.parts = nn.ModuleList([MeanMetric()])
        self.scores = MetricCollection([MulticlassAccuracy(10), MulticlassF1Score(10)], prefix="train/")
        self.best = MaxMetric()
        self.val_loss = MeanMetric()
        self.weight = 0.0

    def configure_optimizers(self) -> Any:
        return optim.configure_optimizers(self)

    def on_train_epoch_start(self) -> None:
        self.weight = 1 + 0.1 * self.current_epoch

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self.net(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1]) * self.weight
        self.parts[0].update(loss.detach())
        self.scores.update(logits, batch[1])
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/mean", self.parts[0].compute())
        self.parts[0].reset()
        self.log_dict(self.scores.compute())
        self.scores.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.val_loss.update(nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        self.best.update(-self.val_loss.compute())
        self.log_dict({"val/loss": self.val_loss, "val/best": self.best.compute()})


class FrozenModule(OwnModule):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.net.append(nn.BatchNorm1d(10))
        self.param_groups = [
            {"params": ["net.1", "net.5"], "freeze": 1, "lr_scale": 0.5},
            {"params": "norms_and_biases", "weight_decay": 0.0},
        ]


class TunedModule(OwnModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), lr=0.01)
"""


# Noisy digits, and samples without a length
STREAM = """
from collections.abc import Iterator

import torch
from .digits import DigitsDataModule
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset


class Samples(IterableDataset):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for number in range(100):
            yield torch.full((1, 28, 28), number / 100), number % 10


class NoisyDataModule(DigitsDataModule):
    def augment(self, images: torch.Tensor) -> torch.Tensor:
        return images + 0.1 * torch.rand_like(images)


class StreamDataModule(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(Samples(), batch_size=10)

    val_dataloader = train_dataloader
"""


CALLBACKS = """
import os
import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning


class Unfreeze(BaseFinetuning):
    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.net[1])

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.net[1], optimizer, lr=0.001)


class Stop(Callback):
    '''Stops a training after so many batches.'''

    def __init__(self, how: str, batch: int) -> None:
        self.how, self.batch = how, batch

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 != self.batch:
            return
        if self.how == "should_stop":
            trainer.should_stop = True
        elif self.how == "exception":
            raise ArithmeticError("stopped")
        else:
            os.kill(os.getpid(), getattr(signal, self.how))
"""


# Trains each run of a table whole, and stopped and resumed, each command in a fork that has imported everything.
WALK = """
import json, os, sys, traceback
from pathlib import Path

import lightning.pytorch.cli, lightning.pytorch.loggers, torch._dynamo
from my_project.cli import CLI

def command(log, args):
    sys.stdout.flush()
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    code = 1
    try:
        CLI(args)
        code = 0
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

walk = json.loads(Path("walk.json").read_text())
# What the first one imports and looks up, the others find done.
CLI([*next(iter(walk.values()))[0], "--trainer.fast_dev_run=true"])
for name, commands in walk.items():
    codes = [command(f"{name}.log", args) for args in commands]
    Path(f"{name}.codes").write_text(json.dumps(codes))
"""


QUIET = (
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)


DATA = (
    "--data=my_project.data_modules.stream.NoisyDataModule",
    "--model=my_project.modules.own.OwnModule",
)


BASE = (
    "fit",
    *DATA,
    *QUIET,
    "--checkpoint.monitor=val/loss",
    "--checkpoint.mode=min",
    "--data.batch_size=32",
    "--trainer.max_epochs=3",
    "--trainer.limit_train_batches=8",
    "--trainer.limit_val_batches=3",
    "--trainer.log_every_n_steps=2",
    "--trainer.num_sanity_val_steps=0",
    "--model.optimizer=AdamW",
    "--model.optimizer.lr=0.01",
)


TORCH = "torch.optim.lr_scheduler."


SCHEDULES = {
    "constant": ("--model.lr_scheduler=null",),
    "onecycle": (f"--model.lr_scheduler={TORCH}OneCycleLR", "--model.lr_scheduler.max_lr=0.02"),
    "cosine": (f"--model.lr_scheduler={TORCH}CosineAnnealingLR", "--model.lr_scheduler.T_max=3"),
    "warmup": (
        "--model.lr_scheduler=my_project.utils.schedules.WarmupSchedule",
        "--model.lr_scheduler.decay=linear",
    ),
    "plateau": (
        f"--model.lr_scheduler={TORCH}ReduceLROnPlateau",
        "--model.lr_scheduler.patience=0",
        "--model.lr_scheduler.threshold=0.5",
    ),
}


@pytest.fixture(scope="module")
def resuming_project(render: Render) -> Path:
    """A project with a module and callbacks of a user."""
    project = render(datasets=["digits", "digit_masks"], models=["simplenet", "segmentation"])
    source = project / "src" / PACKAGE
    (source / "modules" / "own.py").write_text(MODULE)
    (source / "callbacks" / "stop.py").write_text(CALLBACKS)
    (source / "data_modules" / "stream.py").write_text(STREAM)
    (source / "walk.py").write_text(WALK)
    return project


def resume(project: Path, name: str, *options: str) -> str:
    return succeed(project, "fit", f"--run={name}", *QUIET, *options)


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
