"""docs/migrating.md, followed literally by a repository, and by a project of another template's shape."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pexpect
import pytest
import torch
import yaml
from copier import run_copy
from helpers.server import Server
from helpers.template import QUESTIONS, ROOT, git
from release import releases
from test_questions import in_language
from test_readme import blocks

GUIDE = (ROOT / "docs" / "migrating.md").read_text()
REPOSITORY, MIGRATION = GUIDE.split("\n## ")[1:]
STEPS = MIGRATION.split("\n### ")[1:8]
MNIST = "-c configs/data/mnist.yaml -c configs/model/simplenet.yaml"
OLD, MOVED = (f"logs/{folder}/k3v9x2ab/checkpoints/last.ckpt" for folder in ("mnist", "old/mnist"))

VISION = {
    ".gitignore": "__pycache__/\n*.mine\n",
    "LICENSE": "Mine\n",
    "README.md": "# Vision\n\nMine.\n",
    "configs/default.yaml": "mine: true\n",
    "pyproject.toml": '[project]\nname = "vision"\nversion = "3"\ndependencies = ["einops"]\n',
    "src/main.py": "print('mine')\n",
    "src/vision/cli.py": "MINE = 1\n",
    "src/vision/net.py": "MINE = 2\n",
    "tests/conftest.py": "MINE = 3\n",
}

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


def on_a_terminal(project: Path, command: str, keys: dict[str, str], other: str) -> list[str]:
    """Run Copier on a terminal, press Enter at questions, and a key for each file that it asks about; return these."""
    env = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color"}
    arguments = ["-m", *shlex.split(command)]
    child = pexpect.spawn(
        sys.executable, arguments, 60, cwd=project, env=env, dimensions=(500, 200), encoding="utf-8"
    )
    for name in ("readme_language", "setup", "project_name", "loggers"):
        child.expect_exact(in_language(QUESTIONS[name]["help"], chinese=False)[0])
        child.send("\r")
    asked: list[str] = []
    while child.expect([r"Overwrite ([^?\r\n]+)\? (?:\x1b\[[\d;]*m)*\(Y/n\)", pexpect.EOF]) == 0:
        assert child.match
        asked.append(child.match[1])
        child.send(keys.get(asked[-1], other))
    child.close()
    assert child.exitstatus == 0, child.before
    return asked


def test_copier_asks_about_every_file_of_a_repository(template: Path, tmp_path: Path) -> None:  # noqa: PLR0915
    project = start(tmp_path / "my project", VISION)
    guide = commands(REPOSITORY.split("\n### ")[0], template)
    *before, pretend, copy, status, difference, restore, add, adopt, undo = guide
    for command in before:
        shell(project, command)
    mine = read(project)
    assert mine == {**VISION, "notes.txt": "mine\n"}
    write(project, {"secret.mine": "ignored\n"})
    clashes = {line.split()[-1] for line in shell(project, pretend).splitlines()}
    assert clashes == mine.keys() - {"notes.txt", "src/vision/net.py"}
    assert git(project, "status", "--porcelain", "--ignored") == "!! secret.mine\n"

    def changed() -> set[str]:
        now = read(project)
        return {name for name, text in mine.items() if text != now[name]}

    asked = on_a_terminal(project, copy, {"pyproject.toml": "y", "src/main.py": "y"}, "n")
    assert sorted(asked) == sorted(clashes), "each once"
    assert changed() == {"pyproject.toml", "src/main.py"}
    state = shell(project, status)
    assert "?? .copier-answers.yml" in state
    assert " M pyproject.toml" in state
    assert '-version = "3"' in shell(project, difference)
    shell(project, undo)
    assert git(project, "status", "--porcelain", "--ignored") == "!! secret.mine\n"

    on_a_terminal(project, copy, {}, "n\r")
    assert changed(), "the Enter after an n was a yes to the next file"
    shell(project, undo)

    on_a_terminal(project, copy, {}, "\r")
    assert changed() == clashes, "Enter is a yes"
    shell(project, restore, typed="y\n" * 9)
    assert changed() == clashes - {"pyproject.toml"}
    for command in (add, adopt):
        shell(project, command)
    assert not git(project, "status", "--porcelain")


def test_without_a_terminal_no_file_is_overwritten(template: Path, tmp_path: Path) -> None:
    project = start(tmp_path / "my project", VISION)
    commit(project)
    mine = read(project)
    copy = next(
        line for line in commands(REPOSITORY, template) if line.startswith("copier copy -d")
    )
    for options in ("", " --defaults"):
        done = attempt(project, copy + options)
        assert done.returncode == 1
        assert "Interactive session required" in done.stderr
        assert read(project) == mine
        git(project, "clean", "-dfxq")  # what is new is written, up to the first file that is there

    datasets = write(tmp_path / "all datasets", {"faces": "mine\n"})
    (project / "data").symlink_to(datasets)
    link, separate, update = commands(REPOSITORY.split("\n### ", 2)[2], template)
    separate += " --defaults"
    assert '"data/.gitkeep" is forbidden' in " ".join(attempt(project, separate).stderr.split())
    shell(project, link.replace("/mnt/datasets", shlex.quote(str(datasets))))
    write(project, {".copier-answers.yml": "_src_path: gh:other/template\n"})
    commit(project)
    shell(project, separate)
    others = {".copier-answers.yml": "_src_path: gh:other/template\n", "data/faces": "mine\n"}
    assert {**mine, **others}.items() <= read(project).items()
    commit(project)
    option = re.search(r"`copier update( -a \S+)`", REPOSITORY)
    assert option
    shell(project, f"{update}{option[1]} --defaults")
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("shape", [VISION, CLONE], ids=["repository", "clone"])
def test_an_update_keeps_every_line_of_what_was_kept(
    template: Path, tmp_path: Path, shape: dict[str, str]
) -> None:
    """From the first release to the working tree, and on to a version that changes all files: that cannot be merged."""
    project, future = (
        start(tmp_path / "my project", shape),
        shutil.copytree(template, tmp_path / "a template"),
    )
    commit(project)
    if shape is CLONE:
        for command in commands(STEPS[1], template):
            shell(project, command)
    mine = read(project)
    answers = {"package_name": "my_project" if shape is CLONE else "vision"}
    with warnings.catch_warnings():
        run_copy(
            str(future),
            project,
            answers,
            vcs_ref=releases()[0],
            skip_if_exists=["*"],
            defaults=True,
            quiet=True,
        )
    for version in ("v999.0.0", "v1000.0.0"):
        commit(project)
        shell(project, commands(REPOSITORY, template)[-1] + " --defaults")
        now = read(project)
        assert f"_commit: {version}\n" in now[".copier-answers.yml"]
        for name, text in mine.items():
            assert not {*text.splitlines()} - {*now[name].splitlines()}, name
        for path in (future / "template").rglob("*"):
            if path.is_file() and path.suffix != ".gz" and "answers_file" not in path.name:
                path.write_text(f"# planted\n{path.read_text()}")
        commit(future)
        git(future, "tag", "--annotate", "--force", "v1000.0.0", "--message", "x")
    marked = git(project, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert ".gitignore" in marked
    assert "README.md" not in marked
    for name in marked:
        both = "(?s)<<<<<<< before updating\n.*=======\n# planted\n.*>>>>>>> after updating\n"
        assert re.search(both, now[name]), name


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


def test_a_clone_goes_on_under_the_new_command_line(  # noqa: C901, PLR0912, PLR0915
    template: Path, warm: Server, tmp_path: Path
) -> None:
    project = start(tmp_path / "my project", CLONE)

    def run(arguments: str) -> str:
        done = warm.run(project, *shlex.split(arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def weights(run: str) -> dict[str, torch.Tensor]:
        (path,) = project.glob(f"logs/{run}/*/checkpoints/last.ckpt")
        return dict(torch.load(path, weights_only=True)["state_dict"])

    run(f"fit {MNIST} --trainer.max_epochs 3")
    write(
        project, {f"{Path(OLD).parent.parent}/config.yaml": ""}
    )  # of its command line, which is not rebuilt here
    logger = (
        "--trainer.logger CSVLogger --trainer.logger.save_dir logs --trainer.logger.name measured"
    )
    run(f"test {MNIST} --ckpt_path {OLD} {logger} --trainer.logger.version test")
    with (project / "logs" / "measured" / "test" / "metrics.csv").open() as file:
        (before,) = csv.DictReader(file)

    printed = ""
    for step in STEPS:
        for command in re.findall(r"`(git show \S+)`", step):
            assert shell(project, command) == CLONE["configs/default.yaml"]
        for diff in blocks(step, "diff"):
            edit(project, diff)
        for config in blocks(step, "yaml"):
            write(project, {config.split("\n")[0].removeprefix("# "): config})
        for command in commands(step, template):
            if command.startswith("python src/main.py "):
                printed += run(command.removeprefix("python src/main.py "))
            elif not command.startswith("pip install "):
                shell(project, command)
        for python in blocks(step, "python"):
            load = f"SimpleNetModule.load_from_checkpoint('{MOVED}')"
            refused = f"import pytest\nwith pytest.raises(ValueError): {load}\n"
            shell(project, f"PYTHONPATH=src python -c {shlex.quote(python + refused)}")
    assert not git(project, "status", "--porcelain")
    assert {path.name for path in (project / "src").iterdir()} == {"main.py", "my_project"}
    assert (
        "from torch import utils"
        in (project / "src" / "my_project" / "data_modules" / "mnist.py").read_text()
    )
    for name, text in {
        "notes.txt": "mine\n",
        "README.md": "# Mine\n",
        ".gitignore": CLONE[".gitignore"],
    }.items():
        assert (project / name).read_text().startswith(text)

    run(f"fit {MNIST} --name whole --trainer.max_epochs 4 --trainer.logger false")
    resumed, whole = weights("exp1"), weights("whole")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    with next(project.glob("logs/exp0/*/metrics.csv")).open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["3", "4", "5"], (
            "it went on after the third epoch"
        )
    after = json.loads((project / MOVED).parent.parent.joinpath("run.json").read_text())["metrics"]
    for metric in ("test/acc", "test/loss"):
        assert after[metric] == float(before[metric])
    (warning,) = {line for line in printed.splitlines() if "add the following callbacks" in line}
    assert "ModelCheckpoint{" in warning
    assert "EarlyStopping{" not in warning

    checkpoint = torch.load(project / MOVED) | {"hyper_parameters": {"where": Path()}}
    torch.save(checkpoint, project / "pickled.ckpt")
    done = warm.run(
        project, *shlex.split(f"test {MNIST} --trainer.logger false --ckpt_path pickled.ckpt")
    )
    assert "is no checkpoint of weights and plain data alone" in done.stderr
    run(f"test {MNIST} --trainer.logger false --ckpt_path pickled.ckpt --weights_only false")

    for there, here in rows("Paths"):
        for path in there:
            assert "logs/" in path or [
                name for name in CLONE if f"{name}/".startswith(f"{path}/")
            ], path
        for path in here[: len(there)]:
            assert "<" in path or (project / path).exists(), path
    taken = [here[0].replace("…", MNIST).split(" ", 1) for _, here in rows("Commands")]
    fit = " ".join(
        options for command, options in taken if command == "fit" and "--run" not in options
    )
    others = [" ".join(one) for one in taken if one[0] in ("test", "predict") or "--run" in one[1]]
    assert len(others) == 4
    for command in (f"fit {fit}", *others):
        run(f"{command} --print_config")
    old = keys(
        {
            key: value
            for name in CLONE
            if name.endswith(".yaml")
            for key, value in yaml.safe_load(CLONE[name]).items()
        }
    )
    new = keys(yaml.safe_load(next(project.glob("logs/exp1/*/config.yaml")).read_text()))
    for there, here in rows("Keys of configs"):
        assert there[0].split(":")[0] in old
        assert {
            key.split(":")[0] for key in here[: len(there)] if f"--{key} true" not in fit
        } <= new
