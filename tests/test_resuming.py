"""A run that stops and is resumed ends like one that never stopped, however it stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail, run_warm, succeed
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
    "plateau": (
        f"--model.lr_scheduler={TORCH}ReduceLROnPlateau",
        "--model.lr_scheduler.patience=0",
        "--model.lr_scheduler.threshold=0.5",
    ),
}
TRAININGS = {
    "plain": (),
    "accumulated": ("--trainer.accumulate_grad_batches=3",),
    "validated": ("--trainer.val_check_interval=4",),
    "scheduled": (
        "--trainer.callbacks+=GradientAccumulationScheduler",
        '--trainer.callbacks.scheduling={"0": 1, "1": 4}',
    ),
    "tuned": (
        "--model=my_project.modules.own.TunedModule",
        "--trainer.callbacks+=my_project.callbacks.stop.Unfreeze",
    ),
    "seldom": ("--trainer.check_val_every_n_epoch=2",),
}  # fmt: skip


def stop(how: str, batch: int) -> tuple[str, ...]:
    """Options with which a training stops after so many batches."""
    if how == "max_steps":
        return (f"--trainer.max_steps={batch}",)
    if how == "own":
        return (
            "--trainer.callbacks+=ModelCheckpoint",
            "--trainer.callbacks.every_n_train_steps=1",
            "--trainer.callbacks.save_top_k=-1",
            "--trainer.callbacks.dirpath=own",
            "--trainer.callbacks.filename=own-{step}",
        )
    return (
        "--trainer.callbacks+=my_project.callbacks.stop.Stop",
        f"--trainer.callbacks.how={how}",
        f"--trainer.callbacks.batch={batch}",
    )


CELLS = [
    ("max_steps", 11, "constant", "plain"),
    ("max_steps", 5, "plateau", "accumulated"),
    ("should_stop", 11, "onecycle", "plain"),
    ("should_stop", 11, "plateau", "accumulated"),
    ("should_stop", 12, "cosine", "validated"),
    ("SIGTERM", 11, "plateau", "seldom"),
    ("SIGTERM", 12, "cosine", "validated"),
    ("SIGTERM", 13, "onecycle", "scheduled"),
    ("SIGTERM", 12, "constant", "tuned"),
    ("SIGINT", 11, "plateau", "accumulated"),
    ("SIGKILL", 20, "constant", "tuned"),
    ("exception", 21, "cosine", "validated"),
    ("own", 11, "constant", "plain"),
    ("own", 12, "cosine", "validated"),
    ("own", 8, "plateau", "seldom"),
    ("own", 10, "onecycle", "scheduled"),
]


def label(*cell: Any) -> str:
    return "-".join(map(str, cell))


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with a module and callbacks of a user."""
    project = render(datasets=["digits"])
    source = project / "src" / PACKAGE
    (source / "modules" / "own.py").write_text(MODULE)
    (source / "callbacks" / "stop.py").write_text(CALLBACKS)
    (source / "data_modules" / "stream.py").write_text(STREAM)
    (source / "walk.py").write_text(WALK)
    return project


@pytest.fixture(scope="module")
def walked(project: Path) -> Path:
    """The project after all trainings of the walk."""
    walk: dict[str, list[list[str]]] = {}
    for cell in CELLS:
        how, batch, schedule, training = cell
        options = [*BASE, *TRAININGS[training], *SCHEDULES[schedule]]
        walk[label("whole", schedule, training)] = [
            [*options, f"--name={label('whole', schedule, training)}"]
        ]
        name = label(*cell)
        resume = [
            "fit",
            f"--run={name}",
            *QUIET,
            f"--trainer.callbacks={plain_callbacks(training)}",
        ]
        if how == "max_steps":
            resume.append("--trainer.max_steps=-1")
            options.remove("--trainer.max_epochs=3")
            options += ["--trainer.max_epochs=3"]
        if how == "own":
            resume.append(f"--ckpt_path=own-{name}/own-step={batch}.ckpt")
        stopping = [option.replace("=own", f"=own-{name}", 1) if "dirpath" in option else option
                    for option in stop(how, batch)]  # fmt: skip
        walk[name] = [[*options, *stopping, f"--name={name}"], resume]
    (project / "walk.json").write_text(json.dumps(walk))
    done = run_warm(project, "-m", f"{PACKAGE}.walk", PYTHONPATH=str(project / "src"))
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def plain_callbacks(training: str) -> str:
    """The callbacks of a run without the one that stops it."""
    if training == "tuned":
        return "[my_project.callbacks.stop.Unfreeze]"
    if training != "scheduled":
        return "null"
    return '[{"class_path": "GradientAccumulationScheduler", "init_args": {"scheduling": {"0": 1, "1": 4}}}]'


def directory(project: Path, name: str) -> Path:
    (found,) = (project / "logs" / name).iterdir()
    return found


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("cell", CELLS, ids=[label(*cell) for cell in CELLS])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    walked: Path, cell: tuple[str, int, str, str]
) -> None:
    how, _, schedule, training = cell
    name, whole = label(*cell), label("whole", schedule, training)
    codes = {"SIGTERM": 143, "SIGINT": 143, "SIGKILL": -9, "exception": 1}
    log = (walked / f"{name}.log").read_text()
    assert json.loads((walked / f"{whole}.codes").read_text()) == [0], (
        walked / f"{whole}.log"
    ).read_text()
    assert json.loads((walked / f"{name}.codes").read_text()) == [codes.get(how, 0), 0], log
    assert "Warning" not in log
    ended, expected = (directory(walked, run) for run in (name, whole))
    end, expected_end = (load(run / "checkpoints" / "last.ckpt") for run in (ended, expected))
    for part in (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
        "epoch",
        "random",
    ):
        assert same(end[part], expected_end[part]), part
    assert (ended / "metrics.csv").read_text() == (expected / "metrics.csv").read_text()
    for best in (end, expected_end):
        for key in [key for key in best["callbacks"] if "Checkpoint" in key]:
            best["callbacks"][key] = best["callbacks"][key]["best_model_score"]
    ours = {
        key: value for key, value in end["callbacks"].items() if key in expected_end["callbacks"]
    }
    assert same(ours, expected_end["callbacks"])


# What is changed on resuming ------------------------------------------------------------------------------------------


def fit(project: Path, name: str, *options: str) -> str:
    return succeed(project, *BASE, f"--name={name}", *options)


def resume(project: Path, name: str, *options: str) -> str:
    return succeed(project, "fit", f"--run={name}", *QUIET, *options)


def last(project: Path, name: str) -> Any:
    return load(directory(project, name) / "checkpoints" / "last.ckpt")


def rate(project: Path, name: str) -> float:
    (group,) = last(project, name)["optimizer_states"][0]["param_groups"]
    return float(group["lr"])


COSINE = f"--model.lr_scheduler={TORCH}CosineAnnealingLR"


def test_another_schedule_begins_as_if_it_had_been_there_from_the_start(project: Path) -> None:
    fit(project, "other", "--trainer.max_epochs=2", *SCHEDULES["onecycle"])
    changed = (COSINE, "--model.lr_scheduler.T_max=5", "--model.optimizer.lr=0.001")
    output = resume(project, "other", "--trainer.max_epochs=3", *changed)
    assert "Schedule: CosineAnnealingLR replaces OneCycleLR" in output
    fit(project, "always", *changed)
    assert rate(project, "other") == pytest.approx(rate(project, "always"))


def test_other_arguments_of_a_schedule_are_used(project: Path) -> None:
    fit(project, "arguments", "--trainer.max_epochs=2", COSINE, "--model.lr_scheduler.T_max=3")
    output = resume(project, "arguments", "--trainer.max_epochs=3", "--model.lr_scheduler.T_max=6")
    assert "Schedule: T_max is 6, and was 3" in output
    fit(project, "always6", COSINE, "--model.lr_scheduler.T_max=6")
    assert rate(project, "arguments") == pytest.approx(rate(project, "always6"))
    assert "Schedule" not in resume(project, "arguments", "--trainer.max_epochs=4")


def test_another_optimizer_starts_without_state(project: Path) -> None:
    fit(
        project,
        "optimizer",
        "--trainer.max_epochs=1",
        *SCHEDULES["onecycle"],
        "--trainer.max_epochs=2",
    )
    changed = ("--model.optimizer=SGD", "--model.optimizer.lr=0.01", "--model.lr_scheduler=null")
    output = resume(project, "optimizer", "--trainer.max_epochs=3", *changed)
    assert "Optimizer: SGD replaces AdamW and starts without state" in output
    assert rate(project, "optimizer") == 0.01


def test_within_an_epoch_another_batch_size_is_refused(project: Path) -> None:
    fit(project, "batches", "--trainer.max_steps=11", *SCHEDULES["constant"])
    changed = ("--trainer.max_steps=-1", "--data.batch_size=16")
    line = fail(project, "fit", "--run=batches", *QUIET, *changed)
    assert (
        "batch_size" in line
        and "is 16, but 32 in the epoch in which this checkpoint was saved" in line
    )


EARLY = (
    "--trainer.callbacks+=EarlyStopping",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.mode=max",
)


def test_the_patience_that_is_given_counts(project: Path) -> None:
    fit(project, "patience", "--trainer.max_epochs=9", *EARLY, "--trainer.callbacks.patience=1")
    stopped = last(project, "patience")["epoch"]
    assert "Nothing left to do: EarlyStopping has ended the training" in resume(project, "patience")
    assert last(project, "patience")["epoch"] == stopped < 8
    config = '[{"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "mode": "max", "patience": 20}}]'
    resume(project, "patience", f"--trainer.callbacks={config}")
    assert last(project, "patience")["epoch"] == 8


def test_a_finished_run_says_what_trains_longer(project: Path) -> None:
    fit(project, "finished", "--trainer.max_epochs=1", *SCHEDULES["constant"])
    line = "Nothing left to do: 1 of 1 epochs. --trainer.max_epochs 2 trains longer"
    assert line in resume(project, "finished")
    fit(project, "cycle", "--trainer.max_epochs=1", *SCHEDULES["onecycle"])
    output = resume(project, "cycle")
    assert (
        "Nothing left to do: 1 of 1 epochs. OneCycleLR cannot be made longer: --trainer.max_epochs 2"
        in output
    )
    resume(project, "cycle", "--trainer.max_epochs=2", "--model.lr_scheduler=null")
    assert rate(project, "cycle") == 0.01


def test_a_learning_rate_beside_a_schedule_that_sets_it_is_told(project: Path) -> None:
    output = fit(
        project,
        "told",
        "--trainer.fast_dev_run=true",
        *SCHEDULES["onecycle"],
        "--model.optimizer.lr=5",
    )
    assert "optimizer.lr is 5.0, but has no effect: OneCycleLR sets the learning rate" in output
    assert "--model.lr_scheduler.max_lr changes it" in output


STREAM_DATA = (
    "--data=my_project.data_modules.stream.StreamDataModule",
    "--model=my_project.modules.own.OwnModule",
)


def test_a_schedule_without_a_length_names_max_steps(project: Path) -> None:
    options = ("--checkpoint.monitor=val/loss", "--checkpoint.mode=min", *SCHEDULES["onecycle"])
    line = fail(project, "fit", *STREAM_DATA, *QUIET, *options, "--name=stream")
    assert "the training data have no length: set trainer.max_steps" in line
    succeed(
        project, "fit", *STREAM_DATA, *QUIET, *options, "--name=stream", "--trainer.max_steps=3"
    )


def test_a_loader_that_cannot_skip_is_told(project: Path) -> None:
    options = ("--checkpoint.monitor=val/loss", "--checkpoint.mode=min", "--trainer.max_epochs=1")
    succeed(project, "fit", *STREAM_DATA, *QUIET, *options, "--name=own", "--trainer.max_steps=3")
    output = resume(project, "own", "--trainer.max_steps=-1")
    assert "The checkpoint was saved after 3 batches of an epoch" in output
