"""Misspelt keys and classes, wrong types and values: each is answered in one line."""

import re
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail
from helpers.run_files import record
from helpers.template import sweep
from helpers.trained_project import ONE_CYCLE, QUIET, SHORT, WIDE, go, only, refuse_digits

YAML = {
    "trainer": "trainer: {{{}}}",
    "model": "model: {{init_args: {{{}}}}}",
    "model.net": "model: {{init_args: {{net: {{class_path: my_project.models.wide.WideNet, init_args: {{{}}}}}}}}}",
    "model.optimizer": "model: {{init_args: {{optimizer: {{init_args: {{{}}}}}}}}}",
    "model.lr_scheduler": "model: {{init_args: {{lr_scheduler: {{init_args: {{{}}}}}}}}}",
    "data": "data: {{init_args: {{{}}}}}",
    "trainer.logger": "trainer: {{logger: {{init_args: {{{}}}}}}}",
    "checkpoint": "checkpoint: {{{}}}",
}


def placed(line: str, where: str) -> str:
    """See that a mistake in a config is said to be there, and return what is said of it."""
    if where == "option":
        return line
    found = re.fullmatch(r"\S*mistake\.yaml, line \d+: (.*)", line)
    assert found, line
    return found[1]


@pytest.mark.parametrize("where", ["option", "config"])
@pytest.mark.parametrize(
    ("keys", "misspelt", "right"),
    [
        ("trainer", "max_epoch", "max_epochs"),
        ("trainer", "gradient_clip", "gradient_clip_val"),
        ("model", "optimzer", "optimizer"),
        ("model", "compil", "compile"),
        ("model.net", "in_chanels", "in_channels"),
        ("model.optimizer", "weightdecay", "weight_decay"),
        ("model.lr_scheduler", "warmp", "warmup"),
        ("data", "batchsize", "batch_size"),
        ("trainer.logger", "savedir", "save_dir"),
        ("checkpoint", "monitr", "monitor"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_right_one(
    fitted: Path, tmp_path: Path, where: str, keys: str, misspelt: str, right: str
) -> None:
    (tmp_path / "mistake.yaml").write_text(YAML[keys].format(f"{misspelt}: 1"))
    mistake = (
        f"{WIDE} --{keys}.{misspelt} 1" if where == "option" else f"-c {tmp_path}/mistake.yaml"
    )
    line = placed(refuse_digits(fitted, f"fit {mistake}"), where)
    assert re.fullmatch(
        rf"{keys}\.{misspelt} is not a known key: did you mean ({keys}\.)?{right}\?", line
    ), line


@pytest.mark.parametrize("where", ["option", *sweep("config")])
@pytest.mark.parametrize(
    ("key", "misspelt", "right"),
    [
        ("model", "my_project.modules.classification.ClassifcationModule", "ClassificationModule"),
        ("model.net", "my_project.models.simplenet.Simplenet", "SimpleNet"),
        ("model.optimizer", "torch.optim.Adan", "Adam"),
        ("model.lr_scheduler", "torch.optim.lr_scheduler.OneCycle", "OneCycleLR"),
        ("data", "my_project.data_modules.digits.DigitDataModule", "DigitsDataModule"),
        ("trainer.logger", "lightning.pytorch.loggers.CSVLoger", "CSVLogger"),
    ],
)
def test_a_misspelt_class_is_answered_with_the_right_one(
    fitted: Path, tmp_path: Path, where: str, key: str, misspelt: str, right: str
) -> None:
    line = refuse_class(fitted, tmp_path, where, key, misspelt)
    module, _, name = misspelt.rpartition(".")
    assert line == f"{key}: {module} has no {name}: did you mean {right}?"


@pytest.mark.parametrize("where", ["option", *sweep("config")])
@pytest.mark.parametrize("name", ["nothing.Missing", "Missing"])
@pytest.mark.parametrize(
    "key", ["model", "model.net", "model.optimizer", "model.lr_scheduler", "data", "trainer.logger"]
)
def test_a_class_that_cannot_be_imported_is_named(
    fitted: Path, tmp_path: Path, where: str, key: str, name: str
) -> None:
    line = refuse_class(fitted, tmp_path, where, key, name)
    assert line.startswith(key), line
    assert name in line
    assert not line.endswith("must be null"), "which says nothing about the mistake"
    assert len(line) < 300, line


@pytest.mark.parametrize("where", ["option", *sweep("config")])
@pytest.mark.parametrize(
    ("key", "base"), [("model", "LightningModule"), ("data", "LightningDataModule")]
)
def test_a_class_of_another_kind_is_refused_with_the_right_kind(
    fitted: Path, tmp_path: Path, where: str, key: str, base: str
) -> None:
    line = refuse_class(fitted, tmp_path, where, key, "torch.nn.Linear")
    assert line.startswith(key) and "torch.nn.Linear" in line and base in line, line


def refuse_class(project: Path, folder: Path, where: str, key: str, name: str) -> str:
    """See a class refused under this key, on the command line or in a config."""
    outer, _, inner = key.rpartition(".")
    (folder / "mistake.yaml").write_text(
        YAML[outer].format(f"{inner}: {{class_path: {name}}}")
        if outer
        else f"{key}: {{class_path: {name}}}"
    )
    mistake = f"--{key} {name}" if where == "option" else f"-c {folder}/mistake.yaml"
    return placed(refuse_digits(project, f"fit {mistake}"), where)


@pytest.mark.parametrize("where", ["option", *sweep("config")])
@pytest.mark.parametrize(
    ("keys", "name", "expected"),
    [
        ("trainer", "max_epochs", "int"),
        ("model", "compile", "bool"),
        ("model.net", "in_channels", "int"),
        ("data", "batch_size", "int"),
        ("checkpoint", "mode", "'min'"),
    ],
)
def test_a_wrong_type_is_answered_with_the_right_one(
    fitted: Path, tmp_path: Path, where: str, keys: str, name: str, expected: str
) -> None:
    (tmp_path / "mistake.yaml").write_text(YAML[keys].format(f"{name}: many"))
    mistake = f"{WIDE} --{keys}.{name} many" if where == "option" else f"-c {tmp_path}/mistake.yaml"
    line = placed(refuse_digits(fitted, f"fit {mistake}"), where)
    assert line.startswith(f"{keys}.{name} is many, but must be ")
    assert expected in line


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [
        ("seed_everything", "-5", "0"),
        ("data.batch_size", "0", "1"),
        ("data.num_workers", "-1", "0"),
        ("model.optimizer.lr", "-1.0", "0"),
        ("model.optimizer.weight_decay", "-0.1", "0"),
        ("model.lr_scheduler.total_steps", "-1", "1"),
        ("model.lr_scheduler.warmup", "-1.0", "0"),
        ("trainer.accumulate_grad_batches", "0", "1"),
        ("trainer.check_val_every_n_epoch", "0", "1"),
        ("trainer.gradient_clip_val", "-1.0", "0"),
        ("trainer.log_every_n_steps", "0", "1"),
        ("trainer.val_check_interval", "0", "1e-06"),
    ],
)
def test_a_number_that_is_too_small_is_answered_with_the_least(
    fitted: Path, key: str, value: str, least: str
) -> None:
    assert (
        refuse_digits(fitted, f"fit --{key} {value}")
        == f"{key} is {value}, but must be at least {least}"
    )


@pytest.mark.parametrize("schedule", [("StepLR", "step_size"), ("CosineAnnealingLR", "T_max")])
def test_a_schedule_of_no_length_is_refused(fitted: Path, schedule: tuple[str, str]) -> None:
    name, key = schedule
    line = refuse_digits(fitted, f"fit --model.lr_scheduler {name} --model.lr_scheduler.{key} 0")
    assert line == f"model.lr_scheduler.{key} is 0, but must be at least 1"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--seed_everything 99999999999", "99999999999 is not in bounds"),
        ("--trainer.max_epochs -5", "max_epochs -5"),
        ("--trainer.accelerator nope", "accelerator nope auto"),
        ("--trainer.accelerator cpu --trainer.devices -7", "devices int > 0"),
        ("--trainer.strategy nope", "strategy nope ddp"),
        ("--trainer.num_nodes 0", "num_nodes positive 0"),
        ("--trainer.limit_train_batches 1.5", "limit_train_batches 1.5"),
        ("--trainer.barebones true", "barebones logger"),
    ],
)
def test_what_lightning_refuses_is_said_in_a_line(fitted: Path, option: str, words: str) -> None:
    line = refuse_digits(fitted, f"fit {option}")
    assert all(word in line for word in words.split()), line


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--model.optimizer.betas [2,3]", "beta 2.0"),
        ("--model.optimizer SGD --model.optimizer.nesterov true", "Nesterov momentum"),
        (f"{ONE_CYCLE} --model.lr_scheduler.pct_start 3", "pct_start 3.0 between 0 and 1"),
        (
            "--trainer.max_epochs -1 --trainer.max_time 00:00:01:00",
            "WarmupSchedule has no end trainer.max_epochs",
        ),
        (
            f"{ONE_CYCLE} --model.lr_scheduler.total_steps 1",
            "OneCycleLR ends after 1 of steps leave out",
        ),
        ("--trainer.val_check_interval 1000", "val_check_interval 1000 batches"),
        ("--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor nope", "nope val/loss"),
        ("--checkpoint.monitor nope", "nope val/loss"),
    ],
)
def test_what_is_noticed_when_the_training_begins_is_said_in_a_line(
    fitted: Path, option: str, words: str
) -> None:
    name = re.sub(r"[^\w-]+", "_", option.strip("-"))
    line = fail(fitted, "fit", *DIGITS, *QUIET, *SHORT.split(), f"--name={name}", *option.split())
    assert all(word in line for word in words.split()), line
    assert record(only(fitted / "logs" / name))["status"] == "failed"


@pytest.mark.parametrize(
    "callback", ["StochasticWeightAveraging --trainer.callbacks.swa_lrs 0.01", "WeightAveraging"]
)
def test_callbacks_that_copy_the_module_work(fitted: Path, callback: str) -> None:
    options = f"--name {callback.split()[0]} --trainer.callbacks+={callback} --test_after_fit true"
    output = go(fitted, f"fit {options} --trainer.max_epochs 4 --trainer.limit_train_batches 20")
    assert "test/acc" in output
