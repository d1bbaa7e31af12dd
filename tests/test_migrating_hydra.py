"""docs/migrating_hydra.md, followed literally by a project of the shape of a clone of lightning-hydra-template."""

import csv
import json
import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.server import Server
from helpers.template import ROOT, git
from test_migrating import commands, commit, edit, keys, read, rows, shell, start, write
from test_readme import blocks

GUIDE = (ROOT / "docs" / "migrating_hydra.md").read_text()
STEPS = GUIDE.split("\n## ")[1:]
MODULE = "src/my_project/models/mnist_module.py"
EXAMPLE = "-c configs/experiment/example.yaml"
OLD = "logs/train/runs/2024-05-01_12-00-00/checkpoints/last.ckpt"

# The paths, class paths and keys of a clone of ashleve/lightning-hydra-template; its code is for these tests
CLONE = {
    ".env.example": "OMP_NUM_THREADS=2\n",
    ".github/workflows/test.yml": "on: push\n",
    ".gitignore": "__pycache__/\n.env\nconfigs/local/default.yaml\n/data/\n/logs/\n",
    ".pre-commit-config.yaml": "repos: []\n",
    ".project-root": "",
    "LICENSE": "Mine\n",
    "Makefile": "train:\n\tpython src/train.py\n",
    "README.md": "# Mine\n",
    "configs/__init__.py": "",
    "configs/callbacks/default.yaml": """\
defaults:
  - model_checkpoint
  - early_stopping
  - model_summary
  - rich_progress_bar
  - _self_

model_checkpoint:
  dirpath: ${paths.output_dir}/checkpoints
  filename: "epoch_{epoch:03d}"
  monitor: "val/acc"
  mode: "max"
  save_last: True
  auto_insert_metric_name: False

early_stopping:
  monitor: "val/acc"
  patience: 100
  mode: "max"

model_summary:
  max_depth: -1
""",
    "configs/callbacks/early_stopping.yaml": """\
early_stopping:
  _target_: lightning.pytorch.callbacks.EarlyStopping
  monitor: ???
  min_delta: 0.
""",
    "configs/callbacks/model_checkpoint.yaml": """\
model_checkpoint:
  _target_: lightning.pytorch.callbacks.ModelCheckpoint
  dirpath: null
  monitor: null
""",
    "configs/callbacks/model_summary.yaml": """\
model_summary:
  _target_: lightning.pytorch.callbacks.RichModelSummary
  max_depth: 1
""",
    "configs/callbacks/none.yaml": "",
    "configs/callbacks/rich_progress_bar.yaml": """\
rich_progress_bar:
  _target_: lightning.pytorch.callbacks.RichProgressBar
""",
    "configs/data/mnist.yaml": """\
_target_: src.data.mnist_datamodule.MNISTDataModule
data_dir: ${paths.data_dir}
batch_size: 32 # must be divisible by the number of devices
train_val_test_split: [96, 32, 32]
num_workers: 0
""",
    "configs/debug/default.yaml": """\
# @package _global_
task_name: "debug"
trainer:
  max_epochs: 1
  detect_anomaly: true
""",
    "configs/eval.yaml": """\
# @package _global_
defaults:
  - _self_
  - data: mnist
  - model: mnist
  - logger: null
  - trainer: default
  - paths: default
  - extras: default
  - hydra: default
task_name: "eval"
ckpt_path: ???
""",
    "configs/experiment/example.yaml": """\
# @package _global_
defaults:
  - override /data: mnist
  - override /model: mnist
  - override /callbacks: default
  - override /logger: csv
  - override /trainer: default

tags: ["mnist", "simple_dense_net"]

seed: 12345

trainer:
  min_epochs: 10
  max_epochs: 10
  gradient_clip_val: 0.5

model:
  optimizer:
    lr: 0.002
  net:
    lin1_size: 16

data:
  batch_size: 16

logger:
  csv:
    prefix: ${tags.0}
""",
    "configs/extras/default.yaml": "ignore_warnings: False\nenforce_tags: True\nprint_config: True\n",
    "configs/hparams_search/mnist_optuna.yaml": """\
# @package _global_
defaults:
  - override /hydra/sweeper: optuna

optimized_metric: "val/acc_best"

hydra:
  mode: "MULTIRUN"
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 20
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
    params:
      model.optimizer.lr: interval(0.0001, 0.1)
      data.batch_size: choice(32, 64, 128, 256)
""",
    "configs/hydra/default.yaml": """\
run:
  dir: ${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d}_${now:%H-%M-%S}
""",
    "configs/local/.gitkeep": "",
    "configs/logger/csv.yaml": """\
csv:
  _target_: lightning.pytorch.loggers.csv_logs.CSVLogger
  save_dir: "${paths.output_dir}"
  name: "csv/"
  prefix: ""
""",
    "configs/model/mnist.yaml": """\
_target_: src.models.mnist_module.MNISTLitModule

optimizer:
  _target_: torch.optim.Adam
  _partial_: true
  lr: 0.001
  weight_decay: 0.0

scheduler:
  _target_: torch.optim.lr_scheduler.ReduceLROnPlateau
  _partial_: true
  mode: min
  factor: 0.1
  patience: 10

net:
  _target_: src.models.components.simple_dense_net.SimpleDenseNet
  input_size: 784
  lin1_size: 64
  output_size: 10

compile: false
""",
    "configs/paths/default.yaml": """\
root_dir: ${oc.env:PROJECT_ROOT}
data_dir: ${paths.root_dir}/data/
log_dir: ${paths.root_dir}/logs/
output_dir: ${hydra:runtime.output_dir}
work_dir: ${hydra:runtime.cwd}
""",
    "configs/train.yaml": """\
# @package _global_
defaults:
  - _self_
  - data: mnist
  - model: mnist
  - callbacks: default
  - logger: null
  - trainer: default
  - paths: default
  - extras: default
  - hydra: default
  - experiment: null
  - hparams_search: null
  - optional local: default
  - debug: null
task_name: "train"
tags: ["dev"]
train: True
test: True
ckpt_path: null
seed: null
""",
    "configs/trainer/cpu.yaml": "defaults:\n  - default\n\naccelerator: cpu\ndevices: 1\n",
    "configs/trainer/default.yaml": """\
_target_: lightning.pytorch.trainer.Trainer
default_root_dir: ${paths.output_dir}
min_epochs: 1
max_epochs: 10
accelerator: cpu
devices: 1
check_val_every_n_epoch: 1
deterministic: False
""",
    "configs/trainer/gpu.yaml": "defaults:\n  - default\n\naccelerator: gpu\ndevices: 1\n",
    "data/.gitkeep": "",
    "environment.yaml": "name: myenv\n",
    "logs/.gitkeep": "",
    "notebooks/.gitkeep": "",
    "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = "tests/"\n',
    "requirements.txt": "torch\ntorchvision\nlightning\ntorchmetrics\nhydra-core\nrootutils\nrich\npytest\n",
    "scripts/schedule.sh": "python src/train.py trainer.max_epochs=5\n",
    "setup.py": "from setuptools import setup\n\nsetup(name='src')\n",
    "src/__init__.py": "",
    "src/data/__init__.py": "",
    "src/data/components/__init__.py": "",
    "src/data/mnist_datamodule.py": """\
from typing import Tuple

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset, random_split


class MNISTDataModule(LightningDataModule):
    def __init__(
        self,
        data_dir: str = "data/",
        train_val_test_split: Tuple[int, int, int] = (96, 32, 32),
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.data_train = None

    @property
    def num_classes(self) -> int:
        return 10

    def setup(self, stage=None) -> None:
        if not self.data_train:
            images = torch.rand(160, 1, 28, 28, generator=torch.Generator().manual_seed(1))
            labels = images.mean(dim=(1, 2, 3)).argsort().argsort() // 16
            parts = self.hparams.train_val_test_split
            split = random_split(TensorDataset(images, labels), parts, torch.Generator().manual_seed(42))
            self.data_train, self.data_val, self.data_test = split

    def train_dataloader(self):
        return DataLoader(self.data_train, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data_val, self.hparams.batch_size)

    def test_dataloader(self):
        return DataLoader(self.data_test, self.hparams.batch_size)
""",
    "src/eval.py": "import hydra\n",
    "src/models/__init__.py": "",
    "src/models/components/__init__.py": "",
    "src/models/components/simple_dense_net.py": """\
from torch import nn


class SimpleDenseNet(nn.Module):
    def __init__(self, input_size: int = 784, lin1_size: int = 256, output_size: int = 10) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(input_size, lin1_size), nn.BatchNorm1d(lin1_size), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(lin1_size, output_size),
        )

    def forward(self, x):
        return self.model(x.flatten(1))
""",
    "src/models/mnist_module.py": """\
from typing import Any, Dict

import torch
from lightning import LightningModule
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification.accuracy import Accuracy


class MNISTLitModule(LightningModule):
    def __init__(
        self,
        net: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler,
        compile: bool,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = net
        self.criterion = torch.nn.CrossEntropyLoss()
        self.val_acc, self.test_acc = (Accuracy(task="multiclass", num_classes=10) for _ in range(2))
        self.val_loss, self.test_loss = MeanMetric(), MeanMetric()
        self.val_acc_best = MaxMetric()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def on_train_start(self) -> None:
        self.val_loss.reset()
        self.val_acc.reset()
        self.val_acc_best.reset()

    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def evaluate(self, batch, stage, loss, accuracy):
        logits = self(batch[0])
        loss(self.criterion(logits, batch[1]))
        accuracy(logits, batch[1])
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy}, on_step=False, on_epoch=True)

    def validation_step(self, batch, batch_idx):
        self.evaluate(batch, "val", self.val_loss, self.val_acc)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute())

    def test_step(self, batch, batch_idx):
        self.evaluate(batch, "test", self.test_loss, self.test_acc)

    def setup(self, stage: str) -> None:
        if self.hparams.compile and stage == "fit":
            self.net = torch.compile(self.net)

    def configure_optimizers(self) -> Dict[str, Any]:
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        if self.hparams.scheduler is not None:
            scheduler = self.hparams.scheduler(optimizer=optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}
        return {"optimizer": optimizer}


if __name__ == "__main__":
    _ = MNISTLitModule(None, None, None, None)
""",
    "src/train.py": """\
import json

import pyrootutils

pyrootutils.setup_root(__file__, indicator=".project-root", pythonpath=True)
import hydra


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg):
    from lightning import seed_everything

    make = hydra.utils.instantiate
    if cfg.get("seed"):
        seed_everything(cfg["seed"], workers=True)
    callbacks, logger = ([make(one) for one in (cfg.get(key) or {}).values()] for key in ("callbacks", "logger"))
    datamodule, model = make(cfg["data"]), make(cfg["model"])
    trainer = make(cfg["trainer"], callbacks=callbacks, logger=logger)
    trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.get("ckpt_path"))
    last = trainer.checkpoint_callback.last_model_path
    trainer.test(model, datamodule=datamodule, ckpt_path=last, weights_only=False)
    print(json.dumps({key: value.item() for key, value in trainer.callback_metrics.items()}))


if __name__ == "__main__":
    main()
""",
    "src/utils/__init__.py": "from src.utils.instantiators import instantiate_callbacks\n",
    "src/utils/instantiators.py": "import hydra\n\ninstantiate_callbacks = None\n",
    "tests/__init__.py": "",
    "tests/conftest.py": "from hydra import compose\n",
    "tests/helpers/__init__.py": "",
    "tests/test_train.py": "def test_train(): ...\n",
}

# Of Hydra, what that project uses, where Hydra is not installed
HYDRA = """\
import functools
import os
import re
import sys
import types
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name

import yaml


def merge(old, new):
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        old[key] = merge(old[key], value) if both else value
    return old


def read(path):
    return (path.exists() and yaml.safe_load(path.read_text())) or {}


def group(folder, name):
    own, whole = read(folder / f"{name}.yaml"), {}
    for other in own.pop("defaults", []):
        merge(whole, group(folder, other))
    return merge(whole, own)


def compose(path, overrides):
    bodies, given = [read(path)], dict(one.split("=", 1) for one in overrides)
    choices = {key: name for entry in bodies[0].pop("defaults")[1:] for key, name in entry.items()}
    choices.update((key, given.pop(key)) for key in [*given] if key in choices)
    for key in ("experiment", "hparams_search", "debug"):
        bodies.append(read(path.parent / key / f"{choices.pop(key, None)}.yaml"))
        for entry in bodies[-1].pop("defaults", []):
            choices.update((key.split("/")[-1], name) for key, name in entry.items())
    choices.pop("hydra")
    whole = {key: group(path.parent / key, name) for key, name in choices.items() if name and " " not in key}
    for body in bodies:
        merge(whole, body)
    for key, value in given.items():
        *parents, last = key.split(".")
        functools.reduce(dict.__getitem__, parents, whole)[last] = yaml.safe_load(value)
    return whole


def resolved(node, whole, output):
    if isinstance(node, dict):
        return {key: resolved(value, whole, output) for key, value in node.items()}
    if not isinstance(node, str) or "${" not in node:
        return node

    def find(match):
        kind, _, name = match[1].rpartition(":")
        if kind == "oc.env":
            return os.environ[name]
        if kind == "hydra":
            return output
        value = whole
        for key in name.split("."):
            value = value[int(key) if isinstance(value, list) else key]
        return str(resolved(value, whole, output))

    return re.sub(r"\\${([^{}]+)}", find, node)


def instantiate(node, **extra):
    if isinstance(node, dict):
        args = {key: instantiate(value) for key, value in node.items() if key[0] != "_"} | extra
        if "_target_" in node:
            made = functools.partial(resolve_name(node["_target_"]), **args)
            return made if node.get("_partial_") else made()
        return args
    return node


def main(version_base, config_path, config_name):
    def decorate(function):
        def run():
            path = Path(sys.argv[0]).parent / config_path / config_name
            config = compose(path, [one for one in sys.argv[1:] if not one.startswith("--")])
            if "--cfg=job" in sys.argv:
                print(yaml.safe_dump(resolved(config, config, None), sort_keys=False))
            else:
                output = Path("logs", config["task_name"], "runs", f"{datetime.now():%Y-%m-%d_%H-%M-%S}").absolute()
                function(resolved(config, config, str(output)))

        return run

    return decorate


utils = types.SimpleNamespace(instantiate=instantiate)
"""


def test_a_clone_goes_on_under_the_new_command_line(  # noqa: C901, PLR0912, PLR0915
    template: Path, warm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, future = (
        start(tmp_path / "my project", CLONE),
        shutil.copytree(template, tmp_path / "a template"),
    )

    def run(arguments: str) -> str:
        done = warm.run(project, *shlex.split(arguments))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def weights(name: str) -> dict[str, torch.Tensor]:
        (path,) = project.glob(f"logs/{name}/*/checkpoints/last.ckpt")
        return dict(torch.load(path, weights_only=True)["state_dict"])

    def of_run(name: str, file: str) -> Any:
        (path,) = project.glob(f"logs/{name}/*/{file}")
        return yaml.safe_load(path.read_text())

    if not find_spec("hydra"):
        monkeypatch.setenv("PYTHONPATH", str(write(tmp_path / "stand-in", {"hydra.py": HYDRA})))
    there = yaml.safe_load(shell(project, "python src/train.py --cfg=job experiment=example"))
    printed = shell(project, "python src/train.py experiment=example trainer.max_epochs=3")
    before = json.loads(printed.splitlines()[-1])
    (old,) = project.glob("logs/train/runs/*")
    old.rename((project / OLD).parent.parent)

    for step in STEPS[:8]:
        if step.startswith("3"):
            monkeypatch.delenv("PYTHONPATH", raising=False)
        for path in re.findall(r"`git show HEAD~2:(\S+)`", step):
            assert shell(project, f"git show HEAD~2:{path}") == CLONE[path]
        for diff in blocks(step, "diff"):
            edit(project, diff)
        for text in blocks(step, "yaml") + blocks(step, "python"):
            if named := re.match(r"# (\S+)\n", text):
                write(project, {named[1]: text})
            else:
                shell(project, f"PYTHONPATH=src python -c {shlex.quote(text)}")
        for command in commands(step, future):
            if found := re.match(r"python (?:src/main\.py )?(?=fit|test|-m pytest)", command):
                run(command.removeprefix(found[0]))
            elif "my_project.search" in command:
                shell(project, f"PYTHONPATH=src {command}")
            elif not command.startswith(("pip install ", "copier update")):
                shell(project, command)
    assert not git(project, "status", "--porcelain")
    assert {path.name for path in (project / "src").iterdir()} == {"main.py", "my_project"}
    for name, text in {
        "notes.txt": "mine\n",
        "README.md": "# Mine\n",
        ".gitignore": CLONE[".gitignore"],
    }.items():
        assert (project / name).read_text().startswith(text)

    example = yaml.safe_load((project / "configs/experiment/example.yaml").read_text())
    module = example["model"]["init_args"]
    assert module["optimizer"] == {
        "class_path": "torch.optim.Adam",
        "init_args": {"lr": 0.002, "weight_decay": 0.0},
    }
    assert module["net"]["init_args"] == {"input_size": 784, "lin1_size": 16, "output_size": 10}
    assert example["data"]["init_args"]["data_dir"] == "./data/"
    assert [one["init_args"]["patience"] for one in example["trainer"]["callbacks"]] == [100]
    assert of_run("example", "config.yaml")["seed_everything"] == 12345

    run(f"fit {EXAMPLE} --name whole --trainer.max_epochs 4")
    resumed, whole = weights("example"), weights("whole")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    with next(project.glob("logs/older/*/metrics.csv")).open() as lines:
        epochs = [int(row["epoch"]) for row in csv.DictReader(lines)]
    done = torch.load(project / OLD.replace(".ckpt", ".plain.ckpt"), weights_only=True)["epoch"] + 1
    assert epochs == [*range(done, 6)], "it went on after the old epochs"
    after = of_run("default", "run.json")["metrics"]
    for metric in ("test/acc", "test/loss"):
        assert after[metric] == before[metric]
    refused = warm.run(project, *shlex.split(f"test {EXAMPLE} --ckpt_path {OLD}"))
    assert "is no checkpoint of weights and plain data alone" in refused.stderr

    for cells, here in rows("Paths", GUIDE):
        for path in cells:
            assert "logs/" in path or [
                name for name in CLONE if f"{name}/".startswith(f"{path}/")
            ], path
        for path in here:
            if re.match("(?!configs/local)(configs|src|pyproject)[^<]*$", path):
                assert (project / path).exists(), path
    options = [here[0] for _, here in rows("Commands", GUIDE) if here[0].startswith("-")]
    run(f"fit {EXAMPLE} {' '.join(options)} --print_config")
    keys_there, keys_here = keys(there), keys(of_run("example", "config.yaml"))
    for cells, here in rows("Keys of configs", GUIDE):
        assert {*cells} <= keys_there
        assert (
            here == cells
            or {key for key in here if re.fullmatch(r"[a-z]+[._][\w.]+", key)} <= keys_here
        )

    mine = read(project)
    for file in (future / "template").rglob("*"):
        if file.suffix in (".py", ".jinja", ".yaml") and "answers_file" not in file.name:
            file.write_text(f"# planted\n{file.read_text()}")
    commit(future)
    git(future, "tag", "--annotate", "v1000.0.0", "--message", "x")
    shell(project, commands(STEPS[7], future)[-1] + " --defaults")
    now = read(project)
    assert now["src/my_project/cli.py"].startswith("# planted\n")
    for name in mine.keys() - {".copier-answers.yml"}:
        assert not {*mine[name].splitlines()} - {*now[name].splitlines()}, name
    for name in (
        "configs/experiment/example.yaml",
        "configs/search/mnist.yaml",
        MODULE,
        "README.md",
    ):
        assert now[name] == mine[name]
    marked = git(project, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert not [name for name in marked if name.startswith(("configs/", "src/"))]
    run(f"fit {EXAMPLE} --trainer.fast_dev_run true")
    run("test --run example")


def test_a_checkpoint_becomes_weights_and_plain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {
        "net._orig_mod.model.0.weight": torch.ones(1),
        "val_acc.total": torch.zeros(1),
    }  # of a compiled network
    old = {
        "state_dict": weights,
        "epoch": 3,
        "hyper_parameters": {"net": Path()},
        "datamodule_hyper_parameters": Path(),
    }
    torch.save(old, tmp_path / "last.ckpt")
    (script,) = (text for text in blocks(GUIDE, "python") if text.startswith("# plain.py"))
    monkeypatch.setattr(sys, "argv", ["plain.py", str(tmp_path / "last.ckpt")])
    exec(script, {})
    new = torch.load(tmp_path / "last.plain.ckpt", weights_only=True)
    assert new == {"state_dict": {"net.model.0.weight": 1, "val_acc.total": 0}, "epoch": 3}
