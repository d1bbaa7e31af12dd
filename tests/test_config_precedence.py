"""Default configs, local settings, configs and options: which of them wins."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import DIGITS, succeed
from helpers.trained_project import VERBS


def settings(project: Path, options: str = "") -> Any:
    """Return the configuration that results from these options of `fit` on the digits."""
    return yaml.safe_load(succeed(project, "fit", *DIGITS, *shlex.split(options), "--print_config"))


def test_local_settings_come_after_the_defaults_and_before_c(project: Path) -> None:
    local = {"seed_everything": 7, "trainer": {"max_epochs": 7, "gradient_clip_val": 0.5}}
    (project / "configs" / "local.yaml").write_text(yaml.safe_dump(local))
    config = settings(project)
    assert config["seed_everything"] == 7, "the default is 42"
    assert config["trainer"]["gradient_clip_val"] == 0.5
    assert config["trainer"]["max_epochs"] == 20, "as digits.yaml says"
    assert config["trainer"]["logger"]["init_args"]["default_hp_metric"] is False, (
        "as default.yaml says"
    )
    assert settings(project, "--seed_everything 8")["seed_everything"] == 8


def test_local_settings_hold_for_every_sub_command(project: Path) -> None:
    (project / "configs" / "local.yaml").write_text("seed_everything: 7\n")
    for verb in VERBS:
        assert (
            yaml.safe_load(succeed(project, verb, *DIGITS, "--print_config"))["seed_everything"]
            == 7
        )


def test_local_settings_may_be_commented_out(project: Path) -> None:
    (project / "configs" / "local.yaml").write_text("# trainer:\n#   devices: 2\n")
    assert settings(project)["trainer"]["devices"] == 1


def test_the_later_of_configs_and_options_wins(project: Path) -> None:
    for epochs in (3, 4):
        (project / f"{epochs}.yaml").write_text(f"trainer: {{max_epochs: {epochs}}}\n")
    for options, epochs in {
        "-c 3.yaml -c 4.yaml": 4,
        "-c 4.yaml -c 3.yaml": 3,
        "-c 3.yaml --trainer.max_epochs 5": 5,
        "--trainer.max_epochs 5 -c 3.yaml": 3,
        "--trainer.max_epochs 5 --trainer.max_epochs 6": 6,
    }.items():
        assert settings(project, options)["trainer"]["max_epochs"] == epochs, options


@pytest.mark.parametrize("where", ["on the command line", "in a config", "in local.yaml"])
def test_a_changed_class_keeps_no_arguments_of_the_former_one(project: Path, where: str) -> None:  # noqa: PLR0915
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    scheduler = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2}}
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger"}
    changes: dict[str, Any] = {"trainer": {"logger": logger}}
    options = ""
    if where == "on the command line":
        options = "--trainer.logger CSVLogger --model.optimizer SGD --model.optimizer.lr 0.1"
        options += " --model.lr_scheduler StepLR --model.lr_scheduler.step_size 2"
    elif where == "in a config":
        changes["model"] = {"init_args": {"optimizer": optimizer, "lr_scheduler": scheduler}}
        (project / "changes.yaml").write_text(yaml.safe_dump(changes))
        options = "-c changes.yaml"
    else:
        (project / "configs" / "local.yaml").write_text(yaml.safe_dump(changes))
    config = settings(project, options)
    assert config["trainer"]["logger"]["class_path"].endswith("CSVLogger")
    parameters = {"save_dir", "name", "version", "prefix", "flush_logs_every_n_steps"}
    assert config["trainer"]["logger"]["init_args"].keys() == parameters
    if where == "in local.yaml":  # the model's config comes later
        return
    model = config["model"]["init_args"]
    assert model["optimizer"]["class_path"] == "torch.optim.SGD"
    assert model["optimizer"]["init_args"]["lr"] == 0.1
    assert model["optimizer"]["init_args"]["weight_decay"] == 0, "SGD's default, not AdamW's 0.01"
    assert "betas" not in model["optimizer"]["init_args"]
    assert model["lr_scheduler"]["class_path"] == "torch.optim.lr_scheduler.StepLR"
    assert model["lr_scheduler"]["init_args"] == {"step_size": 2, "gamma": 0.1, "last_epoch": -1}


def test_a_changed_class_keeps_no_argument_that_it_has_too(project: Path) -> None:
    """Arguments that a config gives do not go to another class, but those on the command line stay, in any order."""
    parts = ("model: {init_args: {optimizer: {%s}, lr_scheduler: {%s}}}", "trainer: {logger: {%s}}")
    classes = [
        (
            "torch.optim.AdamW",
            "weight_decay: 0.3, lr: 0.2",
            "torch.optim.lr_scheduler.OneCycleLR",
            "max_lr: 0.7",
        ),
        (
            "torch.optim.SGD",
            "momentum: 0.5, weight_decay: 0.1",
            "torch.optim.lr_scheduler.CyclicLR",
            "base_lr: 0.1, max_lr: 0.4",
        ),
    ]
    loggers = [
        ("TensorBoardLogger", "save_dir: elsewhere, prefix: a"),
        ("CSVLogger", "flush_logs_every_n_steps: 7"),
    ]
    for number, ((optimizer, its, scheduler, theirs), (logger, own)) in enumerate(
        zip(classes, loggers, strict=True)
    ):
        given = [
            f"class_path: {name}, init_args: {{{args}}}"
            for name, args in ((optimizer, its), (scheduler, theirs))
        ]
        logs = f"class_path: lightning.pytorch.loggers.{logger}, init_args: {{{own}}}"
        (project / f"{number}.yaml").write_text(
            parts[0] % tuple(given) + "\n" + parts[1] % logs + "\n"
        )
    by_options = (
        "--model.optimizer.weight_decay 0.1 --model.optimizer=SGD --model.optimizer.momentum 0.5"
    )
    by_options += " --model.lr_scheduler CyclicLR --model.lr_scheduler.base_lr 0.1 --model.lr_scheduler.max_lr 0.4"
    by_options += " --trainer.logger CSVLogger --trainer.logger.flush_logs_every_n_steps 7"
    for change in ("-c 1.yaml", by_options):
        config = settings(project, f"-c 0.yaml {change}")
        optimizer, scheduler = (
            config["model"]["init_args"][key]["init_args"] for key in ("optimizer", "lr_scheduler")
        )
        assert (optimizer["lr"], optimizer["weight_decay"], optimizer["momentum"]) == (
            0.001,
            0.1,
            0.5,
        ), change
        assert (scheduler["base_lr"], scheduler["max_lr"]) == (0.1, 0.4), change
        logger = config["trainer"]["logger"]["init_args"]
        assert (logger["prefix"], logger["flush_logs_every_n_steps"]) == ("", 7), change
        assert logger["save_dir"] == "elsewhere", "where the project logs stays"
    assert settings(project, "-c 0.yaml -c 0.yaml --model.optimizer AdamW")["model"]["init_args"][
        "optimizer"
    ]["init_args"]["weight_decay"] == pytest.approx(0.3), "the same class keeps them"
