"""The command line of a rendered project, on the bundled digits: what each command does, leaves behind and refuses."""

import csv
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import DIGITS, fail, run_warm, succeed
from helpers.server import Server
from helpers.template import Render, git, sweep

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SHORT = "--trainer.max_epochs=1 --trainer.limit_train_batches=2"
VERBS = ("fit", "validate", "test", "predict")


# Tools ----------------------------------------------------------------------------------------------------------------


def start(command: list[str | Path], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run any command in a process of its own, on the CPU."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def started(command: list[str | Path], cwd: Path, **env: str) -> str:
    """Run the command, see it succeed, and return all that it prints."""
    done = start(command, cwd, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def go(project: Path, line: str) -> str:
    """Run a sub-command with options on the digits, see it succeed, and return all that it prints."""
    verb, *options = shlex.split(line)
    return succeed(project, verb, *DIGITS, *QUIET, *options)


def told(output: str, what: str) -> str:
    """Return what the output says of this: the rest of its one line."""
    (found,) = re.findall(rf"^{what}: (.*)$", output, re.M)
    return str(found)


def fit(project: Path, options: str) -> Path:
    """Train and return the run's directory."""
    directory = project / told(go(project, f"fit {options}"), "Run directory")
    assert directory.parent.parent == project / "logs"
    return directory


def refuse(project: Path, *args: str) -> str:
    """Run the command, see it refused in one line without leaving anything behind, and return that line."""
    before = sorted(project.glob("logs/**/*"))
    done = run_warm(project, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    usual = ("Seed set to", "GPU available:", "TPU available:", "Checkpoint:")
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(usual)
    ]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert sorted(project.glob("logs/**/*")) == before
    return lines[0].removeprefix("error: ")


def refuse_digits(project: Path, line: str) -> str:
    """Do so with options on the digits."""
    verb, *options = shlex.split(line)
    return refuse(project, verb, *DIGITS, *QUIET, *options)


def settings(project: Path, options: str = "") -> Any:
    """Return the configuration that results from these options of `fit` on the digits."""
    return yaml.safe_load(succeed(project, "fit", *DIGITS, *shlex.split(options), "--print_config"))


def saved(directory: Path) -> Any:
    """Return the configuration in a run's directory."""
    return yaml.safe_load((directory / "config.yaml").read_text())


def record(directory: Path) -> Any:
    """Return what a run's `run.json` says."""
    return json.loads((directory / "run.json").read_text())


def only(folder: Path) -> Path:
    """Return the only entry of a folder."""
    (entry,) = folder.iterdir()
    return entry


def best(directory: Path) -> Path:
    return directory / "checkpoints" / "best.ckpt"


def last(directory: Path) -> Path:
    return directory / "checkpoints" / "last.ckpt"


def load(path: Path) -> Any:
    """Load a checkpoint without running any code that may be in it."""
    return torch.load(path, weights_only=True)


def metric(output: str, name: str) -> float:
    """Return the value of this metric from the table that the output ends with."""
    return float(re.findall(rf"{name}\W+([\d.e-]+|nan)", output)[-1])


def metrics(directory: Path, name: str) -> list[float]:
    """Return the values of this metric from the CSVLogger's file."""
    with (directory / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def write(project: Path, name: str, code: str) -> None:
    """Write a module of the user's own into the project's package."""
    (project / "src" / "my_project" / name).write_text(textwrap.dedent(code))


WIDE = "--model.net my_project.models.wide.WideNet"  # a network that has an argument


@pytest.fixture(scope="module")
def fitted(default_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run, exp1. Tests add runs of other names, and change nothing else."""
    project = shutil.copytree(default_project, tmp_path_factory.mktemp("fitted") / "my-project")
    fit(project, "--name exp1 --trainer.max_epochs 2")
    write(
        project,
        "models/wide.py",
        """
        from collections.abc import Sequence

        from .simplenet import SimpleNet


        class WideNet(SimpleNet):
            def __init__(self, num_classes: int, input_shape: Sequence[int], in_channels: int = 1) -> None:
                super().__init__(num_classes, (in_channels, *input_shape[1:]))
        """,
    )
    return project


@pytest.fixture(scope="module")
def exp1(fitted: Path) -> Path:
    """The directory of that run."""
    return next(fitted.glob("logs/exp1/*/checkpoints")).parent


@pytest.fixture
def repository(project: Path) -> Path:
    """A project whose files are committed."""
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Start")
    return project


@pytest.fixture(scope="module")
def wandb_project(render: Render) -> Path:
    return render(loggers=["wandb"])


# Where it is started --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_sub_command_says_what_its_options_are(project: Path, verb: str) -> None:
    text = succeed(project, verb, "--help")
    assert text.startswith("usage: main.py")
    for option in ("--trainer.max_epochs", "--checkpoint.monitor", "--data.help", "--name"):
        assert option in text
    assert ("--test_after_fit" in text) == ("--git_commit_before_fit" in text) == (verb == "fit")


def test_help_lists_the_sub_commands(project: Path) -> None:
    text = succeed(project, "--help")
    assert all(re.search(rf"^ +{verb} ", text, re.M) for verb in VERBS), text


@pytest.mark.parametrize(
    ("option", "argument", "explanation"),
    [
        (
            "--data.help=my_project.data_modules.digits.DigitsDataModule",
            "--data.val_size",
            "a tenth of it if 0",
        ),
        (
            "--data.help=my_project.data_modules.in_memory.InMemoryDataModule",
            "--data.split_seed",
            "Seed of",
        ),
        (
            "--model.help=my_project.modules.classification.ClassificationModule",
            "--model.compile",
            "to compile the",
        ),
        (
            "--trainer.logger.help=CSVLogger",
            "--trainer.logger.flush_logs_every_n_steps",
            "How often",
        ),
    ],
)
def test_help_explains_the_arguments_of_a_class(
    project: Path, option: str, argument: str, explanation: str
) -> None:
    text = succeed(project, "fit", option)
    assert f"  {argument} " in text
    assert explanation in " ".join(text.split())


def test_the_printed_configuration_can_be_passed_with_c(project: Path) -> None:
    text = succeed(
        project, "fit", *DIGITS, "--name=again", "--trainer.max_epochs=3", "--print_config"
    )
    (project / "all.yaml").write_text(text)
    assert succeed(project, "fit", "-c", "all.yaml", "--print_config") == text
    succeed(project, "fit", "-c", "all.yaml", *QUIET, *SHORT.split())
    assert last(only(project / "logs" / "again")).exists()


def test_relative_configs_and_logs_from_a_folder_of_the_project(project: Path) -> None:
    configs = ["-c", "../configs/data/digits.yaml", "-c", "../configs/model/simplenet.yaml"]
    command: list[str | Path] = [
        sys.executable,
        "../src/main.py",
        "fit",
        *configs,
        *QUIET,
        *SHORT.split(),
    ]
    output = started([*command, "--name=inside"], project / "notebooks")
    directory = only(project / "logs" / "inside")
    assert told(output, "Run directory") == f"../logs/inside/{directory.name}"
    assert {path.name for path in (project / "notebooks").iterdir()} == {".gitkeep"}
    tested = succeed(project, "test", *configs, *QUIET, "--name=inside", cwd=project / "notebooks")
    assert told(tested, "Checkpoint") == f"../logs/inside/{directory.name}/checkpoints/best.ckpt"


def test_an_unrelated_folder_stays_empty(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    configs = [
        "-c",
        f"{project}/configs/data/digits.yaml",
        "-c",
        f"{project}/configs/model/simplenet.yaml",
    ]
    succeed(project, "fit", *configs, *QUIET, *SHORT.split(), "--name=outside", cwd=folder)
    directory = only(project / "logs" / "outside")
    assert {path.name.split(".")[0] for path in directory.iterdir()} == {
        "checkpoints",
        "code",
        "config",
        "events",
        "hparams",
        "metrics",
        "run",
    }
    assert not list(folder.iterdir())


def test_the_package_is_a_command_too(project: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "my_project",
        "fit",
        *DIGITS,
        *QUIET,
        *SHORT.split(),
    ]
    started([*command, "--name=module"], project, PYTHONPATH="src")
    assert last(only(project / "logs" / "module")).exists()


def install(project: Path, folder: Path, *options: str) -> Path:
    """Install the project into an environment of its own, which borrows the dependencies; return its command."""
    venv.create(folder, symlinks=True, with_pip=False)
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "borrowed.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-index",
    ]
    started(
        [
            *pip,
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            *options,
            project,
        ],
        project,
    )
    return folder / "bin" / "my-project"


def test_installed_as_editable_the_command_knows_its_project_from_everywhere(
    project: Path, tmp_path: Path
) -> None:
    command = install(project, tmp_path / "venv", "--editable")
    configs = [
        "-c",
        f"{project}/configs/data/digits.yaml",
        "-c",
        f"{project}/configs/model/simplenet.yaml",
    ]
    started([command, "fit", *configs, *QUIET, *SHORT.split(), "--name=editable"], tmp_path)
    assert last(only(project / "logs" / "editable")).exists()


def test_installed_as_a_copy_the_command_finds_the_project_that_the_user_stands_in(
    project: Path, tmp_path: Path
) -> None:
    command = install(project, tmp_path / "venv")
    shutil.rmtree(project / "src")
    configs = ["-c", "../configs/data/digits.yaml", "-c", "../configs/model/simplenet.yaml"]
    started(
        [command, "fit", *configs, *QUIET, *SHORT.split(), "--name=copy"], project / "notebooks"
    )
    assert last(only(project / "logs" / "copy")).exists()

    outside = start([command, "fit", "--help"], tmp_path)
    assert outside.returncode == 1 and not outside.stdout
    assert outside.stderr == (
        f"error: no .project-root in {tmp_path} or above it: run the command inside the project\n"
    )


# What a run leaves ----------------------------------------------------------------------------------------------------


def test_a_run_is_one_directory(exp1: Path) -> None:
    names = {str(path.relative_to(exp1)) for path in exp1.rglob("*") if path.is_file()}
    assert {name for name in names if "tfevents" not in name} - {
        "predictions.csv"
    } == {  # which other tests make
        "config.yaml",
        "code.patch",
        "hparams.yaml",
        "metrics.csv",
        "run.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert any("tfevents" in name for name in names)


def test_predictions_are_a_table_of_all_held_out_samples(fitted: Path) -> None:
    path = fitted / told(go(fitted, "predict --name exp1"), "Predictions")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(i) for i in range(360)]
    for row in rows:
        probability = [float(row[f"p{i}"]) for i in range(10)]
        assert math.isclose(sum(probability), 1, abs_tol=1e-4)
        assert probability.index(max(probability)) == int(row["class"])


def test_predictions_agree_with_the_tested_accuracy(fitted: Path) -> None:
    check = """
        from my_project.data_modules.digits import DigitsDataModule
        print(*DigitsDataModule().load(train=False).tensors[1].tolist())
    """
    labels = started(
        [sys.executable, "-c", textwrap.dedent(check)], fitted, PYTHONPATH="src"
    ).split()
    path = fitted / told(go(fitted, "predict --name exp1"), "Predictions")
    with path.open() as file:
        right = [
            row["class"] == label for row, label in zip(csv.DictReader(file), labels, strict=True)
        ]
    assert sum(right) / 360 == pytest.approx(
        metric(go(fitted, "test --name exp1"), "test/acc"), abs=1e-6
    )


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_metrics_are_means_over_samples_however_they_are_batched(fitted: Path, verb: str) -> None:
    small, large = (go(fitted, f"{verb} --name exp1 --data.batch_size {size}") for size in (7, 360))
    for name in ("acc", "loss"):
        assert metric(small, f"/{name}") == pytest.approx(metric(large, f"/{name}"), rel=1e-5)


def test_a_fast_run_leaves_nothing_behind(fitted: Path) -> None:
    before = sorted(fitted.glob("logs/**/*"))
    go(fitted, "fit --trainer.fast_dev_run true --name fast --test_after_fit true")
    assert sorted(fitted.glob("logs/**/*")) == before


@pytest.mark.parametrize(
    "logger",
    ["", "--trainer.logger CSVLogger --trainer.logger.save_dir logs", "--trainer.logger false"],
    ids=["tensorboard", "csv", "none"],
)
def test_the_configuration_beside_the_checkpoints_starts_the_same_run_again(
    fitted: Path, logger: str
) -> None:
    first = fit(
        fitted, f"{SHORT} --name saved {logger} --model.optimizer.lr 0.003 --test_after_fit true"
    )
    config = saved(first)
    assert best(first).exists()
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.003
    assert not config.keys() & {"ckpt_path", "test_after_fit", "git_commit_before_fit"}

    output = succeed(fitted, "fit", "-c", str(first / "config.yaml"))
    assert "Tested:" not in output
    again = fitted / told(output, "Run directory")
    assert again != first and again.parent == first.parent
    assert saved(again) == config
    old, new = load(last(first))["state_dict"], load(last(again))["state_dict"]
    assert all(torch.equal(value, new[key]) for key, value in old.items())


def test_the_saved_configuration_is_all_that_a_test_needs(fitted: Path, exp1: Path) -> None:
    output = succeed(fitted, "test", "-c", str(exp1 / "config.yaml"), *QUIET)
    assert told(output, "Checkpoint") == str(best(exp1).relative_to(fitted))


def test_optimizer_and_scheduler_are_among_the_loggers_hyperparameters(exp1: Path) -> None:
    parameters = yaml.safe_load((exp1 / "hparams.yaml").read_text())
    assert parameters["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert parameters["optimizer"]["init_args"]["weight_decay"] == 0.01
    assert parameters["lr_scheduler"]["class_path"] == "torch.optim.lr_scheduler.OneCycleLR"
    assert parameters["lr_scheduler"]["init_args"]["max_lr"] == 0.01


# Which checkpoint -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice(fitted: Path) -> list[Path]:
    """The directories of two runs of the same name, the older one first."""
    return [fit(fitted, f"{SHORT} --name twice --seed_everything {seed}") for seed in (1, 2)]


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("which", ["", "last"])
def test_the_newest_run_is_taken_and_named(
    fitted: Path, twice: list[Path], verb: str, which: str
) -> None:
    newer, before = twice[1], [len(record(directory)["commands"]) for directory in twice]
    output = go(fitted, f"{verb} --name twice" + (f" --ckpt_path {which}" if which else ""))
    path = last(newer) if which else best(newer)
    assert told(output, "Checkpoint") == str(path.relative_to(fitted))
    assert f"Loaded model weights from the checkpoint at {path}" in output
    assert told(output, "Run directory") == str(newer.relative_to(fitted))
    assert [len(record(directory)["commands"]) for directory in twice] == [before[0], before[1] + 1]


def test_an_explicit_checkpoint_is_taken(fitted: Path, twice: list[Path]) -> None:
    older = twice[0]
    path = last(older).relative_to(fitted)
    output = go(fitted, f"test --name twice --ckpt_path {path}")
    assert f"Loaded model weights from the checkpoint at {path}" in output
    assert told(output, "Checkpoint") == str(path)
    assert told(output, "Run directory") == str(older.relative_to(fitted))


def test_a_checkpoint_that_was_moved_is_tested_in_a_directory_of_its_own(
    fitted: Path, exp1: Path
) -> None:
    shutil.copy(best(exp1), fitted / "moved.ckpt")
    go(fitted, "test --name moved --ckpt_path moved.ckpt")
    assert record(only(fitted / "logs" / "moved"))["metrics"].keys() == {"test/acc", "test/loss"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_has_no_checkpoint_is_refused(fitted: Path, verb: str) -> None:
    line = refuse_digits(fitted, f"{verb} --name nothing" + " --ckpt_path last" * (verb == "fit"))
    assert line.startswith(
        "there is no run nothing in logs: train one with fit, or name another with --run"
    )


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_random_weights_are_never_tested(project: Path, verb: str) -> None:
    line = refuse_digits(project, verb)
    assert line.startswith("there is no run default in logs: train one with fit")


@pytest.mark.parametrize("logger", ["", "--trainer.logger CSVLogger", "--trainer.logger false"])
def test_the_loggers_name_is_the_name(fitted: Path, logger: str) -> None:
    name = f"named{len(logger)}"
    directory = fit(fitted, f"{SHORT} {logger} --trainer.logger.name {name}")
    assert directory.parent == fitted / "logs" / name
    output = go(fitted, f"test {logger} --trainer.logger.name={name}")
    assert told(output, "Checkpoint") == str(best(directory).relative_to(fitted))
    assert told(go(fitted, f"test --name {name}"), "Checkpoint") == str(
        best(directory).relative_to(fitted)
    )


@pytest.mark.parametrize("name", ["a/b", "../x", "..", "/tmp/x", "a b", "$(touch x)"])
@pytest.mark.parametrize("option", ["--name", *sweep("--trainer.logger.name")])
def test_a_name_that_is_no_folder_name_is_refused(fitted: Path, name: str, option: str) -> None:
    line = refuse(fitted, "fit", *DIGITS, *QUIET, f"{option}={name}")
    assert line.startswith("name is ") and "letters, digits" in line


# Configs and options --------------------------------------------------------------------------------------------------


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


# Testing after training -----------------------------------------------------------------------------------------------

# The learning rate of the second epoch is so large that the first epoch's checkpoint is the best.
DIVERGE = (
    "--trainer.max_epochs 2 --model.lr_scheduler StepLR"
    " --model.lr_scheduler.step_size 1 --model.lr_scheduler.gamma 3e3"
)


@pytest.mark.parametrize(
    "second",
    [
        "",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor train/loss --trainer.callbacks.mode max",
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val/acc --trainer.callbacks.mode min",
    ],
    ids=[
        "the project's checkpoints alone",
        "a second one by another metric",
        "a second one by the same metric",
    ],
)
def test_after_training_the_best_checkpoint_is_tested_and_named(project: Path, second: str) -> None:
    output = go(project, f"fit --name diverged --test_after_fit true {DIVERGE} {second}")
    directory = only(project / "logs" / "diverged")
    assert told(output, "Tested") == str(best(directory).relative_to(project))
    assert load(best(directory))["epoch"] == 0
    tested = go(project, "test --name diverged")
    assert told(tested, "Checkpoint") == str(best(directory).relative_to(project))
    for name in ("test/acc", "test/loss"):
        assert metric(output, name) == pytest.approx(metric(tested, name), abs=1e-6)
    assert metric(output, "test/acc") > 0.8, "which the weights at the end are far from"


@pytest.mark.parametrize("test", [True, False])
def test_without_checkpoints_training_and_testing_work(fitted: Path, test: bool) -> None:
    name = f"none{test}".lower()
    options = f"{SHORT} --name {name} --trainer.enable_checkpointing false --test_after_fit {test}"
    output = go(fitted, f"fit {options}")
    assert not list((fitted / "logs" / name).rglob("*.ckpt"))
    assert ("Tested: the weights at the end" in output) == ("test/acc" in output) == test


# Committing before training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logger", ["", "--trainer.logger CSVLogger", "--trainer.logger false"])
def test_a_commit_is_named_after_the_run(repository: Path, logger: str) -> None:
    (repository / "new.txt").write_text("new")
    (repository / "README.md").write_text("changed")
    output = go(repository, f"fit {SHORT} --name exp1 {logger} --git_commit_before_fit true")
    message = f"exp1_{only(repository / 'logs' / 'exp1').name}"
    assert git(repository, "log", "-1", "--format=%B").strip() == message
    assert told(output, "Git") == f"committed {message}"
    assert set(git(repository, "show", "--name-only", "--format=").split()) == {
        "README.md",
        "new.txt",
    }
    assert not git(repository, "status", "--porcelain")


def test_a_clean_tree_is_said_and_trained(repository: Path) -> None:
    output = go(repository, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert "clean" in told(output, "Git")
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"
    assert last(only(repository / "logs" / "exp1")).exists()


def test_no_repository_is_said_and_trained(project: Path) -> None:
    output = go(project, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert "no repository" in told(output, "Git")
    assert last(only(project / "logs" / "exp1")).exists()


def test_nothing_is_committed_unasked(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    fit(repository, f"{SHORT} --name exp1")
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"


@pytest.mark.parametrize(
    "poison", ["$(touch hacked)", "`touch hacked`", '"; touch hacked; "', "' && touch hacked #"]
)
def test_no_shell_sees_a_name_or_an_id(repository: Path, poison: str) -> None:
    refuse(repository, "fit", *DIGITS, *QUIET, f"--name={poison}", "--git_commit_before_fit=true")
    (repository / "new.txt").write_text("new")
    options = [f"--trainer.logger.version={poison}", "--git_commit_before_fit=true", "--name=exp1"]
    succeed(repository, "fit", *DIGITS, *QUIET, *SHORT.split(), *options)
    assert not list(repository.rglob("hacked"))
    assert (
        git(repository, "log", "-1", "--format=%B").strip()
        == f"exp1_{only(repository / 'logs' / 'exp1').name}"
    )


def test_a_hook_that_fails_stops_the_training_in_one_line(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho 'trailing space' >&2\necho 'in a.py' >&2\nexit 1\n")
    hook.chmod(0o755)
    (repository / "new.txt").write_text("new")
    line = refuse_digits(repository, f"fit {SHORT} --name exp1 --git_commit_before_fit true")
    assert line.startswith("cannot commit before fit") and "trailing space in a.py" in line
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "1"


# Weights & Biases -----------------------------------------------------------------------------------------------------


def test_wandb_works_offline_without_an_account_and_a_run_goes_on_under_its_id(
    wandb_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(wandb_project, tmp_path / "my-project")
    git(project, "init", "--quiet")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    options = "--name exp1 --model.lr_scheduler null --trainer.log_every_n_steps 1 --trainer.limit_train_batches 3"
    first = fit(project, f"{options} --trainer.max_epochs 1 --git_commit_before_fit true")
    assert git(project, "log", "-1", "--format=%B").strip() == f"exp1_{first.name}"
    assert saved(first)["trainer"]["logger"]["init_args"]["offline"] is True
    assert {path.name.rpartition("-run-")[0] for path in (first / "wandb").glob("offline-*")} <= {
        "offline",
        "",
    }
    (record,) = first.glob("wandb/offline-run-*/*.wandb")
    assert record.name == f"run-{first.name}.wandb"
    for value in (
        b"weight_decay",
        b"OneCycleLR" if "OneCycle" in options else b"AdamW",
        b"val/acc",
    ):
        assert value in record.read_bytes(), (
            "hyperparameters and metrics are in what will be synced"
        )

    succeed(project, "fit", "--run=exp1", "--trainer.max_epochs=2", *QUIET)
    assert first == only(project / "logs" / "exp1")
    assert load(last(first))["epoch"] == 1
    records = list(first.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in records] == [record.name] * 2
    assert saved(first)["trainer"]["max_epochs"] == 2

    again = project / told(
        succeed(project, "fit", "-c", str(first / "config.yaml"), *QUIET), "Run directory"
    )
    assert again != first, "a new run with the same settings"
    assert saved(again)["model"] == saved(first)["model"]


def test_without_wandb_there_is_no_trace_of_it(default_project: Path) -> None:
    for path in default_project.rglob("*"):
        assert "wandb" not in path.name.lower()
        if path.is_file():
            assert b"wandb" not in path.read_bytes().lower(), path


# Resuming -------------------------------------------------------------------------------------------------------------

CONSTANT = "--model.lr_scheduler null --trainer.limit_train_batches 3"


@pytest.fixture(scope="module")
def interrupted(fitted: Path) -> Path:
    """The directory of a run of one epoch and three steps; tests resume it under other names."""
    return fit(fitted, f"--name interrupted --trainer.max_epochs 1 {CONSTANT}")


def test_the_last_checkpoint_is_that_of_the_last_epoch_even_if_it_is_not_the_best(
    fitted: Path,
) -> None:
    directory = fit(fitted, f"--name last {DIVERGE}")
    assert load(best(directory))["epoch"] == 0
    assert load(last(directory))["epoch"] == 1


def test_a_resumed_run_goes_on_where_it_stopped(fitted: Path, interrupted: Path) -> None:
    output = go(
        fitted, f"fit --name interrupted --trainer.max_epochs 3 {CONSTANT} --ckpt_path last"
    )
    path = last(interrupted)
    assert told(output, "Checkpoint") == str(path.relative_to(fitted))
    assert f"Restored all states from the checkpoint at {path}" in output
    resumed = fitted / told(output, "Run directory")
    assert [load(path)["epoch"], load(path)["global_step"]] == [0, 3]
    assert [load(last(resumed))["epoch"], load(last(resumed))["global_step"]] == [2, 9]
    shutil.rmtree(resumed)  # so that `interrupted` is the newest again


def test_options_win_over_what_the_checkpoint_remembers(fitted: Path, interrupted: Path) -> None:
    options = "--model.optimizer.weight_decay 0.5 --data.batch_size 16"
    checkpoint = f"--ckpt_path {last(interrupted)}"
    resumed = fit(fitted, f"--name other --trainer.max_epochs 2 {CONSTANT} {options} {checkpoint}")
    assert saved(resumed)["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.5
    assert saved(resumed)["data"]["init_args"]["batch_size"] == 16
    assert load(last(resumed))["hyper_parameters"]["optimizer"]["init_args"]["weight_decay"] == 0.5


def test_the_optimizer_uses_what_the_saved_configuration_says(
    fitted: Path, interrupted: Path
) -> None:
    options = f"--model.optimizer.weight_decay 0.5 --ckpt_path {last(interrupted)}"
    resumed = fit(fitted, f"--name decay --trainer.max_epochs 2 {CONSTANT} {options}")
    used = load(last(resumed))["optimizer_states"][0]["param_groups"][0]["weight_decay"]
    assert used == saved(resumed)["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_checkpoint_of_another_model_is_refused(fitted: Path, verb: str) -> None:
    line = refuse_digits(
        fitted, f"{verb} --name exp1 --ckpt_path last {WIDE} --model.net.in_channels 3"
    )
    assert (
        "last.ckpt is a checkpoint of another model: net.0.weight is (6, 1, 5, 5) there and (6, 3, 5, 5)"
        in line
    )


def test_a_one_cycle_schedule_cannot_be_prolonged(fitted: Path, exp1: Path) -> None:
    options = ["--name=longer", "--trainer.max_epochs=3", f"--ckpt_path={last(exp1)}"]
    line = fail(fitted, "fit", *DIGITS, *QUIET, *options)
    assert "OneCycleLR ends after 80 of 120 steps" in line


def test_an_interrupted_one_cycle_schedule_goes_on(project: Path) -> None:
    write(
        project,
        "callbacks/stop.py",
        """
        from lightning.pytorch import Callback, LightningModule, Trainer


        class StopAfterOneEpoch(Callback):
            def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                trainer.should_stop = True
        """,
    )
    options = "--name cycle --trainer.max_epochs 2 --trainer.limit_train_batches 3"
    stopped = scheduler(
        fit(project, f"{options} --trainer.callbacks+=my_project.callbacks.stop.StopAfterOneEpoch")
    )
    assert (stopped["last_epoch"], stopped["total_steps"]) == (3, 6)
    resumed = scheduler(fit(project, f"{options} --ckpt_path last"))
    assert (resumed["last_epoch"], resumed["total_steps"]) == (6, 6)


# Optimizers and schedulers --------------------------------------------------------------------------------------------


def scheduler(directory: Path) -> dict[str, Any]:
    """Return the state of the scheduler at the end of a run."""
    (state,) = load(last(directory))["lr_schedulers"]
    assert isinstance(state, dict)
    return state


def test_one_cycle_spans_all_batches(exp1: Path) -> None:
    state = scheduler(exp1)
    assert state["total_steps"] == state["last_epoch"] == 2 * math.ceil(1257 / 32)
    assert state["_last_lr"][0] < 1e-4, "it ends far below where it starts"


def test_one_cycle_counts_optimizer_steps_not_batches(fitted: Path) -> None:
    options = (
        "--trainer.max_epochs 2 --trainer.limit_train_batches 5 --trainer.accumulate_grad_batches 2"
    )
    state = scheduler(fit(fitted, f"--name accumulated {options}"))
    assert state["total_steps"] == state["last_epoch"] == 2 * 3


def test_one_cycle_takes_a_length_that_is_given(fitted: Path) -> None:
    assert (
        scheduler(fit(fitted, f"--name given {SHORT} --model.lr_scheduler.total_steps 50"))[
            "total_steps"
        ]
        == 50
    )


def test_cyclic_schedules_step_after_every_batch(fitted: Path) -> None:
    options = "--model.lr_scheduler CyclicLR --model.lr_scheduler.base_lr 0.001 --model.lr_scheduler.max_lr 0.003"
    options += " --model.lr_scheduler.step_size_up 4"
    state = scheduler(
        fit(
            fitted,
            f"--name cyclic {options} --trainer.max_epochs 1 --trainer.limit_train_batches 4",
        )
    )
    assert state["last_epoch"] == 4
    assert state["_last_lr"] == [pytest.approx(0.003)]


def test_other_schedules_step_after_every_epoch(fitted: Path) -> None:
    options = "--model.lr_scheduler StepLR --model.lr_scheduler.step_size 1 --model.lr_scheduler.gamma 0.5"
    state = scheduler(
        fit(fitted, f"--name step {options} --trainer.max_epochs 2 --trainer.limit_train_batches 3")
    )
    assert state["last_epoch"] == 2
    assert state["_last_lr"] == [pytest.approx(0.00025)]


def test_null_means_a_constant_learning_rate_and_adamw(fitted: Path) -> None:
    checkpoint = load(
        last(fit(fitted, f"--name plain {SHORT} --model.lr_scheduler null --model.optimizer null"))
    )
    assert not checkpoint["lr_schedulers"]
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.001, (0.9, 0.999), 0.01)


PLATEAU = "--model.lr_scheduler torch.optim.lr_scheduler.ReduceLROnPlateau --model.lr_scheduler.patience 0"
CSV = "--trainer.logger CSVLogger"


def test_reduce_on_plateau_does_not_reduce_while_the_accuracy_rises(fitted: Path) -> None:
    directory = fit(
        fitted, f"--name rising {CSV} {PLATEAU} --trainer.max_epochs 3 --model.optimizer.lr 2e-4"
    )
    accuracy = metrics(directory, "val/acc")
    assert accuracy[0] < accuracy[1] < accuracy[2], "as this test needs it"
    state = scheduler(directory)
    assert state["mode"] == "max"
    assert state["best"] == pytest.approx(accuracy[1]), (
        "the checkpoint is saved before the epoch's last step"
    )
    assert state["_last_lr"] == [2e-4]


@pytest.mark.parametrize(("mode", "factor"), [("min", 1), ("max", 0.01)])
def test_reduce_on_plateau_follows_metric_and_mode_of_the_checkpoints(
    fitted: Path, mode: str, factor: float
) -> None:
    options = f"--checkpoint.monitor val/loss --checkpoint.mode {mode} --trainer.max_epochs 4 --model.optimizer.lr 2e-4"
    directory = fit(fitted, f"--name loss {CSV} {PLATEAU} {options}")
    loss = metrics(directory, "val/loss")
    assert loss == sorted(loss, reverse=True), "as this test needs it"
    state = scheduler(directory)
    assert state["mode"] == mode
    assert state["best"] == pytest.approx(loss[2] if mode == "min" else loss[0])
    assert state["_last_lr"] == [pytest.approx(2e-4 * factor)]


def test_lightnings_own_reduce_on_plateau_follows_the_metric_that_it_names(fitted: Path) -> None:
    own = "--model.lr_scheduler lightning.pytorch.cli.ReduceLROnPlateau --model.lr_scheduler.monitor val/loss"
    directory = fit(
        fitted, f"--name own {CSV} {own} --trainer.max_epochs 2 --trainer.limit_train_batches 5"
    )
    assert scheduler(directory)["best"] == pytest.approx(metrics(directory, "val/loss")[0])


# Checkpoints in Python ------------------------------------------------------------------------------------------------

LOAD = """
import sys
import torch
from my_project.modules.classification import ClassificationModule

module = ClassificationModule.load_from_checkpoint(sys.argv[1])
print(tuple(module(torch.zeros(2, 1, 28, 28)).shape), module.hparams["num_classes"])
"""


def test_a_checkpoint_loads_with_nothing_but_its_path_from_any_folder(
    fitted: Path, exp1: Path, tmp_path: Path
) -> None:
    for path in (best(exp1), last(exp1)):
        load(path)
    path = Path(shutil.copy(best(exp1), tmp_path / "a model.ckpt"))
    assert (
        started([sys.executable, "-c", LOAD, path], tmp_path, PYTHONPATH=str(fitted / "src"))
        == "(2, 10) 10\n"
    )


# Several processes ----------------------------------------------------------------------------------------------------


def test_two_processes_make_one_run_and_count_every_sample_once(project: Path) -> None:
    write(
        project,
        "data_modules/odd.py",
        """
        from .digits import DigitsDataModule
        from .in_memory import ImageTensors


        class OddDataModule(DigitsDataModule):
            def load(self, train: bool) -> ImageTensors:
                data = super().load(train)
                return data if train else ImageTensors(*(part[:357] for part in data.tensors))
        """,
    )
    data = "--data my_project.data_modules.odd.OddDataModule --data.batch_size 7 --data.val_size 181 --name ddp"
    two = "--trainer.accelerator cpu --trainer.devices 2 --trainer.strategy ddp"

    def with_two(line: str) -> str:
        verb, *options = shlex.split(f"{line} {data} {two}")
        command: list[str | Path] = [sys.executable, "src/main.py", verb, *DIGITS, *QUIET, *options]
        return started(command, project)

    with_two(f"fit {SHORT} --data.num_workers 2")
    directory = only(project / "logs" / "ddp")
    checkpoint = load(last(directory))
    assert checkpoint["global_step"] == 2
    for verb in ("validate", "test"):
        together, alone = with_two(verb), go(project, f"{verb} {data}")
        prefix = "val" if verb == "validate" else "test"
        for name in (f"{prefix}/acc", f"{prefix}/loss"):
            assert metric(together, name) == pytest.approx(metric(alone, name), rel=1e-5)
    with_two("predict")
    with (directory / "predictions.csv").open() as file:
        assert [int(row["id"]) for row in csv.DictReader(file)] == list(range(357))
    assert {
        path.name.split(".")[0] for path in directory.iterdir() if "predictions" in path.name
    } == {"predictions"}
    commands = [entry["command"].split()[0] for entry in record(directory)["commands"]]
    assert commands == ["fit", "validate", "validate", "test", "test", "predict"], (
        "once for both processes"
    )


# Mistakes -------------------------------------------------------------------------------------------------------------

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
        ("model.lr_scheduler", "maxlr", "max_lr"),
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
        ("model.lr_scheduler.max_lr", "-1.0", "0"),
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
        ("--model.lr_scheduler.pct_start 3", "pct_start 3.0 between 0 and 1"),
        ("--model.lr_scheduler.total_steps -1", "total_steps -1 positive"),
        (
            "--trainer.max_epochs -1 --trainer.max_time 00:00:01:00",
            "OneCycleLR has no end trainer.max_epochs",
        ),
        ("--model.lr_scheduler.total_steps 1", "OneCycleLR ends after 1 of steps leave out"),
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


def test_compiling_where_there_is_no_compiler_is_answered_in_a_line(
    fitted: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [
        sys.executable,
        "src/main.py",
        "fit",
        *DIGITS,
        *QUIET,
        "--model.compile=true",
    ]
    done = start(
        [*command, "--name=compiled"], fitted, CXX="none", TORCHINDUCTOR_CACHE_DIR=str(tmp_path)
    )
    assert done.returncode == 1
    answer = "error: compile is true, but needs a C++ compiler, such as g++"
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1] == answer


@pytest.mark.parametrize("where", ["when it is built", "in training"])
def test_an_error_in_the_users_own_code_is_shown_with_where_it_is(
    project: Path, where: str
) -> None:
    write(
        project,
        "models/wrong.py",
        f"""
        import torch

        from .simplenet import SimpleNet


        class Wrong(SimpleNet):
            def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
                super().__init__(num_classes, input_shape)
                self.fail("when it is built")

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                self.fail("in training")
                return super().forward(x)

            def fail(self, here: str) -> None:
                if here == "{where}":
                    raise ValueError("nothing comes of nothing")
        """,
    )
    done = run_warm(project, "fit", *DIGITS, *QUIET, "--model.net=my_project.models.wrong.Wrong")
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == (where == "in training"), (
        "to build it takes a few steps alone"
    )
    assert "wrong.py" in done.stderr and "ValueError: nothing comes of nothing" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_model_or_data_module_is_asked_for(fitted: Path, verb: str) -> None:
    for given, missing in zip(DIGITS[1::2], ("model", "data"), strict=True):
        line = refuse(fitted, verb, "-c", given, "--name=exp1")
        assert "missing" in line and f"-c configs/{missing}/<name>.yaml" in line


@pytest.mark.parametrize("command", ["", "train", "--name exp1"])
def test_a_sub_command_is_asked_for(fitted: Path, command: str) -> None:
    line = refuse(fitted, *command.split())
    assert all(verb in line for verb in VERBS), line


def test_a_missing_config_is_named(fitted: Path) -> None:
    assert "missing.yaml" in refuse_digits(fitted, "fit -c configs/missing.yaml")


@pytest.mark.parametrize(
    "text", ["trainer: {max_epochs: [", "trainer:\n\tmax_epochs: 1\n", "- trainer"]
)
def test_a_config_that_is_no_yaml_of_keys_is_named(fitted: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "mistake.yaml").write_text(text)
    assert "mistake.yaml" in refuse_digits(fitted, f"fit -c {tmp_path}/mistake.yaml")


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.parametrize("content", [None, b"", b"text\n", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_named(
    fitted: Path, tmp_path: Path, verb: str, content: bytes | None
) -> None:
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    line = refuse_digits(fitted, f"{verb} --ckpt_path {path}")
    assert (
        "some.ckpt" in line
        and ("there is no checkpoint" if content is None else "is damaged") in line
    )


def test_a_truncated_checkpoint_is_named(fitted: Path, exp1: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    path.write_bytes(last(exp1).read_bytes()[:-1000])
    assert "some.ckpt is damaged" in refuse_digits(fitted, f"fit --ckpt_path {path}")


@pytest.mark.parametrize("verb", ["fit", "validate"])
@pytest.mark.parametrize("size", [-1, 1437])
def test_a_validation_set_that_leaves_nothing_is_refused(
    fitted: Path, verb: str, size: int
) -> None:
    line = fail(fitted, verb, *DIGITS, *QUIET, "--name=exp1", f"--data.val_size={size}")
    assert line == f"val_size is {size}, but only 1 to 1436 samples can be held out"


# The environment ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores, or torch takes one thread anyway")
@pytest.mark.parametrize("variable", ["", "2"], ids=["without the variable", "with the variable"])
def test_the_env_file_limits_threads_where_the_environment_does_not(
    project: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        project,
        "callbacks/threads.py",
        """
        import torch
        from lightning.pytorch import Callback, LightningModule, Trainer


        class Threads(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                print(f"Threads: {torch.get_num_threads()}")
        """,
    )
    monkeypatch.delenv("OMP_NUM_THREADS")
    (project / ".env").write_text("OMP_NUM_THREADS=1  # of several\n")
    options = [
        "--trainer.fast_dev_run=true",
        "--trainer.callbacks+=my_project.callbacks.threads.Threads",
    ]
    command: list[str | Path] = [sys.executable, "src/main.py", "fit", *DIGITS, *QUIET, *options]
    output = started(command, project, **({"OMP_NUM_THREADS": variable} if variable else {}))
    assert told(output, "Threads") == (variable or "1")


def test_a_default_run_prints_no_warning(project: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "src/main.py",
        "fit",
        *DIGITS,
        "--trainer.max_epochs=2",
    ]
    output = started([*command, "--test_after_fit=true"], project)
    output += succeed(project, "test", *DIGITS) + succeed(project, "predict", *DIGITS)
    assert not re.findall(".*(?:warn|deprecat).*", output, re.I)


def test_overfitting_takes_the_same_mixed_batches_in_every_epoch_and_warns_of_nothing(
    project: Path,
) -> None:
    write(
        project,
        "callbacks/labels.py",
        """
        from typing import Any

        from lightning.pytorch import Callback, LightningModule, Trainer


        class Labels(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
                print("Labels:", *batch[1].tolist())

            def on_validation_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
                print("Held out:", *batch[1].tolist())
        """,
    )
    own = "--trainer.callbacks+=my_project.callbacks.labels.Labels"
    command = [sys.executable, "src/main.py", "fit", *DIGITS, *QUIET, own, "--trainer.max_epochs=3"]
    output = started(
        [*command, "--trainer.overfit_batches=2", "--trainer.log_every_n_steps=1"], project
    )
    assert not re.findall(".*(?:warn|shuffl).*", output, re.I)
    for what, times in (("Labels", 3), ("Held out", 4)):  # once more, before the training
        seen = re.findall(f"^{what}: (.*)$", output, re.M)
        assert len(seen) == 2 * times and seen == seen[:2] * times
        assert len(set(seen[0].split())) > 5, "not the first label alone"


@pytest.mark.parametrize("where", ["when it is built", "in training"])
def test_a_warning_of_a_module_of_the_users_own_can_be_ignored(project: Path, where: str) -> None:
    write(
        project,
        "callbacks/warns.py",
        f"""
        import warnings
        from lightning.pytorch import Callback, LightningModule, Trainer


        def warn(here: str) -> None:
            if here == "{where}":
                warnings.warn("Look out")


        class Warns(Callback):
            def __init__(self) -> None:
                warn("when it is built")

            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                warn("in training")
        """,
    )
    options = "--trainer.fast_dev_run true --trainer.callbacks+=my_project.callbacks.warns.Warns"
    assert "UserWarning: Look out" in go(project, f"fit {options}")
    assert "Look out" not in go(project, f"fit {options} --ignore_warnings true")


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_images_have_the_precision_of_the_weights(
    project: Path, warm: Server, precision: str
) -> None:
    done = warm.run(
        project, "fit", *DIGITS, f"--trainer.precision={precision}", "--trainer.fast_dev_run=2"
    )
    assert done.returncode == 0, done.stderr
