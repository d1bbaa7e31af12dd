"""Helpers of the tests of the migration guides."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from test_readme import blocks

from helpers.template import ROOT, git

GUIDE = (ROOT / "docs" / "migrating.md").read_text()


REPOSITORY, MIGRATION = GUIDE.split("\n## ")[1:]


STEPS = MIGRATION.split("\n### ")[1:8]


# The paths, class paths and keys of a clone of DavidZhang73/pytorch-lightning-template; its code is for these tests
CLONE = {
    ".env.example": "OMP_NUM_THREADS=2\n",
    ".gitignore": "__pycache__/\n.env\ndata/*\n!data/.gitkeep\nlogs/*\n!logs/.gitkeep\n",
    ".project-root": "",
    ".vscode/launch.json": "{}\n",
    ".vscode/settings.json": "{}\n",
    "README.md": "# Mine\n",
    "README_PROJECT.md": "# Paper\n",
    "README_ZH.md": "# 我的\n",
    "configs/data/mnist.yaml": """\
data:
  class_path: data_modules.MNISTDataModule
  init_args:
    batch_size: 32
""",
    "configs/default.yaml": """\
seed_everything: 3407
ignore_warnings: false
test_after_fit: false
git_commit_before_fit: false
trainer:
  max_epochs: -1
  accelerator: cpu
  logger:
    class_path: WandbLogger
    init_args:
      save_dir: logs
      project: mnist
      id: k3v9x2ab
  callbacks:
    - class_path: ModelCheckpoint
      init_args:
        filename: epoch={epoch:02d}-val_acc={val/acc:.4f}
        monitor: val/acc
        save_last: true
        mode: max
        auto_insert_metric_name: false
    - class_path: EarlyStopping
      init_args:
        monitor: val/acc
        mode: max
""",
    "configs/model/simplenet.yaml": """\
model:
  class_path: modules.SimpleNetModule
optimizer:
  class_path: AdamW
  init_args:
    lr: 0.001
lr_scheduler:
  class_path: ReduceLROnPlateau
  init_args:
    monitor: val/loss
""",
    "data/.gitkeep": "",
    "logs/.gitkeep": "",
    "notebooks/.gitkeep": "",
    "pyproject.toml": "[tool.ruff]\nline-length = 120\n",
    "requirements.txt": "torch\npytorch-lightning\ntorchvision\nwandb\n",
    "scripts/clear_wandb_cache.py": "WHITE_LIST = []\n",
    "src/__init__.py": "",
    "src/callbacks/__init__.py": "",
    "src/data_modules/__init__.py": "from src.data_modules.mnist import MNISTDataModule\n",
    "src/data_modules/mnist.py": """\
import pytorch_lightning as pl
import torch
from torch import utils


class MNISTDataModule(pl.LightningDataModule):
    def __init__(self, batch_size: int = 64):
        super().__init__()
        self.save_hyperparameters()
        self.parts = None

    @property
    def num_classes(self):
        return 10

    def setup(self, stage=None):
        if self.parts is None:
            images = torch.rand(160, 1, 28, 28, generator=torch.Generator().manual_seed(1))
            labels = images.mean(dim=(1, 2, 3)).argsort().argsort() // 16
            self.parts = utils.data.random_split(utils.data.TensorDataset(images, labels), [96, 32, 32])

    def train_dataloader(self):
        return utils.data.DataLoader(self.parts[0], self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return utils.data.DataLoader(self.parts[1], self.hparams.batch_size)

    def test_dataloader(self):
        return utils.data.DataLoader(self.parts[2], self.hparams.batch_size)
""",
    "src/main.py": """\
import pyrootutils

pyrootutils.setup_root(__file__, pythonpath=True, dotenv=True)
from src.utils import CustomLightningCLI

if __name__ == "__main__":
    CustomLightningCLI()
""",
    "src/metrics/__init__.py": "",
    "src/models/__init__.py": "from .simplenet import SimpleNet\n",
    "src/models/simplenet.py": """\
from torch import nn


class SimpleNet(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 10))
""",
    "src/modules/__init__.py": "from .mnist_module import SimpleNetModule\n",
    "src/modules/mnist_module.py": """\
import pytorch_lightning as pl
import torch
from torchmetrics import Accuracy

from src.models import SimpleNet


class SimpleNetModule(pl.LightningModule):
    def __init__(
        self,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.net = SimpleNet()
        self.val_acc = Accuracy(task="multiclass", num_classes=10)
        self.test_acc = self.val_acc.clone()

    def forward(self, x: torch.Tensor):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.val_acc(self(batch[0]), batch[1])
        self.log("val/acc", self.val_acc)
        self.log("val/loss", self.training_step(batch, batch_idx))

    def test_step(self, batch, batch_idx):
        self.test_acc(self(batch[0]), batch[1])
        self.log("test/acc", self.test_acc)
        self.log("test/loss", self.training_step(batch, batch_idx))
""",
    "src/utils/__init__.py": "from .cli import CustomLightningCLI\n",
    "src/utils/cli.py": """\
from pytorch_lightning.cli import LightningCLI


class CustomLightningCLI(LightningCLI):
    def __init__(self):
        defaults = {"default_config_files": ["configs/default.yaml"]}
        parsers = {command: defaults for command in self.subcommands()}
        super().__init__(parser_kwargs=parsers, save_config_callback=None)

    def add_arguments_to_parser(self, parser):
        for name in ("ignore_warnings", "test_after_fit", "git_commit_before_fit"):
            parser.add_argument(f"--{name}", type=bool, default=False)
""",
    "uv.lock": "version = 1\n",
}


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def start(folder: Path, texts: dict[str, str]) -> Path:
    """Make a repository in which one file is new, and all others are committed."""
    write(folder, texts)
    git(folder, "init", "--quiet")
    commit(folder)
    return write(folder, {"notes.txt": "mine\n"})


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "x")


def read(project: Path) -> dict[str, str]:
    """Return the texts of the files that git knows."""
    names = git(project, "ls-files").splitlines()
    return {name: (project / name).read_text(errors="replace") for name in names}


def commands(text: str, template: Path) -> list[str]:
    """Return the commands in a text in order, those of several lines in one."""
    code = "".join(
        blocks(re.sub("(?m)^  (?! )", "", text), "bash")
    )  # what is in a list is indented
    return (
        code.replace("\\\n", "")
        .replace("~/copier-lightning", shlex.quote(str(template)))
        .splitlines()
    )


def attempt(project: Path, command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in bash, without a terminal; `python` and `copier` are those of the tests."""
    python = shlex.quote(sys.executable)
    functions = f'python() {{ {python} "$@"; }}; copier() {{ {python} -m copier "$@"; }}'
    script = f"set -e -o pipefail; {functions}; {command}"
    return subprocess.run(
        ["bash", "-c", script], cwd=project, input=typed, capture_output=True, text=True
    )


def shell(project: Path, command: str, typed: str = "") -> str:
    """Run a command so, see it succeed, and return what it prints."""
    done = attempt(project, command, typed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(project: Path, diff: str) -> None:
    """Do what a diff asks the reader to do by hand."""
    name, *hunks = diff.rstrip("\n").split("\n@@\n")
    path = project / name.removeprefix("+++ ")
    for hunk in hunks:
        old, new = (
            "".join(f"{line[1:]}\n" for line in hunk.split("\n") if line[:1] != other)
            for other in ("+", "-")
        )
        assert path.read_text().count(old) == 1, hunk
        path.write_text(path.read_text().replace(old, new))


def rows(title: str, guide: str = GUIDE) -> list[tuple[list[str], list[str]]]:
    """Return what is code in each row of a table of a guide: there, and here."""
    table = re.split(f"\n##+ {title}\n", guide)[1].split("\n##")[0]
    there_and_here = [row.strip("| ").split(" | ") for row in re.findall("(?m)^[|].*", table)[2:]]
    code = [[re.findall("`([^`]+)`", cell) for cell in row] for row in there_and_here]
    return [(there, here or there) for there, here in code]


def keys(config: dict[str, Any], path: str = "") -> set[str]:
    """Return the keys of a config and of all that is in it, dotted."""
    below = [
        keys(value, f"{path}{key}.") for key, value in config.items() if isinstance(value, dict)
    ]
    return {f"{path}{key}" for key in config}.union(*below)
