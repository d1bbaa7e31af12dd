"""A clone of a Hydra template."""

from helpers.template import ROOT

GUIDE = (ROOT / "docs" / "migrating_hydra.md").read_text()


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
