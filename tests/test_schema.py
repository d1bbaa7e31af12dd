"""The JSON schema of the configs, with which editors complete and check them; and completion in a shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import succeed
from helpers.pages import DOCS, blocks
from helpers.template import Render, choices_of, git
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from ruamel.yaml import YAML

ALL = {name: choices_of(name) for name in ("datasets", "models", "loggers", "tooling")}
OWN = '''"""Classes of the user's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn


@dataclass
class Size:
    """How large.

    Args:
        width: From left to right.
    """

    width: int = 3


class Mine(LightningModule):
    """Mine alone.

    Args:
        net: A network that is built already.
        loss: Compares.
        size: Its size.
        names: Several.
        head: Comes last.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss,
        size: Size | None = None,
        names: list[str] | None = None,
        head: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()


def build(num_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """Build a network."""
    return nn.Linear(2, 2)


class Greeting(Callback):
    """Greets.

    Args:
        words: What it says.
        home: Where it lives.
    """

    def __init__(self, words: str = "Good morning", home: str = "/home/ada") -> None:
        self.words = words
'''


def write_schema(project: Path, *args: str, cwd: Path, **env: str) -> str:
    """Run the command as users do, see it succeed, and return what it prints."""
    env = {"PYTHONPATH": str(project / "src"), **env}
    return succeed(project, "-m", "my_project.schema", *args, cwd=cwd, **env)


class Project:
    """A project, and what its schema says to configs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = write_schema(folder, cwd=folder)
        self.text = (folder / "configs" / "schema.json").read_text()
        schema = json.loads(self.text)
        Draft7Validator.check_schema(schema)
        self.validator = Draft7Validator(schema)

    def mistake(self, config: str) -> str | None:
        """Return where in a config the mistake is, and what it is, as an editor shows it; None if there is none."""
        error = best_match(self.validator.iter_errors(YAML(typ="safe", pure=True).load(config)))
        return error and f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


@pytest.fixture(scope="module")
def full(render: Render) -> Project:
    models = [model for model in ALL["models"] if model != "timm"]  # installed apart from the rest
    loggers = [logger for logger in ALL["loggers"] if logger != "swanlab"]  # likewise
    folder = render(package_name="my_project", **{**ALL, "models": models, "loggers": loggers})
    (folder / "src" / "my_project" / "models" / "own.py").write_text(OWN)
    (folder / "src" / "my_project" / "callbacks" / "broken.py").write_text("import timm_of_old\n")
    return Project(folder)


@pytest.fixture(scope="module")
def plain(render: Render) -> Project:
    return Project(render(package_name="my_project", tooling=["schema"]))


def configs(project: Project) -> list[Path]:
    return [
        path
        for path in sorted(project.folder.glob("configs/**/*.yaml"))
        if path.parent.name != "search"
    ]


@pytest.mark.parametrize("name", ["full", "plain"])
def test_the_projects_configs_are_right(name: str, request: pytest.FixtureRequest) -> None:
    project = request.getfixturevalue(name)
    mistakes = {path.name: project.mistake(path.read_text()) for path in configs(project)}
    assert len(mistakes) > (20 if name == "full" else 5)
    assert not {path: mistake for path, mistake in mistakes.items() if mistake}


NET, OPTIMIZER = "my_project.models.resnet.ResNet", "torch.optim.AdamW"
SCHEDULER = "torch.optim.lr_scheduler.OneCycleLR"
MNIST = "my_project.data_modules.mnist.MNISTDataModule"
MODULE = "my_project.modules.classification.ClassificationModule"
RIGHT = [  # what the command line takes
    "trainer: {max_epochs: 3, precision: bf16-mixed, strategy: ddp, devices: auto, max_time: 00:12:00:00}",
    "trainer.max_epochs: 3",
    "name: exp1\nseed_everything: 3\nmatmul_precision: high\ncheckpoint: {mode: min}",
    "trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {monitor: val/loss}}]}",
    "trainer: {callbacks+: {class_path: lightning.pytorch.callbacks.LearningRateMonitor}}",
    "trainer: {callbacks: [lightning.pytorch.callbacks.lr_monitor.LearningRateMonitor, LearningRateFinder]}",
    "trainer: {callbacks: [{class_path: my_project.callbacks.speed.Speed}]}",
    "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: logs}}, {class_path: WandbLogger}]}",
    "trainer: {logger+: {class_path: CSVLogger, init_args: {save_dir: logs}}}",
    "trainer: {logger: false, profiler: simple, plugins: [{class_path: AsyncCheckpointIO}]}",
    f"data: {{class_path: {MNIST}, init_args: {{batch_size: 32}}}}",
    "data: {init_args: {batch_size: 32}}",
    "data: {batch_size: 32}",
    "model: {init_args: {optimizer: {class_path: SGD, init_args: {lr: 1e-3}}, lr_scheduler: null}}",
    "model: {init_args: {optimizer: {init_args: {betas: [0.9, 0.99]}}, lr_scheduler: StepLR}}",
    "model: {init_args: {optimizer: {lr: 0.1}}}",
    f"model: {{init_args: {{net: {NET}}}}}",
    f"model: {{init_args: {{net: {{class_path: {NET}, dict_kwargs: {{x: 1}}}}}}}}",
    "model: {init_args: {lr_scheduler: {class_path: lightning.pytorch.cli.ReduceLROnPlateau}}}",
]
UNKNOWN = [  # what is not known cannot be wrong
    "trainer: {callbacks: [{class_path: other.Callback, init_args: {a: 1}}, other.module.Callback]}",
    "trainer: {logger: {class_path: aim.pytorch_lightning.AimLogger, init_args: {repo: logs}}}",
    "model: {class_path: other.Module, init_args: {a: 1}}",
    "model: {init_args: {net: {class_path: torchvision.models.ResNet, init_args: {a: 1}}}}",
    "model: {init_args: {optimizer: {class_path: timm.optim.Lion, init_args: {a: 1}}}}",
    "model: {init_args: {net: {class_path: my_project.callbacks.broken.Net}}}",  # of a module that cannot be imported
    "data: other.data.Module",
]
WRONG = [  # and the key or value that an editor underlines or names
    ("trainr: {max_epochs: 3}", "trainr"),
    ("trainer: {max_epoch: 3}", "max_epoch"),
    ("trainer: {max_epochs: many}", "trainer.max_epochs"),
    ("trainer: {precision: 17}", "trainer.precision"),
    ("trainer: {callback+: []}", "callback+"),
    ("trainer: {callbacks+: [{class_path: EarlyStoping}]}", "callbacks+.0.class_path"),
    ("trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {monitr: a}}]}", "monitr"),
    (
        "trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {patience: long}}]}",
        "init_args.patience",
    ),
    (
        "trainer: {callbacks+: [my_project.callbacks.speed.Sped]}",
        "callbacks+.0: 'my_project.callbacks.speed.Sped'",
    ),
    ("trainer: {logger: {class_path: lightning.pytorch.loggers.CSVLoger}}", "logger.class_path"),
    ("trainer: {logger: {class_path: CSVLogger, init_args: {save_dr: logs}}}", "save_dr"),
    (f"data: {{class_path: {MNIST}x}}", "data.class_path"),
    (f"data: {{class_path: {MNIST}, init_args: {{batchsize: 3}}}}", "batchsize"),
    (
        f"data: {{class_path: {MNIST}, init_args: {{batch_size: large}}}}",
        "data.init_args.batch_size",
    ),
    (f"data: {{class_path: {MNIST}, batch_size: 3}}", "batch_size"),
    ("data: {init_args: {on_devise: true}}", "on_devise"),
    ("model: {class_path: my_project.modules.classifier.ClassificationModule}", "model.class_path"),
    (f"model: {{class_path: {MODULE}, init_args: {{optimiser: null}}}}", "optimiser"),
    (
        f"model: {{class_path: {MODULE}, init_args: {{net: {{class_path: {NET}s}}}}}}",
        "net.class_path",
    ),
    (
        f"model: {{class_path: {MODULE}, init_args: {{net: {{class_path: {NET}, init_args: {{dept: 1}}}}}}}}",
        "dept",
    ),
    (
        f"model: {{class_path: {MODULE}, init_args: {{net: {{class_path: {NET}, int_args: {{}}}}}}}}",
        "int_args",
    ),
    (f"model: {{init_args: {{net: {{class_path: {NET}, init_args: {{dept: 1}}}}}}}}", "dept"),
    ("model: {init_args: {optimizer: {class_path: torch.optim.AdamX}}}", "optimizer.class_path"),
    (
        f"model: {{init_args: {{optimizer: {{class_path: {OPTIMIZER}, init_args: {{rate: 1}}}}}}}}",
        "rate",
    ),
    (
        f"model: {{init_args: {{optimizer: {{class_path: {OPTIMIZER}, init_args: {{lr: fast}}}}}}}}",
        "init_args.lr",
    ),
    (
        f"model: {{init_args: {{optimizer: {{class_path: {OPTIMIZER}, init_args: {{params: []}}}}}}}}",
        "params",
    ),
    (
        f"model: {{init_args: {{lr_scheduler: {{class_path: {SCHEDULER}, init_args: {{max_rl: 1}}}}}}}}",
        "max_rl",
    ),
    (
        "model: {init_args: {lr_scheduler: {class_path: ReduceLROnPlateau}}}",
        "lr_scheduler.class_path",
    ),  # of whom?
    ("checkpoint: {mode: maximum}", "checkpoint.mode"),
    ("matmul_precision: low", "matmul_precision"),
    ("fit: {name: a}", "fit"),
]


@pytest.mark.parametrize("config", RIGHT + UNKNOWN)
def test_nothing_right_or_unknown_is_marked(config: str, full: Project) -> None:
    assert full.mistake(config) is None


@pytest.mark.parametrize(("config", "named"), WRONG)
def test_a_mistake_is_found_and_named(config: str, named: str, full: Project) -> None:
    assert named in (full.mistake(config) or "")


@pytest.mark.parametrize("config", RIGHT)
def test_the_command_line_takes_what_is_right(config: str, full: Project, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(config)
    base = ("-c", "configs/data/digits.yaml", "-c", "configs/model/resnet.yaml")
    succeed(full.folder, "fit", *base, "-c", str(tmp_path / "config.yaml"), "--print_config")


MINE, GREETING = "my_project.models.own.Mine", "my_project.models.own.Greeting"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (f"model: {{class_path: {MINE}, init_args: {{net: {{class_path: {NET}}}}}}}", None),
        (
            f"model: {{class_path: {MINE}, init_args: {{net: {{class_path: {NET}, init_args: {{dept: 1}}}}}}}}",
            "dept",
        ),
        (f"model: {{class_path: {MINE}, init_args: {{loss: torch.nn.functional.l1_loss}}}}", None),
        (
            f"model: {{class_path: {MINE}, init_args: {{loss: {{class_path: torch.nn.HuberLoss}}}}}}",
            None,
        ),
        (f"model: {{class_path: {MINE}, init_args: {{size: {{width: 4}}, names: [a]}}}}", None),
        (f"model: {{class_path: {MINE}, init_args: {{size: {{widht: 4}}}}}}", "widht"),
        (f"model: {{class_path: {MINE}, init_args: {{size: {{width: wide}}}}}}", "size.width"),
        (f"model: {{class_path: {MINE}, init_args: {{names+: [b]}}}}", None),
        (f"model: {{class_path: {MINE}, init_args: {{names: [1]}}}}", "names.0"),
        (f"model: {{class_path: {MINE}, init_args: {{other: 1}}}}", "other"),
        (
            f"model: {{class_path: {MODULE}, init_args: {{net: {{class_path: my_project.models.own.build}}}}}}",
            None,
        ),
        (
            f"model: {{class_path: {MODULE}, init_args: {{net: my_project.models.own.built}}}}",
            "init_args.net",
        ),
        (
            f"trainer: {{callbacks: [{{class_path: {GREETING}, init_args: {{words: Hello}}}}]}}",
            None,
        ),
        (
            f"trainer: {{callbacks: [{{class_path: {GREETING}, init_args: {{word: Hello}}}}]}}",
            "word",
        ),
    ],
)
def test_classes_of_the_users_own_are_known(config: str, named: str | None, full: Project) -> None:
    mistake = full.mistake(config)
    assert named in (mistake or "") if named else mistake is None


def test_there_is_something_to_show_over_a_key(full: Project) -> None:
    schema = json.loads(full.text)
    keys = schema["properties"]["trainer"]["properties"]
    assert keys["max_epochs"]["description"].startswith("Stop training once this number of epochs")
    assert keys["accelerator"]["default"] == "auto"
    words = schema["$defs"][GREETING]["properties"]["words"]
    assert (words["description"], words["default"]) == ("What it says.", "Good morning")
    offered = {
        name: one["description"]
        for one in schema["$defs"]["Callback.class_path"]["anyOf"][:-2]
        for name in one["enum"]
    }
    assert offered[GREETING] == "Greets." and "EarlyStopping" in offered
    net = schema["$defs"][f"{NET}-2"]["properties"]
    assert net.keys() == {"depth", "width"}, "what the data module gives is not offered"


def test_it_prints_a_line_and_says_what_is_left_out(full: Project, plain: Project) -> None:
    assert plain.output == "Schema: configs/schema.json\n"
    broken = "my_project.callbacks.broken (ModuleNotFoundError: No module named 'timm_of_old')"
    assert full.output == f"Schema: configs/schema.json\nLeft out: {broken}\n"


def test_it_is_the_same_everywhere(full: Project, tmp_path: Path) -> None:
    target = str(tmp_path / "schema.json")
    write_schema(
        full.folder, "--output", target, cwd=tmp_path, HOME=str(tmp_path), PYTHONHASHSEED="7"
    )
    assert (tmp_path / "schema.json").read_text() == full.text
    strings = [str(full.folder), str(Path.home()), "/home/ada", sys.prefix, " at 0x"]
    assert not [string for string in strings if string in full.text]


def test_git_ignores_it(plain: Project) -> None:
    git(plain.folder, "init", "--quiet")
    assert "schema.json" not in git(plain.folder, "status", "--porcelain", "--untracked-files=all")


def test_vs_code_takes_it_for_all_configs_but_those_of_searches(full: Project) -> None:
    settings = json.loads((full.folder / ".vscode" / "settings.json").read_text())
    ((schema, patterns),) = settings["yaml.schemas"].items()
    assert (full.folder / schema).exists()
    matched = {path for pattern in patterns for path in full.folder.glob(pattern)}
    assert matched == set(configs(full))
    assert "redhat.vscode-yaml" in (full.folder / ".vscode" / "extensions.json").read_text()
    documented = (DOCS / "editor.md").read_text().partition("```json")[2].partition("```")[0]
    assert json.loads(documented)["yaml.schemas"] == settings["yaml.schemas"]


def test_bash_completes_options(plain: Project, tmp_path: Path) -> None:
    command = tmp_path / "my-project"  # as pip install -e . makes it
    command.write_text(f"#!{sys.executable}\nfrom my_project.__main__ import main\nmain()\n")
    command.chmod(0o755)
    (_, documented), *_ = [block for block in blocks("editor") if block[0] == "shell"]
    search = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": search,
        "PYTHONPATH": str(plain.folder / "src"),
    }
    words = """
source ~/.my-project.bash
COMP_WORDS=(my-project fit --trainer.max_ep) COMP_CWORD=2
$(complete -p my-project | sed 's/.* -F \\([^ ]*\\) .*/\\1/') my-project --trainer.max_ep fit
echo "completed: ${COMPREPLY[*]}"
"""
    done = subprocess.run(
        ["bash", "-ec", documented + words],
        cwd=plain.folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "completed: --trainer.max_epochs\n", done.stderr
