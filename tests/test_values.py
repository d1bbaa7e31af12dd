"""What is given comes back: from the command line through config.yaml and `--run` to the same object."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.run_files import run_of
from helpers.template import Render

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)

NET = '''"""A network with arguments of many kinds."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from .simplenet import SimpleNet


class Kinds(SimpleNet):
    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        texts: dict[str, str] | None = None,
        pad_token: str | None = None,
        secret_dim: int = 0,
        maybe: str | float | None = None,
        numbers: list[float] | None = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__(num_classes, input_shape)
        values = {"texts": texts, "pad_token": pad_token, "secret_dim": secret_dim, "maybe": maybe, "numbers": numbers}
        if "SEEN" in os.environ:
            Path(os.environ["SEEN"]).write_text(json.dumps(values))
'''

TEXTS = [
    "1e-3", "1e3", "-1e-3", ".5", "5.", "0x10", "0o7", "1_000", "1:30", "2024-01-01", "yes", "off", "true", "~", "null",
    "NaN", ".inf", "-", "- a", "", " spaced ", "a: b", "#no", "it's", 'say "hi"', "back\\slash", "{a}", "[b]", "🔥",
    "数字", "two\nlines", "tab\there", "EOS", "<|endoftext|>", "%d", "&a", "*b", "!c", "@d", "`e`", "x" * 300,
]  # fmt: skip


DATA = '''"""A data module with arguments of many types."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from torch import nn

from .digits import DigitsDataModule


class Colour(Enum):
    red = 1
    green = 2


class Speed(str, Enum):
    fast = "quick"
    slow = "slow-one"


@dataclass
class Size:
    width: int = 3
    names: list[str] = field(default_factory=list)
    inner: "Size | None" = None


class Typed(DigitsDataModule):
    def __init__(
        self,
        flag: bool | None = None,
        whole: int = 0,
        real: float = 1.0,
        either: int | str = "a",
        real_or_text: float | str = 0.5,
        text_or_whole: str | int = 1,
        pair: tuple[int, float] = (1, 2.0),
        several: tuple[int, ...] = (),
        texts: list[str] | None = None,
        nested: list[list[float]] | None = None,
        by_number: dict[int, str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
        anything: Any = None,
        untyped=None,
        path: Path | None = None,
        colour: Colour = Colour.red,
        speed: Speed = Speed.fast,
        choice: Literal["a", "1", 2] = "a",
        size: Size | None = None,
        kind: type[nn.Module] = nn.ReLU,
        layer: nn.Module | None = None,
        build: Callable[[int], nn.Module] | None = None,
        function: Callable | None = None,
        numbers: set[int] | None = None,
        dictionaries: list[dict[str, Any]] | None = None,
        duration: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        values = dict(locals())
        for name in ("self", "kwargs", "__class__"):
            del values[name]
        values["build"] = build(3)
        values["function"] = function.__name__
        super().__init__(**kwargs)
        Path(os.environ["SEEN"]).write_text("".join(f"{name}={value!r}\\n" for name, value in values.items()))
'''

# Options, and what they are in Python
TYPED = {
    "flag=false": "False",
    "whole=-3": "-3",
    "real=.inf": "inf",
    "either=3": "3",
    "real_or_text=1e-3": "0.001",
    "text_or_whole=1e3": "'1e3'",
    "pair=[3,4]": "(3, 4.0)",
    "several=[1,2,3]": "(1, 2, 3)",
    "texts=[a,'1e3']": "['a', '1e3']",
    "nested=[[1,2],[3.5]]": "[[1.0, 2.0], [3.5]]",
    "by_number={1: a, 2: '3'}": "{1: 'a', 2: '3'}",
    "lists={a: [x, '1']}": "{'a': ['x', '1']}",
    "anything={a: [1, {b: 2.5}]}": "{'a': [1, {'b': 2.5}]}",
    "untyped=1e-3": "0.001",
    "path=data/x.csv": "PosixPath('data/x.csv')",
    "colour=green": "<Colour.green: 2>",
    "speed=slow": "<Speed.slow: 'slow-one'>",
    "choice=1": "'1'",
    "size={width: 4, inner: {names: [a]}}": (
        "Size(width=4, names=[], inner=Size(width=3, names=['a'], inner=None))"
    ),
    "kind=torch.nn.GELU": "<class 'torch.nn.modules.activation.GELU'>",
    "layer={class_path: torch.nn.Linear, init_args: {in_features: 2, out_features: 3}}": (
        "Linear(in_features=2, out_features=3, bias=True)"
    ),
    "build={class_path: torch.nn.Softmax}": "Softmax(dim=3)",
    "function=torch.nn.functional.relu": "'relu'",
    "numbers=[1,2]": "{1, 2}",
    "dictionaries=[{a: 1},{b: x}]": "[{'a': 1}, {'b': 'x'}]",
    "duration=1:00:00": "datetime.timedelta(seconds=3600)",
}


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = render(datasets=["digits"], package_name="my_project")
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("values") / "my-project")
    (folder / "src" / "my_project" / "models" / "kinds.py").write_text(NET)
    return folder


def test_every_value_comes_back_to_the_same_object(project: Path, tmp_path: Path) -> None:
    values = {
        "texts": {f"text{number}": text for number, text in enumerate(TEXTS)},
        "pad_token": "EOS",
        "secret_dim": 3,
        "maybe": "1e-3",
        "numbers": [number / 7 for number in range(200)],
    }
    given, back = tmp_path / "given.json", tmp_path / "back.json"
    config = {
        "model": {
            "init_args": {
                "net": {"class_path": "my_project.models.kinds.Kinds", "init_args": values}
            }
        }
    }
    (tmp_path / "kinds.yaml").write_text(json.dumps(config, ensure_ascii=False))
    succeed(
        project,
        "fit",
        *DIGITS,
        "-c",
        str(tmp_path / "kinds.yaml"),
        *QUICK,
        "--name=1e-3",
        SEEN=str(given),
    )
    succeed(project, "test", "--run=1e-3", SEEN=str(back))
    assert json.loads(given.read_text())["texts"] == values["texts"]
    assert json.loads(given.read_text())["pad_token"] == "EOS"
    assert json.loads(back.read_text()) == json.loads(given.read_text())


def test_every_option_of_a_type_comes_back_to_the_same_object(
    project: Path, tmp_path: Path
) -> None:
    (project / "src" / "my_project" / "data_modules" / "typed.py").write_text(DATA)
    given, back = tmp_path / "given", tmp_path / "back"
    data = "--data=my_project.data_modules.typed.Typed"
    options = [f"--data.{option}" for option in TYPED]
    succeed(project, "fit", *DIGITS, data, *options, *QUICK, "--name=typed", SEEN=str(given))
    succeed(project, "test", "--run=typed", SEEN=str(back))
    expected = [f"{key.partition('=')[0]}={value}" for key, value in TYPED.items()]
    assert given.read_text().splitlines() == expected
    assert back.read_text().splitlines() == expected
    assert "Not the run's own" not in succeed(
        project, "test", "--run=typed", *options, SEEN=str(back)
    )


@pytest.mark.parametrize("name", ["1e3", "0x10", "1_000", "2024-01-01", "123", "yes", "1.5"])
def test_every_name_that_is_accepted_comes_back(project: Path, name: str) -> None:
    succeed(project, "fit", *DIGITS, *QUICK, f"--name={name}")
    succeed(project, "test", f"--run={name}")
    assert run_of(project, name).exists()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("model.net.api_key", {"api_key": "sk-1"}),
        ("model.net.texts.password", {"texts": {"password": "sk-1"}}),
        ("model.net.texts.place", {"texts": {"place": "s3://ada:s3cr3t@bucket"}}),
        ("model.net.pad_token", {"pad_token": "it is s3cr3t"}),
    ],
)
def test_a_credential_of_the_model_is_refused_before_it_is_written(
    project: Path, tmp_path: Path, key: str, values: dict[str, Any]
) -> None:
    net = {"class_path": "my_project.models.kinds.Kinds", "init_args": values}
    (tmp_path / "net.yaml").write_text(json.dumps({"model": {"init_args": {"net": net}}}))
    options = ("-c", str(tmp_path / "net.yaml"), "--name=secret")
    message = fail(project, "fit", *DIGITS, *QUICK, *options, MY_API_TOKEN="s3cr3t")
    assert message.startswith(key)
    assert "environment variable" in message
    assert not (project / "logs" / "secret").exists()


SENDER = """
from lightning.pytorch import Callback


class Sender(Callback):
    def __init__(self, api_key: str | None = None, cls_token: str = "", url: str = "") -> None:
        self.api_key = api_key
"""
CALLBACK = "my_project.callbacks.sender.Sender"


@pytest.fixture(scope="module")
def sending(project: Path) -> Path:
    (project / "src" / "my_project" / "callbacks" / "sender.py").write_text(SENDER)
    return project


def test_a_credential_elsewhere_is_left_out_with_a_line(sending: Path) -> None:
    arguments = {"api_key": "sk-1", "cls_token": "CLS", "url": "https://ada:s3cr3t@example.org"}
    callback = {"class_path": CALLBACK, "init_args": arguments}
    local = sending / "configs" / "local.yaml"
    local.write_text(yaml.dump({"trainer": {"callbacks": [callback]}}))
    try:
        output = succeed(sending, "fit", *DIGITS, *QUICK, "--name=sender")
    finally:
        local.unlink()
    assert (
        "config.yaml leaves out what looks like a credential: "
        "trainer.callbacks.0.api_key, trainer.callbacks.0.url. "
    ) in output
    config = yaml.safe_load((run_of(sending, "sender") / "config.yaml").read_text())
    assert config["trainer"]["callbacks"][0]["init_args"] == {
        "api_key": None,
        "cls_token": "CLS",
        "url": "https://example.org",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.callbacks.api_key", "sk-1"),
        ("trainer.callbacks.api_key", "123456"),
        ("trainer.callbacks.cls_token", "ghp_x8Jk20sLq9Zw71bTn4"),
        ("trainer.callbacks.cls_token", "it is s3cr3t"),
        ("trainer.callbacks.url", "https://ada:s3cr3t@example.org/x"),
        (
            "trainer.callbacks",
            f'{{"class_path": "{CALLBACK}", "init_args": {{"api_key": "sk-1"}}}}',
        ),
    ],
)
def test_a_credential_on_the_command_line_is_refused(sending: Path, key: str, value: str) -> None:
    """Loggers record the command line as it is."""
    callback = f"--trainer.callbacks+={CALLBACK}"
    options = (callback, f"--{key}", value, "--name=refused")
    message = fail(sending, "fit", *DIGITS, *QUICK, *options, MY_API_TOKEN="s3cr3t")
    assert message.startswith(key)
    assert message.endswith("such as configs/local.yaml, or by an environment variable.")
    assert not (sending / "logs" / "refused").exists()


def test_what_is_no_credential_stays_in_the_command_of_the_record(sending: Path) -> None:
    values = {"cls_token": "reserved_special_token_1", "url": "ssh://git@example.org/x"}
    options = [f"--trainer.callbacks.{key}={value}" for key, value in values.items()]
    options += ["--model.net=my_project.models.kinds.Kinds", "--model.net.pad_token", "EOS"]
    callback = f"--trainer.callbacks+={CALLBACK}"
    succeed(sending, "fit", *DIGITS, *QUICK, callback, *options, "--name=plain")
    record = json.loads((run_of(sending, "plain") / "run.json").read_text())
    assert record["commands"][0]["command"].endswith(" ".join([*options, "--name=plain"]))
    config = yaml.safe_load((run_of(sending, "plain") / "config.yaml").read_text())
    assert config["trainer"]["callbacks"][0]["init_args"] == {"api_key": None, **values}


@pytest.mark.parametrize("duration", ["00:01:00:00", {"hours": 1}])
def test_a_timer_comes_back(project: Path, tmp_path: Path, duration: Any) -> None:
    """The default of its interval is a member of a text Enum, and its duration is a text or a dictionary."""
    timer = {"class_path": "Timer", "init_args": {"duration": duration}}
    (tmp_path / "timer.yaml").write_text(json.dumps({"trainer": {"callbacks": [timer]}}))
    name = f"timer-{type(duration).__name__}"
    succeed(project, "fit", *DIGITS, *QUICK, "-c", str(tmp_path / "timer.yaml"), f"--name={name}")
    config = yaml.safe_load((run_of(project, name) / "config.yaml").read_text())
    settings = {"duration": duration, "interval": "step", "verbose": True}
    assert config["trainer"]["callbacks"][0]["init_args"] == settings
    longer = ("--trainer.max_epochs=2", "--model.lr_scheduler=null")
    succeed(project, "fit", f"--run={name}", *longer)


def test_a_member_of_a_text_enum_comes_back(project: Path) -> None:
    (project / "src" / "my_project" / "models" / "pooled.py").write_text(
        "from collections.abc import Sequence\n"
        "from enum import Enum\n\n"
        "from .simplenet import SimpleNet\n\n\n"
        "class Pooling(str, Enum):\n"
        "    MAXIMUM = 'max'\n"
        "    AVERAGE = 'avg'\n\n\n"
        "class Pooled(SimpleNet):\n"
        "    def __init__(\n"
        "        self, num_classes: int, input_shape: Sequence[int], pooling: Pooling = Pooling.MAXIMUM\n"
        "    ) -> None:\n"
        "        super().__init__(num_classes, input_shape)\n"
    )
    net = ("--model.net=my_project.models.pooled.Pooled", "--model.net.pooling=AVERAGE")
    succeed(project, "fit", *DIGITS, *QUICK, *net, "--name=pooled")
    succeed(project, "test", "--run=pooled")
    config = yaml.safe_load((run_of(project, "pooled") / "config.yaml").read_text())
    assert config["model"]["init_args"]["net"]["init_args"]["pooling"] == "AVERAGE"


OWN_STATES = """
from pathlib import Path

import numpy as np

from .classification import ClassificationModule


class States(ClassificationModule):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hparams["scale"] = np.float64(0.5)
        self.hparams["sizes"] = {"deep": [np.int64(3), np.arange(3)]}

    def configure_optimizers(self):
        found = super().configure_optimizers()
        found["optimizer"].param_groups[0]["lr"] = np.float64(0.001)
        return found

    def on_save_checkpoint(self, checkpoint):
        checkpoint["own"] = {"mean": np.float32(0.25), np.int64(7): True}


class Foreign(States):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["own"] = {"paths": [Path("a")], "array": np.zeros(2)}
"""


def test_numbers_of_numpy_are_saved_as_plain_ones(project: Path) -> None:
    (project / "src" / "my_project" / "modules" / "states.py").write_text(OWN_STATES)
    options = (*DIGITS, *QUICK, "--model.lr_scheduler=null")
    model = "--model=my_project.modules.states.States"
    output = succeed(project, "fit", *options, model, "--name=numpy", "--test_after_fit=true")
    assert "weights_only" not in output
    succeed(project, "test", "--run=numpy")
    succeed(project, "fit", "--run=numpy", "--trainer.max_epochs=2")
    path = run_of(project, "numpy") / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    assert saved["hyper_parameters"]["scale"] == 0.5
    assert saved["hyper_parameters"]["sizes"] == {"deep": [3, [0, 1, 2]]}
    assert saved["own"] == {"mean": 0.25, 7: True}


def test_a_checkpoint_with_objects_is_not_called_damaged(project: Path) -> None:
    (project / "src" / "my_project" / "modules" / "states.py").write_text(OWN_STATES)
    model = "--model=my_project.modules.states.Foreign"
    output = succeed(project, "fit", *DIGITS, *QUICK, model, "--name=objects")
    assert output.count("The checkpoints hold own.paths.0, which is of type PosixPath: ") == 1
    assert output.count("The checkpoints hold own.array, which is of type ndarray: ") == 1
    for command in (("test", "--run=objects"), ("fit", "--run=objects", "--trainer.max_epochs=2")):
        message = fail(project, *command)
        assert "damaged" not in message
        assert "is no checkpoint of weights and plain data alone: it holds " in message
        assert "pathlib" in message and message.endswith("pass --weights_only false")
        output = succeed(project, *command, "--model.lr_scheduler=null", "--weights_only=false")
        assert "damaged" not in output


CONFIGURED = """
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .simplenet import SimpleNet


class Configured(SimpleNet):
    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        cfg: dict[str, Any] | None = None,
        sizes: dict[str, int] | None = None,
    ) -> None:
        super().__init__(num_classes, input_shape)
        Path(os.environ["SEEN"]).write_text(json.dumps({"cfg": cfg, "sizes": sizes}))
"""


def test_options_reach_into_dictionaries_or_say_how(project: Path, tmp_path: Path) -> None:
    (project / "src" / "my_project" / "models" / "configured.py").write_text(CONFIGURED)
    net = {
        "class_path": "my_project.models.configured.Configured",
        "init_args": {"cfg": {"a": {"b": 1, "c": 0.001}, "d": 1}, "sizes": {"x": 1, "y": 2}},
    }
    config = tmp_path / "configured.yaml"
    config.write_text(json.dumps({"model": {"init_args": {"net": net}}}))
    arguments = ("fit", *DIGITS, "-c", str(config), "--trainer.fast_dev_run=true")
    seen = tmp_path / "seen.json"

    def given(*options: str) -> dict[str, Any]:
        succeed(project, *arguments, *options, SEEN=str(seen))
        return dict(json.loads(seen.read_text()))

    def refused(*options: str) -> str:
        return fail(project, *arguments, *options, SEEN=str(seen))

    assert given("--model.net.cfg.d=5", "--model.net.sizes.x=7") == {
        "cfg": {"a": {"b": 1, "c": 0.001}, "d": 5},
        "sizes": {"x": 7, "y": 2},
    }
    message = refused("--model.net.cfg.a.b=5")
    problem, option = message.split(", as ")
    assert problem.startswith("model.net.cfg.a.b is deep within a dictionary, which would lose")
    assert given(*shlex.split(option))["cfg"] == {"a": {"b": 5, "c": 0.001}, "d": 1}
    assert refused("--model.net.cfg.a.b.e=5").endswith("--model.net.cfg.a '{b: {e: 5}, c: 0.001}'")
    assert refused("--model.net.sizes.x=five") == "model.net.sizes.x is five, but must be int"


def test_configs_are_read_as_utf_8_whatever_the_locale_says(project: Path) -> None:
    (project / "chinese.yaml").write_text(
        "# 学习率\n"
        "trainer: {max_epochs: 1, limit_train_batches: 1} # 值\n"
        "model:\n"
        "  init_args:\n"
        "    net: {class_path: my_project.models.kinds.Kinds, init_args: {pad_token: 词, maybe: 1e-3}}\n",
        encoding="utf-8",
    )
    (project / "named.yaml").write_text("name: 实验\n", encoding="utf-8")

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "src/main.py", *arguments, "--trainer.enable_progress_bar=false"]
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **env}
        return subprocess.run(
            command,
            cwd=project,
            env={**os.environ, **locale},
            capture_output=True,
            encoding="utf-8",
        )

    seen = project / "seen.json"
    fitted = run("fit", *DIGITS, "-c", "chinese.yaml", "--name=chinese", SEEN=str(seen))
    assert fitted.returncode == 0, fitted.stderr
    values = json.loads(seen.read_text())
    assert (values["pad_token"], values["maybe"]) == ("词", 0.001)
    seen.unlink()
    tested = run("test", "--run=chinese", SEEN=str(seen))
    assert tested.returncode == 0, tested.stderr
    assert json.loads(seen.read_text()) == values

    for options in (("-c", "named.yaml"), ("--name=实验",), ("--trainer", "chinese.yaml")):
        refused = run("fit", *DIGITS, *options)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr, refused.stderr
        assert "set PYTHONUTF8=1" in refused.stderr.splitlines()[-1]
    assert not [path for path in project.glob("logs/*") if not path.name.isascii()]
