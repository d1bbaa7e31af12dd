"""An option with a useless value is refused with its key."""

from pathlib import Path

import pytest
from helpers.command_line_driver import Driver
from helpers.commands import DIGITS

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
    "model.lr_scheduler.warmup": ["-1", ".nan", ".inf", "x", "[.nan]"],
    "model.lr_scheduler.decay": [".nan", "x"],
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


OWN = """
from lightning.pytorch import Callback


class Typed(Callback):
    def __init__(
        self,
        either: int | str = 3,
        maybe: int | None = 3,
        many: list[int] = [1],
        pair: tuple[float, float] = (0.0, 1.0),
        optional: list[int] | None = None,
        named: dict[str, int] | None = None,
    ) -> None:
        pass
"""


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("either=null", "is null, but must be a value, such as 3"),
        ("many=null", "is null, but must be a value, such as [1]"),
        ("many=[1,a]", "is [1,a], where a must be int"),
        ("pair=[1,a]", "is [1,a], where a must be float"),
        ("optional=[1,a]", "is [1,a], where a must be int"),
        ("optional=3", "is 3, but must be a list or null"),
        ("named={a: b}", "is {a: b}, where b must be int"),
    ],
)
def test_the_wrong_part_of_a_value_of_the_owner_is_named(
    driver: Driver, driven_project: Path, option: str, answer: str
) -> None:
    (driven_project / "src" / "my_project" / "callbacks" / "typed.py").write_text(OWN)
    callback = "--trainer.callbacks+=my_project.callbacks.typed.Typed"
    key = option.partition("=")[0]
    line = driver.refuse("fit", *DIGITS, callback, f"--trainer.callbacks.{option}")
    assert line == f"trainer.callbacks.{key} {answer}"
    code, output = driver.run("fit", *DIGITS, callback, "--trainer.callbacks.maybe=null")
    assert code == 0, output


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
            "fit D --model.lr_scheduler.warmup .nan",
            "model.lr_scheduler.warmup is .nan, but must be a finite number",
        ),
        ("fit D --trainer.callbacks EarlyStopping", "trainer.callbacks.monitor is missing"),
        (
            'fit D --model.param_groups=[{"params":"net"},{"params":"net.0"}] --model.param_groups.freez=1',
            "model.param_groups.freez is not a known key: did you mean freeze?",
        ),
    ],
)
def test_what_is_answered(driver: Driver, command: str, answer: str) -> None:
    words = [part for word in command.split() for part in (DIGITS if word == "D" else (word,))]
    assert driver.refuse(*words) == answer


def test_a_text_that_yaml_takes_for_a_key_is_shown_in_brackets(driver: Driver) -> None:
    configs = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml")
    line = driver.refuse("fit", *configs, "--data.ids=Unnamed: 0")
    assert ": write it as " in line, line
    problem, mend = line.split(": write it as ")
    assert problem == "data.ids is Unnamed: 0, but must be str or a list or null"
    assert mend == """'["Unnamed: 0"]'"""


def test_an_argument_that_follows_the_data_is_refused_with_their_option(
    driver: Driver, driven_project: Path
) -> None:
    rows = "\n".join(f"{i},{i * i + 1}" for i in range(60))
    (driven_project / "data" / "table.csv").write_text(f"x,y\n{rows}\n")
    configs = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/regression.yaml")
    options = ("--data.target=y", "--data.task=regression", "--model.log_target=true")
    line = driver.refuse("fit", *configs, *options)
    assert line == "model.log_target is true, but the data say false: set --data.log_target instead"


def test_an_option_for_the_last_of_several_entries_of_a_config_is_refused(
    driver: Driver, driven_project: Path
) -> None:
    groups = "[{params: net}, {params: net.0}]"
    (driven_project / "groups.yaml").write_text(
        f"model: {{init_args: {{param_groups: {groups}}}}}\n"
    )
    config = ("-c", "groups.yaml")
    line = driver.refuse("fit", *DIGITS, *config, "--model.param_groups.freeze=1")
    problem, option = line.split(": give all, as ")
    assert problem == "model.param_groups.freeze would change the last of 2 entries alone"
    assert option == "--model.param_groups '[{params: net}, {params: net.0, freeze: 1}]'"


def test_what_is_right_is_accepted(driver: Driver) -> None:
    for option in (
        "--model.monitor=val/acc",
        "--trainer.gradient_clip_val=.inf",
        "--model.num_classes=10",
        '--model.param_groups+={"params":"net"} --model.param_groups.freeze=1',
    ):
        code, output = driver.run("fit", *DIGITS, *option.split())
        assert code == 0, output
