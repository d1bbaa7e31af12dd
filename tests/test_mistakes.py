"""Places where a user types, and mistakes: each is answered in one line that names the key, and the file and its line.

Most of it is driven in one process that has built the parsers once: an answer takes a tenth of a second there.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.server import Server
from helpers.template import Render

# It reads arguments, and answers with the exit status and all that the command has written. A command ends before it
# would train.
DRIVER = """
import json, os, sys

sys.path.insert(0, "src")
import lightning.pytorch.cli
from my_project import __main__, cli
from my_project.engine import cli as engine
from my_project.engine.messages import RULES
from my_project.engine.parse_errors import read_message

Real = cli.CLI
kept, setup = [], Real.setup_parser


def setup_once(self, *args, **kwargs):
    if not hasattr(self, "built"):
        setup(self, *args, **kwargs)
        self.built = self.parsers
    self.parsers = self.built


def command_line(args=None):
    kept[:] = kept or [Real.__new__(Real)]
    kept[0].__init__(args)


def noted(message, *rest):
    text = read_message(message).text
    fitting = [rule.example for rule in RULES if rule.pattern.match(text)]
    with open(os.environ["OUTPUT"] + ".rule", "w") as file:
        print(*fitting[:1], end="", file=file)
    return explain(message, *rest)


explain, engine.explain_parse_error = engine.explain_parse_error, noted
Real.setup_parser = setup_once
Real._run_subcommand = lambda self, subcommand: None
cli.CLI = command_line
output = os.open(os.environ["OUTPUT"], os.O_RDWR | os.O_CREAT)
answers = os.fdopen(os.dup(1), "w")
os.dup2(output, 1)
os.dup2(output, 2)
__main__.main(json.loads(sys.stdin.readline()))
for line in sys.stdin:
    os.ftruncate(output, 0)
    os.lseek(output, 0, 0)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
        continue
    code = 0
    try:
        __main__.main(json.loads(line))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        print(end.code, file=sys.stderr, flush=True)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
"""

Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def walked(render: Render) -> Path:
    """A project that tests only add files of their own to."""
    return render(
        datasets=["digits", "csv_table", "image_folder"], models=["simplenet", "mlp", "regression"]
    )


class Driver:
    """Gives commands to that process."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.output = folder / "output"
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OUTPUT": str(self.output), "CUDA_VISIBLE_DEVICES": ""},
        )
        self.send(["fit", *DIGITS])

    def send(self, args: list[str]) -> None:
        assert self.process.stdin
        print(json.dumps(args), file=self.process.stdin, flush=True)

    def run(self, *args: str) -> tuple[int, str]:
        """Return the exit status of a command, and all that it has written."""
        self.send([*args])
        assert self.process.stdout
        code = int(self.process.stdout.readline())
        return code, self.output.read_text()

    def refuse(self, *args: str) -> str:
        """See a command refused in one line, and return it."""
        code, output = self.run(*args)
        assert code == 1, f"{args} is accepted: {output}"
        assert "Traceback" not in output, output
        lines = [
            line
            for line in output.splitlines()
            if not re.match(r"Seed set|Features: |GPU avail|TPU avail|Checkpoint:", line)
        ]
        assert len(lines) == 1 and lines[0].startswith("error: "), output
        return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def driver(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    found = Driver(walked, tmp_path_factory.mktemp("driver"))
    yield found
    found.process.communicate()


# Blocks of a config ---------------------------------------------------------------------------------------------------

BLOCKS = {
    "trainer": "trainer",
    "trainer.logger": "trainer.logger",
    "trainer.callbacks": "trainer.callbacks",
    "model": "model",
    "model.init_args": "model.init_args",
    "model.net": "model.init_args.net",
    "model.net.init_args": "model.init_args.net.init_args",
    "model.optimizer": "model.init_args.optimizer",
    "model.optimizer.init_args": "model.init_args.optimizer.init_args",
    "model.lr_scheduler": "model.init_args.lr_scheduler",
    "model.lr_scheduler.init_args": "model.init_args.lr_scheduler.init_args",
    "data": "data",
    "data.init_args": "data.init_args",
    "checkpoint": "checkpoint",
}
WRONG = {
    "a number": 5,
    "a word": "nonsense",
    "an empty word": "",
    "a list": ["a"],
    "null": None,
    "true": True,
    "an unknown key": {"zzz": 1},
}
RIGHT = {("trainer.logger", "true")}
RIGHT |= {
    (key, "null")
    for key in ("trainer.logger", "trainer.callbacks", "model.optimizer", "model.lr_scheduler")
}


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_another_kind_is_refused_with_its_place(
    driver: Driver, tmp_path: Path, block: str
) -> None:
    for name, value in WRONG.items():
        if (block, name) in RIGHT:
            continue
        config = tmp_path / f"{name.replace(' ', '_')}.yaml"
        config.write_text("# a comment\n" + yaml.safe_dump(nested(BLOCKS[block], value)))
        line = driver.refuse("fit", *DIGITS, "-c", str(config))
        if (block, name) == ("data", "null"):
            assert "missing: pass -c configs/data/<name>.yaml" in line
            continue
        number = 1 + BLOCKS[block].count(".") + 1 + (name == "an unknown key")
        assert f"{config.name}, line {number}: " in line, line
        assert BLOCKS[block] in line or block.removesuffix(".init_args") in line, line
        assert "subtypes" not in line and "must be null" not in line and len(line) < 300, line


@pytest.mark.parametrize("block", BLOCKS)
def test_an_option_of_another_kind_is_refused_with_its_key(driver: Driver, block: str) -> None:
    wrong = {"5", "nonsense", "[1]", ".nan", "{zzz: 1}"}
    for value in sorted(wrong):
        line = driver.refuse("fit", *DIGITS, f"--{block}={value}")
        assert block.removesuffix(".init_args") in line and len(line) < 300, line
        assert "subtypes" not in line and "must be null" not in line, line


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("5\n", "is 5, but must be keys and values"),
        ("hello\n", "is hello, but must be keys and values"),
        ("- trainer\n", "is a list, but must be keys and values"),
        ("zzz: 1\n", ", line 1: zzz is not a known key"),
        (
            "trainr: {max_epochs: 1}\n",
            ", line 1: trainr.max_epochs is not a known key: did you mean trainer.max_epochs?",
        ),
        ("trainer: {}\ntrainer: {}\n", ", line 2: trainer is given twice, in line 1 too"),
        (
            "trainer:\n  devices: 1\n  devices: 2\n",
            ", line 3: trainer.devices is given twice, in line 2 too",
        ),
        ("trainer: {}\n---\ntrainer: {}\n", ", line 2 is not YAML"),
        ("trainer:\n\tdevices: 1\n", ", line 2 is not YAML"),
        ("trainer: {devices: [\n", ", line 2 is not YAML"),
        ("1: 2\n", ", line 1: 1 is no key"),
        ("trainer: !!python/name:os.system\n", ", line 1 is not YAML of plain values"),
        ("trainer: *missing\n", ", line 1 is not YAML"),
        ("\x00", "is not YAML"),
        ("fit: {trainer: {devices: 1}}\n", ", line 1: fit.trainer.devices is not a known key"),
    ],
)
def test_a_config_that_is_wrong_as_a_whole_is_named(
    driver: Driver, tmp_path: Path, text: str, answer: str
) -> None:
    config = tmp_path / "mistake.yaml"
    config.write_text(text)
    assert f"mistake.yaml{answer if answer[0] == ',' else f' {answer}'}" in driver.refuse(
        "fit", *DIGITS, f"-c={config}"
    )


@pytest.mark.parametrize("text", ["", "# trainer:\n#   max_epochs: 1\n", "---\n", "{}\n"])
def test_a_config_in_which_nothing_is_set_sets_nothing(
    driver: Driver, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    code, output = driver.run("fit", *DIGITS, "-c", f"{tmp_path}/empty.yaml")
    assert code == 0, output


def test_a_config_in_another_encoding_is_named(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: Käse".encode("latin-1"))
    assert "latin.yaml is no text in UTF-8" in driver.refuse(
        "fit", *DIGITS, "-c", f"{tmp_path}/latin.yaml"
    )


# Options --------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "name": ["[a]", "a b", ".nan", "-1"],
    "matmul_precision": ["", "low", "null"],
    "ignore_warnings": ["", "maybe", "null", "5", "[true]"],
    "test_after_fit": ["", "maybe"],
    "git_commit_before_fit": ["maybe"],
    "ckpt_path": [""],
    "weights_only": ["", "maybe", "5"],
    "seed_everything": ["", "null", "-1", ".nan", "1.5", "x", "[1]"],
    "checkpoint.mode": ["", "null", "maximum", "5"],
    "checkpoint.save_top_k": ["2"],
    "data.batch_size": ["", "0", "-1", ".nan", ".inf", "1.5", "x", "null", "[1]", "true"],
    "data.num_workers": ["-1", ".nan", "x", "null"],
    "data.split_seed": ["x", "99999999999999999999"],
    "data.fold": ["0/5", "6/5", "x", "-1/5", "1/1", "5", "[1]", "/5", "1/"],
    "data.batch_size.x": ["1"],
    "model.compile": ["maybe", "5", "null"],
    "model.num_classes": ["3", "x"],
    "model.input_shape": ["[1,8,8]", "x"],
    "model.monitor": ["val/loss"],
    "model.mode": ["min"],
    "model.optimizer.lr": ["", "-1", ".nan", ".inf", "-.inf", "x", "null", "[1]"],
    "model.optimizer.betas": ["1", "[a,b]", "[0.9,.inf]"],
    "model.optimizer.weight_decay": [".nan", ".inf", "x", "-1"],
    "model.lr_scheduler.max_lr": ["-1", ".nan", ".inf", "x", "[.nan]"],
    "model.lr_scheduler.pct_start": [".nan", "x"],
    "model.net": [
        "zzz",
        "my.Net",
        "my_project.models.simplenet.Nope",
        "torch.nn.functional.relu",
        "os.system",
    ],
    "model.optimizer": ["SGDD", "torch.nn.Linear", "torch.optim.Nope"],
    "model.lr_scheduler": ["StepLRR", "torch.optim.SGD", "StepLR"],
    "trainer.max_epochs": ["", "-5", ".nan", ".inf", "x", "1.5", "[1]"],
    "trainer.max_epochs.x": ["1"],
    "trainer.devices": ["x", "0"],
    "trainer.gradient_clip_val": ["-1", ".nan", "x"],
    "trainer.limit_train_batches": ["-1", "1.5", ".nan", "x"],
    "trainer.val_check_interval": ["0", "-1", ".nan"],
    "trainer.callbacks": [
        "EarlyStoping",
        "EarlyStopping",
        "[{class_path: EarlyStopping, init_args: {monitr: x}}]",
    ],
    "trainer.callbacks+": ["zzz", "[1]"],
    "trainer.logger": ["CSVLoger", "torch.nn.Linear", "[CSVLogger, 5]"],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_with_a_value_that_is_no_use_is_refused_with_its_key(
    driver: Driver, option: str
) -> None:
    for value in OPTIONS[option]:
        line = driver.refuse("fit", *DIGITS, f"--{option}={value}")
        key = option.removesuffix("+")
        assert key in line or key.rpartition(".")[2] in line, (
            line
        )  # Lightning's own messages leave out "trainer"
        assert "subtypes" not in line and "must be null" not in line and len(line) < 400, line


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("", "The sub-command is missing: begin with fit, validate, test or predict"),
        (
            "fitt D",
            "fitt is no sub-command: did you mean fit? Begin with fit, validate, test or predict",
        ),
        ("D fit", "-c stands before fit: begin with fit, and give its options after it"),
        (
            "--name x fit D",
            "--name stands before fit: begin with fit, and give its options after it",
        ),
        ("fit D --name", "--name needs a value"),
        ("fit D --data.batch_size", "--data.batch_size needs a value"),
        ("fit D --model.optimizer.lr --name x", "--model.optimizer.lr needs a value"),
        ("fit D --run", "--run needs a value: <directory|id|name|last>"),
        ("fit D --run=", "--run needs a value: <directory|id|name|last>"),
        ("fit D -c", "-c needs a value: the path of a config, such as configs/data/<name>.yaml"),
        ("fit D -c missing.yaml", "missing.yaml: there is no such file"),
        ("fit D -c configs", "configs: this is no file"),
        (
            "fit configs/data/digits.yaml",
            "configs/data/digits.yaml stands alone: did you mean -c configs/data/digits.yaml?",
        ),
        (
            "fit D trainer.max_epochs=3",
            "trainer.max_epochs=3 is not an option: did you mean --trainer.max_epochs=3?",
        ),
        ("fit D max_epochs=3", "max_epochs=3 is not an option: did you mean --trainer.max_epochs?"),
        ("fit D -name x", "-name is not an option: did you mean --name?"),
        ("fit D foo", "foo is not an option. Options begin with two dashes, such as --name exp1"),
        (
            "fit D --model.optimizr.lr 0.1",
            "model.optimizr is not a known key: did you mean optimizer?",
        ),
        (
            "fit D --model.optimizer.lrr 0.1",
            "model.optimizer.lrr is not a known key: did you mean lr?",
        ),
        ("fit D --max_epochs 3", "max_epochs is not a known key: did you mean trainer.max_epochs?"),
        ("fit D --batch_size 3", "batch_size is not a known key: did you mean data.batch_size?"),
        ("test D --test_after_fit true", "test_after_fit is an option of fit alone: leave it out"),
        (
            "fit D --allow_untrained true",
            "allow_untrained is no option of fit, which begins untrained: leave it out",
        ),
        (
            "fit D --model.num_classes 3",
            "model.num_classes is 3, but the data say 10: leave it out",
        ),
        (
            "fit D --model.monitor val/loss",
            "model.monitor is val/loss, but it follows checkpoint.monitor, val/acc: set --checkpoint.monitor instead",
        ),
        (
            "fit D --model.lr_scheduler.max_lr .nan",
            "model.lr_scheduler.max_lr is .nan, but must be a finite number",
        ),
        ("fit D --trainer.callbacks EarlyStopping", "trainer.callbacks.monitor is missing"),
    ],
)
def test_what_is_answered(driver: Driver, command: str, answer: str) -> None:
    words = [part for word in command.split() for part in (DIGITS if word == "D" else (word,))]
    assert driver.refuse(*words) == answer


def test_what_is_right_is_accepted(driver: Driver) -> None:
    for option in (
        "--model.monitor=val/acc",
        "--trainer.gradient_clip_val=.inf",
        "--model.num_classes=10",
    ):
        code, output = driver.run("fit", *DIGITS, option)
        assert code == 0, output


# Code of the user's own -----------------------------------------------------------------------------------------------


def write(project: Path, name: str, code: str) -> None:
    """Write a module of the user's own into the project's package."""
    (project / "src" / "my_project" / name).write_text(textwrap.dedent(code).lstrip())


BROKEN = {
    "a missing colon": ("class Net\n    pass\n", 1, "expected ':'"),
    "an open bracket": ("x = 1\nprint(\n", 2, "'(' was never closed"),
    "an error": (
        "from torch import nn\n\nraise RuntimeError('no such device')\n",
        3,
        "RuntimeError: no such device",
    ),
    "a missing package": (
        "import not_there.foo\n",
        1,
        "ModuleNotFoundError: No module named 'not_there'",
    ),
    "a name that is not there": (
        "from .simplenet import SimplNet\n",
        1,
        "ImportError: cannot import name 'SimplNet'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_why_a_file_cannot_be_imported_comes_first(
    walked: Path, driver: Driver, tmp_path: Path, what: str
) -> None:
    code, number, reason = BROKEN[what]
    module = f"broken_{list(BROKEN).index(what)}"
    name = f"my_project.models.{module}.Net"
    write(walked, f"models/{module}.py", code)
    (tmp_path / "mistake.yaml").write_text(f"model:\n  init_args:\n    net: {name}\n")
    (tmp_path / "class.yaml").write_text(
        f"model:\n  init_args:\n    net:\n      class_path: {name}\n"
    )
    options = [
        f"--model.net={name}",
        f"--model={name}",
        f"--data={name}",
        f"--trainer.callbacks={name}",
    ]
    configs = [f"-c={tmp_path}/mistake.yaml", f"-c={tmp_path}/class.yaml"]
    for option in (*options, *configs):
        line = driver.refuse("fit", *DIGITS, option)
        assert line.startswith(f"src/my_project/models/{module}.py, line {number}: {reason}"), line
        key = "model.net" if option in configs else option[2:].partition("=")[0]
        assert f"({key} is {name}" in line and ("yaml, line" in line) == (option in configs), line


def test_a_constructor_that_raises_is_answered_with_its_place(walked: Path, driver: Driver) -> None:
    write(
        walked,
        "models/raising.py",
        """
        from .simplenet import SimpleNet


        class Net(SimpleNet):
            def __init__(self, num_classes: int, input_shape: tuple[int, ...], width: int = 3) -> None:
                super().__init__(num_classes, input_shape)
                {}[width]
        """,
    )
    line = driver.refuse("fit", *DIGITS, "--model.net=my_project.models.raising.Net")
    assert line == "src/my_project/models/raising.py, line 7: KeyError: 3"


def test_an_argument_without_a_type_that_should_be_built_is_named(
    walked: Path, driver: Driver
) -> None:
    write(
        walked,
        "modules/untyped.py",
        """
        from lightning.pytorch import LightningModule


        class Untyped(LightningModule):
            def __init__(self, net, width=3):
                super().__init__()
                self.net = net(10, (1, 8, 8))
        """,
    )
    line = driver.refuse("fit", *DIGITS, "--model=my_project.modules.untyped.Untyped")
    assert line.startswith(
        "model: argument net of Untyped has no type, so that my_project.models.simplenet.SimpleNet is"
    )
    _, output = driver.run(
        "fit", *DIGITS[:2], "--model=my_project.modules.untyped.Untyped", "--model.net=f"
    )
    assert "no type" not in output, "it may well be a text"


def test_a_model_for_other_data_is_answered_with_what_the_data_give(
    walked: Path, driver: Driver
) -> None:
    (walked / "data" / "table.csv").write_text(
        "a,b,target\n" + "".join(f"{i},{-i},{i / 7}\n" for i in range(40))
    )
    table = ("-c", "configs/data/csv_table.yaml", "--data.target=target", "--data.task=regression")
    line = driver.refuse("fit", *table, "-c", "configs/model/mlp.yaml")
    assert line.startswith(
        "ClassificationModule needs num_classes, but CSVTableDataModule gives num_outputs"
    ), line


# configs/local.yaml ---------------------------------------------------------------------------------------------------


@pytest.fixture
def local(walked: Path) -> Iterator[Path]:
    path = walked / "configs" / "local.yaml"
    yield path
    path.unlink(missing_ok=True)


def settings(project: Path, *args: str) -> Any:
    return yaml.safe_load(succeed(project, "fit", *args, "--print_config"))


IMAGES = ("-c", "configs/data/image_folder.yaml", "-c", "configs/model/simplenet.yaml")


def test_local_settings_of_the_data_hold_for_what_a_config_leaves_open(
    walked: Path, local: Path
) -> None:
    local.write_text(
        "data:\n  init_args:\n    folder: /my/pictures\n    batch_size: 7\ntrainer:\n  max_epochs: 3\n"
    )
    images = settings(walked, *IMAGES)
    assert images["data"]["init_args"]["folder"] == "/my/pictures", (
        "null in a config says that it is not set"
    )
    assert images["data"]["init_args"]["batch_size"] == 64, "a config of the command comes later"
    digits = settings(walked, *DIGITS)
    assert "folder" not in digits["data"]["init_args"], (
        "a data module that has no such argument takes none"
    )
    assert settings(walked, *IMAGES, "--data.folder=x")["data"]["init_args"]["folder"] == "x"


def test_local_settings_may_choose_the_data(walked: Path, local: Path) -> None:
    name = "my_project.data_modules.image_folder.ImageFolderDataModule"
    local.write_text(f"data:\n  class_path: {name}\n  init_args:\n    folder: /my/pictures\n")
    alone = settings(walked, *IMAGES[2:])
    assert (
        alone["data"]["class_path"] == name
        and alone["data"]["init_args"]["folder"] == "/my/pictures"
    )
    assert settings(walked, *IMAGES)["data"]["init_args"]["folder"] == "/my/pictures"
    assert settings(walked, *DIGITS)["data"]["class_path"].endswith("DigitsDataModule")


def test_a_mistake_in_local_settings_is_placed(walked: Path, local: Path) -> None:
    local.write_text("trainer:\n  max_epochs: many\n")
    assert (
        fail(walked, "fit", *DIGITS)
        == "configs/local.yaml, line 2: trainer.max_epochs is many, but must be int or null"
    )


def test_a_relative_folder_on_the_command_line_is_that_of_the_shell(walked: Path) -> None:
    line = fail(
        walked,
        "fit",
        "-c",
        "../configs/data/image_folder.yaml",
        *DIGITS[2:3],
        "../configs/model/simplenet.yaml",
        "--data.folder=pics",
        cwd=walked / "data",
    )
    assert line.startswith("there is no pics/train"), line


# The configuration of another sub-command -----------------------------------------------------------------------------


def test_the_whole_configuration_of_fit_is_taken_by_test(
    walked: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(succeed(walked, "fit", *DIGITS, "--print_config"))
    for verb in ("fit", "validate", "test", "predict"):
        line = driver.run(verb, "-c", str(config), "--trainer.fast_dev_run=true", "--name=none")[1]
        assert "known key" not in line and ("error" not in line or "there is no" in line), line
    assert "test_after_fit" not in succeed(walked, "test", "--help")


# Each rule ------------------------------------------------------------------------------------------------------------


PROVOKED = {
    "Option 'optimizr' is not accepted": "fit D --model.optimizr=SGD",
    "Subcommand 'fit' does not accept option 'trainer.max_epoch'": 'fit D -c={"zzz":1}',
    "unrecognized arguments: --optimizr.lr=0.1": "fit D --model.optimizr.lr=0.1",
    "unrecognized arguments: max_epochs=3": "fit D max_epochs=3",
    "the following arguments are required: fit.model": "fit",
    "argument --data: expected one argument": "fit D --name",
    "module 'torch.optim' has no attribute 'Adan'": "fit D --model.optimizer=torch.optim.Adan",
    "No module named 'nothing'": "fit D --model.net=nothing.Missing",
    "Expected a dot import path string: Missing": "fit D --model.net=Missing",
    "Unexpected import path format: .nan": "fit D --model.net=.nan",
    "Expected an import path or a subclass spec, but got [1]": "fit D --model.net=[1]",
    "Unexpected import object <module 'os'>": "fit D --model.net=my_project.models",
    "Import path torch.nn.Linear does not correspond to a subclass of LightningModule": "fit D --model=torch.nn.Linear",
    "Expected 'torch.nn.Linear' to be a subclass of <class 'Optimizer'>.": "fit D --model.optimizer=torch.nn.Linear",
    "Expected 'os.system' to be a function that returns <class 'Module'>.": "fit D --model.net=os.system",
    "Expected an instantiatable class, but Logger is abstract": "fit D --trainer.logger=Logger",
    "'str' object has no attribute 'keys'": "fit D --model.net.init_args=5",
    "trainer: Unable to load config '5' - trainer: Unable to load config \"5\"": "fit D --trainer=5",
    "Parser key \"config\": File does not exist: '/work/configs/missing.yaml'": "fit D -c=missing.yaml",
    "argument subcommand: invalid choice: 'fitt' (choose from 'fit', 'test')": "fitt",
    'expected "subcommand" to be one of {fit,test}, but it was not provided.': "",
    "Not a valid subclass of Callback": "fit D --trainer.callbacks=[1]",
    "Expected a <class 'int'>": "fit D --trainer.max_epochs=x",
}


@pytest.mark.parametrize("example", PROVOKED)
def test_jsonargparse_still_says_what_a_rule_is_for(driver: Driver, example: str) -> None:
    words = PROVOKED[example].split()
    driver.refuse(*(part for word in words for part in (DIGITS if word == "D" else (word,))))
    assert Path(f"{driver.output}.rule").read_text() == example


def test_each_rule_fits_its_example_and_no_earlier_one_does(walked: Path) -> None:
    code = """
    from my_project.engine.messages import RULES, explain_parse_error
    from my_project.engine.parse_errors import read_message

    for rule in RULES:
        text = read_message(rule.example).text
        first = next(other for other in RULES if other.pattern.match(text))
        assert first is rule, (rule.example, first.example)
        answer = explain_parse_error(rule.example, ["trainer.max_epochs", "name"])
        assert "\\n" not in answer and answer, rule.example
    print(*(rule.example for rule in RULES), sep="\\n")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(
        command, cwd=walked, check=True, env=environment, capture_output=True, text=True
    )
    assert {*done.stdout.splitlines()} == {*PROVOKED}, "each is provoked above"


# The tools ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tools(render: Render) -> Path:
    """A project with the tools, and two runs of which there is a record alone."""
    project = render(tooling=["runs", "repeat", "optuna", "export", "schema", "paper"])
    for name, value in {"a": 0.5, "b": 0.25}.items():
        run = project / "logs" / name / f"20240101-000000-00000{value}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("checkpoint:\n  monitor: val/acc\n  mode: max\n")
        (run / "metrics.csv").write_text(
            f"step,epoch,val/acc,val/loss\n1,0,{value},1\n2,1,0.75,{value}\n"
        )
        (run / "run.json").write_text('{"status": "finished", "metrics": {}, "commands": []}')
    (project / "wrong.yaml").write_text("metric: val/acc\nspce: {}\n")
    (project / "list.yaml").write_text("- metric\n")
    (project / "tab.yaml").write_text("metric:\n\tval/acc\n")
    return project


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("runs lst", "lst"),
        ("runs --lmit 3", "--lmit"),
        ("runs --limit -1", "--limit -1"),
        ("runs --limit 0", "--limit 0"),
        ("runs --limit x", "--limit x"),
        ("runs --limit", "--limit"),
        ("runs --filter data.batch_size", "--filter data.batch_size key=value"),
        ("runs --filter =5", "--filter key=value"),
        ("runs --filter data.batchsize=5", "data.batchsize"),
        ("runs --sort zzz", "zzz"),
        ("runs --metric zzz", "zzz"),
        ("runs diff a", "B"),
        ("runs diff zzz a", "zzz <directory|id|name|last>"),
        ("runs summary --format pdf", "--format pdf"),
        ("runs plot --metric zzz", "zzz"),
        ("runs plot --output p.png", "--output p.png p.svg"),
        ("runs plot --x zzz", "zzz"),
        ("runs plot --output missing/p.svg", "missing"),
        ("runs reproduce", "X"),
        ("runs reproduce zzz", "zzz"),
        ("runs reproduce a --tolerance .nan", "--tolerance .nan"),
        ("runs reproduce a --tolerance -1", "--tolerance"),
        ("repeat", "--seeds --folds"),
        ("repeat --seeds 5..1", "--seeds 5..1"),
        ("repeat --seeds x", "--seeds x"),
        ("repeat --folds -2", "--folds -2"),
        ("repeat --folds 0", "--folds 0"),
        ("repeat --folds x", "--folds x"),
        ("search", "configs/search/<study>.yaml"),
        ("search missing.yaml", "missing.yaml"),
        ("search wrong.yaml", "spce space"),
        ("search list.yaml", "list.yaml"),
        ("search tab.yaml", "tab.yaml line 2"),
        ("search configs/search/optimizer.yaml --trials x", "trials x int"),
        ("search configs/search/optimizer.yaml --trials 0", "trials 0 1"),
        ("search configs/search/optimizer.yaml --trials -1", "trials -1 1"),
        ("export --format zzz", "--format zzz"),
        ("export --tolerance .nan", "--tolerance"),
        ("export --run zzz", "zzz"),
        ("export --zzz", "--zzz"),
        ("schema --zzz", "--zzz"),
        ("schema --output missing/s.json", "missing"),
        ("model_card --zzz", "--zzz"),
        ("model_card --run zzz", "zzz"),
        ("model_card --output", "--output"),
    ],
)
def test_a_mistake_in_a_tool_is_answered_in_a_line(
    tools: Path, warm: Server, command: str, words: str
) -> None:
    name, *options = command.split()
    done = warm.run(tools, "-m", f"my_project.{name}", *options, PYTHONPATH="src")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert all(word in lines[0] for word in words.split()), lines


def test_a_plot_shows_every_metric_that_is_asked_for(tools: Path, warm: Server) -> None:
    options = ("--metric", "val/acc", "--metric", "val/loss", "--output", "both.svg")
    done = warm.run(tools, "-m", "my_project.runs", "plot", *options, PYTHONPATH="src")
    assert done.returncode == 0, done.stderr
    picture = (tools / "both.svg").read_text()
    for name in ("val/acc, a", "val/acc, b", "val/loss, a", "val/loss, b"):
        assert name in picture, name


def test_a_fast_run_refuses_no_callback_that_the_real_one_takes(walked: Path) -> None:
    options = (
        "--trainer.logger=false",
        "--trainer.fast_dev_run=true",
        "--trainer.callbacks+=LearningRateMonitor",
    )
    succeed(walked, "fit", *DIGITS, *options)
