"""A run is a directory: what it holds, how it is named on the command line, and that it goes on as if never stopped."""

import csv
import errno
import importlib.metadata
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import fail, run_warm, succeed
from helpers.server import Server
from helpers.template import Render, git, sweep

DATA = (
    "--data=my_project.data_modules.noisy.NoisyDataModule",
    "-c",
    "configs/model/simplenet.yaml",
)
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SHORT = ("--trainer.limit_train_batches=3", "--trainer.log_every_n_steps=1", *QUIET)
STEPS = ("--model.lr_scheduler=null",)  # so that the training may be prolonged
KILLS = 20

# Digits with noise that every random number generator has a part in. The environment says where the process is stopped:
# KILL_AT="last.ckpt 2" kills it before a file gets this name for the second time, SIGNAL_AT="15 7" sends it signal 15
# in its seventh batch.
NOISY = """
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .digits import DigitsDataModule

renamed: list[str] = []


def kill(event: str, args: Any) -> None:
    if event == "os.rename":
        renamed.append(Path(str(args[1])).name)
        name, number = os.environ["KILL_AT"].split()
        if renamed[-1] == name and renamed.count(name) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)


if "KILL_AT" in os.environ:
    sys.addaudithook(kill)


class NoisyDataModule(DigitsDataModule):
    batches = 0

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        signum, batch = os.environ.get("SIGNAL_AT", "0 0").split()
        if self.batches == int(batch):
            os.kill(os.getpid(), int(signum))
        return images + 0.5 * torch.rand_like(images) * random.random() * float(np.random.rand())
"""


# Keeps what `weights_only` does not load
WORDS = """
from pathlib import Path

from lightning.pytorch import Callback


class Words(Callback):
    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["words"] = Path("words.txt")
"""


# Tools ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(render: Render) -> Path:
    """A project, committed, with noisy digits."""
    project = render(datasets=["digits"])
    (project / "src" / "my_project" / "data_modules" / "noisy.py").write_text(NOISY)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Start")
    return project


@pytest.fixture
def project(noisy: Path, tmp_path: Path) -> Path:
    """A copy of it for one test to work in."""
    return shutil.copytree(noisy, tmp_path / "my-project")


def runs(project: Path, name: str) -> list[Path]:
    """Return the directories of the runs of a name, the oldest first."""
    return sorted((project / "logs" / name).iterdir())


def fit(project: Path, *options: str) -> Path:
    """Train and return the run's directory."""
    output = succeed(project, "fit", *DATA, *SHORT, *options)
    (line,) = [line for line in output.splitlines() if line.startswith("Run directory: ")]
    return project / line.removeprefix("Run directory: ")


def record(directory: Path) -> Any:
    """Return what `run.json` says."""
    return json.loads((directory / "run.json").read_text())


def config(directory: Path) -> Any:
    return yaml.safe_load((directory / "config.yaml").read_text())


def load(directory: Path, which: str = "last") -> Any:
    """Load a checkpoint without running any code that may be in it."""
    return torch.load(directory / "checkpoints" / f"{which}.ckpt", weights_only=True)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(one: Path, other: Path) -> None:
    """Assert that two runs ended with the same weights, to the bit, and with the same metrics."""
    for which in ("best", "last"):
        first, second = (load(directory, which)["state_dict"] for directory in (one, other))
        assert first.keys() == second.keys()
        different = [key for key, value in first.items() if not torch.equal(value, second[key])]
        assert not different, which
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


# Interrupted, and gone on with ----------------------------------------------------------------------------------------

LONG = (
    *DATA,
    *QUIET,
    "--trainer.max_epochs=5",
    "--trainer.limit_train_batches=12",
    "--trainer.log_every_n_steps=7",
)
# Before each file that a run replaces, in its first epoch and in a later one
MOMENTS = [
    *(f"{name} 1" for name in ("config.yaml", "code.patch", "run.json")),
    *(f"{name} 1" for name in ("best.ckpt", "next.ckpt", "metrics.csv", "last.ckpt")),
    *(f"{name} 2" for name in ("best.ckpt", "next.ckpt", "metrics.csv", "last.ckpt")),
]


@pytest.fixture(scope="module")
def whole(noisy: Path) -> Path:
    """The directory of a run that was never stopped."""
    succeed(noisy, "fit", *LONG, "--name=whole")
    (directory,) = runs(noisy, "whole")
    return directory


def begun(project: Path, name: str) -> list[Path]:
    """Return the directories of the runs of a name that have begun."""
    return [path.parent for path in project.glob(f"logs/{name}/*/config.yaml")]


def test_killed_before_each_file_that_it_writes_a_run_ends_with_the_same_weights(
    noisy: Path, whole: Path
) -> None:
    command = ["fit", *LONG, "--name=killed"]
    for moment in MOMENTS:
        done = run_warm(noisy, *command, KILL_AT=moment)
        assert done.returncode == -signal.SIGKILL, f"{moment}: {done.stderr}"
        if begun(noisy, "killed"):
            command = ["fit", "--run=killed", *QUIET]
    succeed(noisy, *command)
    (directory,) = begun(noisy, "killed")
    assert_same(whole, directory)
    assert record(directory)["status"] == "finished"
    assert [entry["status"] for entry in record(directory)["commands"]].count("running") <= len(
        MOMENTS
    )


def stop(
    warm: Server, project: Path, wait: float, signum: signal.Signals, *args: str
) -> subprocess.CompletedProcess[str]:
    """Start a command, and send it a signal after some seconds."""
    process = warm.start(project, *args)
    time.sleep(wait)
    with suppress(ProcessLookupError):  # it has ended
        os.kill(process, signum)
    return warm.wait()


def test_a_killed_run_whose_checkpoints_are_gone_is_not_trained_anew(project: Path) -> None:
    """Not even by a record of an earlier release, which does not count epochs."""
    run_warm(project, "fit", *LONG, "--name=gone", KILL_AT="next.ckpt 3")
    (directory,) = runs(project, "gone")
    (entry,) = record(directory)["commands"]
    assert (entry["status"], entry["end"], entry["epochs"]) == ("running", None, 2)
    assert entry["seen"] >= entry["start"]

    checkpoints = directory / "checkpoints"
    (checkpoints / "last.ckpt").unlink()
    resumed = shutil.copytree(directory, directory.parent / "resumed")
    output = succeed(project, "fit", "--run=resumed", *QUIET)
    assert "last.ckpt is missing: best.ckpt takes its place" in output
    assert rows(resumed)[: len(rows(directory))] == rows(directory)

    shutil.rmtree(checkpoints)
    metrics = (directory / "metrics.csv").read_bytes()
    of_earlier_release = record(directory)
    del of_earlier_release["commands"][0]["epochs"]
    for said in (record(directory), of_earlier_release):
        (directory / "run.json").write_text(json.dumps(said))
        line = fail(project, "fit", f"--run={directory.name}", *QUIET)
        assert line.endswith("its checkpoints are gone: leave out --run for a new run")
        assert (directory / "metrics.csv").read_bytes() == metrics


@pytest.mark.sweep  # of the moments of the test before the last one
def test_killed_at_random_moments_a_run_ends_with_the_same_weights(
    warm: Server, noisy: Path
) -> None:
    longer = (*LONG, "--trainer.max_epochs=15", "--trainer.limit_train_batches=40")
    succeed(noisy, "fit", *longer, "--name=longer")
    (whole,) = runs(noisy, "longer")
    moments, kills, number = random.Random(0), 0, 0
    while kills < KILLS:
        number += 1
        name = f"random{number}"
        command = ["fit", *longer, f"--name={name}"]
        while True:
            wait = moments.uniform(0.2, 2.5) if kills < KILLS else 1000
            done = (
                stop(warm, noisy, wait, signal.SIGKILL, *command)
                if wait < 1000
                else run_warm(noisy, *command)
            )
            if done.returncode != -signal.SIGKILL:
                break
            kills += 1
            if begun(noisy, name):
                command = ["fit", f"--run={name}", *QUIET]
        assert done.returncode == 0, done.stderr
        (directory,) = begun(noisy, name)
        assert_same(whole, directory)
        assert record(directory)["status"] == "finished"
    print(f"{kills} kills of {number} runs")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_marks_the_run_which_goes_on_within_the_epoch(
    noisy: Path, whole: Path, signum: signal.Signals
) -> None:
    name = f"stopped{int(signum)}"
    command = ["fit", *LONG, f"--name={name}"]
    for batch, total in ((17, 17), (8, 25), (18, 43)):  # each amidst an epoch
        done = run_warm(noisy, *command, SIGNAL_AT=f"{int(signum)} {batch}")
        assert done.returncode == 128 + signal.SIGTERM, done.stderr
        (directory,) = runs(noisy, name)
        assert (
            f"The training is interrupted. fit --run {directory.name} continues it."
            in done.stderr + done.stdout
        )
        assert "Traceback" not in done.stderr
        assert record(directory)["status"] == "interrupted"
        assert load(directory)["global_step"] == total
        command = ["fit", f"--run={name}", *QUIET]
    succeed(noisy, *command)
    assert_same(whole, directory)
    assert record(directory)["status"] == "finished"


GROUP = (
    *DATA,
    *QUIET,
    "--trainer.accumulate_grad_batches=3",
    "--trainer.limit_train_batches=10",
    "--trainer.log_every_n_steps=1",
    "--trainer.max_epochs=3",
)


@pytest.fixture(scope="module")
def accumulated(noisy: Path) -> Path:
    """The directory of a run that accumulates gradients, and was never stopped."""
    succeed(noisy, "fit", *GROUP, "--name=never")
    (directory,) = runs(noisy, "never")
    return directory


@pytest.mark.parametrize(
    ("signum", "step", "saved"),
    [(15, 3, 6), (15, 9, 10), (2, 5, 6)],  # the one of the last batch: that epoch again
)
def test_no_gradients_of_a_group_that_is_accumulated_are_lost(
    noisy: Path, accumulated: Path, signum: int, step: int, saved: int
) -> None:
    name = f"part{step}"
    done = run_warm(noisy, "fit", *GROUP, f"--name={name}", SIGNAL_AT=f"{signum} {11 + step}")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    (part,) = runs(noisy, name)
    progress = load(part)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    assert progress == saved
    output = succeed(noisy, "fit", f"--run={name}", *QUIET)
    assert "Warning" not in output and "resumable" not in output
    assert_same(accumulated, part)


def test_ctrl_c_before_the_training_ends_without_a_traceback(project: Path) -> None:
    module = project / "src" / "my_project" / "data_modules" / "noisy.py"
    module.write_text(
        NOISY + "\n    def __init__(self) -> None:\n        raise KeyboardInterrupt\n"
    )
    done = run_warm(project, "fit", *DATA, *SHORT, "--name=not-begun")
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert not (project / "logs" / "not-begun").exists()


@pytest.mark.parametrize("schedule", ["epoch", "plateau"])
def test_schedules_go_on_as_if_never_stopped(project: Path, schedule: str) -> None:
    schedulers = {
        "epoch": ("torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size=1"),
        "plateau": (
            "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "--model.lr_scheduler.patience=0",
        ),
    }
    name, argument = schedulers[schedule]
    options = (
        f"--model.lr_scheduler={name}",
        argument,
        "--checkpoint.monitor=val/loss",
        "--checkpoint.mode=max",
    )
    never = fit(project, "--name=never", "--trainer.max_epochs=4", *options)
    part = fit(project, "--name=part", "--trainer.max_epochs=2", *options)
    succeed(project, "fit", "--run=part", "--trainer.max_epochs=4", *QUIET)
    assert_same(never, part)
    rates = [
        load(directory)["optimizer_states"][0]["param_groups"][0]["lr"]
        for directory in (never, part)
    ]
    assert rates[0] == rates[1] < 0.001, "it has been reduced"


def test_a_full_disk_leaves_the_checkpoint_before(project: Path) -> None:
    directory = fit(project, "--name=full", "--trainer.max_epochs=1", *STEPS)
    before = (directory / "checkpoints" / "last.ckpt").read_bytes()
    code = f"""
        import resource, runpy, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2}))
        sys.argv = ["src/main.py", "fit", "--run=full", "--trainer.max_epochs=2", "--trainer.logger=false", *{QUIET!r}]
        sys.path.insert(0, "src")
        runpy.run_path("src/main.py", run_name="__main__")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr
    assert (directory / "checkpoints" / "last.ckpt").read_bytes() == before
    assert (
        record(directory)["status"] == "failed" and "File too large" in record(directory)["error"]
    )
    succeed(project, "fit", "--run=full", "--trainer.max_epochs=2", *QUIET)
    assert load(directory)["epoch"] == 1
    names = {path.name for path in (directory / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}


def test_of_a_checkpoint_cut_short_the_best_takes_the_place(project: Path) -> None:
    directory = fit(project, "--name=cut", "--trainer.max_epochs=1", *STEPS)
    path = directory / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-1000])
    output = succeed(project, "fit", "--run=cut", "--trainer.max_epochs=2", *QUIET)
    assert f"{path.relative_to(project)} is damaged: best.ckpt takes its place" in output
    assert load(directory)["epoch"] == 1


def test_what_was_best_stays_where_the_project_is_moved(project: Path, tmp_path: Path) -> None:
    options = (*STEPS, "--model.optimizer.lr=0.01", "--name=moved", "--trainer.max_epochs=3")
    directory = fit(project, *options)
    best = load(directory, "best")["epoch"]
    moved = project.rename(tmp_path / "elsewhere")
    worse = ("--model.optimizer.lr=9", "--trainer.max_epochs=5", "--test_after_fit=true")
    output = succeed(moved, "fit", "--run=moved", *worse)
    assert load(moved / directory.relative_to(project), "best")["epoch"] == best
    assert f"Tested: {directory.relative_to(project)}/checkpoints/best.ckpt" in output
    assert "Warning" not in output


@pytest.mark.parametrize("option", ["--trainer.max_epochs=9", "--trainer.precision=bf16-mixed"])
def test_a_run_that_does_not_go_on_stays_as_it_is(project: Path, option: str) -> None:
    directory = fit(project, "--name=kept", "--trainer.max_epochs=1")
    kept = [
        (directory / name).read_text()
        for name in ("config.yaml", "run.json", "code.patch", "metrics.csv")
    ]
    (project / "README.md").write_text("Changed\n")
    run_warm(
        project, "fit", "--run=kept", option
    )  # a longer schedule is refused; all has been trained
    there = [
        (directory / name).read_text()
        for name in ("config.yaml", "run.json", "code.patch", "metrics.csv")
    ]
    assert there == kept
    succeed(project, "test", "--name=kept", *DATA, *QUIET)


def test_another_runs_best_is_not_the_new_runs(project: Path) -> None:
    directory = fit(project, *STEPS, "--name=first", "--trainer.max_epochs=2")
    start = f"--ckpt_path={directory / 'checkpoints' / 'last.ckpt'}"
    fit(project, *STEPS, "--name=second", "--trainer.max_epochs=4", "--model.optimizer.lr=9", start)
    (second,) = runs(project, "second")
    assert load(second, "best")["epoch"] > 1


def test_a_checkpoint_with_more_than_plain_data_is_gone_on_with_if_that_is_allowed(
    project: Path,
) -> None:
    (project / "src" / "my_project" / "callbacks" / "words.py").write_text(WORDS)
    words = "--trainer.callbacks+=my_project.callbacks.words.Words"
    fit(project, *STEPS, "--name=words", "--trainer.max_epochs=2", words)
    output = succeed(
        project, "fit", "--run=words", "--weights_only=false", "--trainer.max_epochs=3"
    )
    assert "damaged" not in output
    (directory,) = runs(project, "words")
    saved = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=False)
    assert (saved["epoch"], saved["global_step"]) == (2, 9)


def test_a_command_that_fails_leaves_the_users_empty_folders(noisy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "results").mkdir(parents=True)
    root = f"--trainer.default_root_dir={tmp_path / 'mine' / 'results'}"
    fail(noisy, "fit", *DATA, *SHORT, root, "--ckpt_path=nope.ckpt")
    assert (tmp_path / "mine" / "results").is_dir() and not list(
        (tmp_path / "mine" / "results").iterdir()
    )


def test_an_error_is_recorded(project: Path) -> None:
    module = project / "src" / "my_project" / "data_modules" / "noisy.py"
    module.write_text(NOISY.replace("return images +", "raise RuntimeError('out of luck') #"))
    done = run_warm(project, "fit", *DATA, *SHORT, "--name=failed")
    assert done.returncode != 0 and "out of luck" in done.stderr
    (directory,) = runs(project, "failed")
    assert record(directory)["status"] == "failed"
    assert record(directory)["error"] == "RuntimeError: out of luck"
    assert "no finished run of failed" in fail(project, "test", *DATA, *QUIET, "--name=failed")

    module.write_text(NOISY)
    succeed(project, "fit", "--run=failed", *QUIET)
    assert record(directory)["status"] == "finished" and record(directory)["error"] is None


# --run ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exp1(noisy: Path) -> Path:
    """The directory of the newer of two short runs. Tests read it, and run what changes nothing but its record."""
    for seed in (1, 2):
        directory = fit(
            noisy, "--name=exp1", f"--seed_everything={seed}", "--trainer.max_epochs=1", *STEPS
        )
    return directory


def told(output: str, what: str) -> str:
    """Return what the output says of this: the rest of its one line."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{what}: ")]
    return line.removeprefix(f"{what}: ")


@pytest.mark.parametrize("verb", ["test", *sweep("validate", "predict")])
def test_a_run_is_named_by_directory_id_or_name(noisy: Path, exp1: Path, verb: str) -> None:
    place = str(exp1.relative_to(noisy))
    for wanted in (place, str(exp1), exp1.name, "exp1"):
        output = succeed(noisy, verb, f"--run={wanted}", *QUIET)
        assert told(output, "Config") == f"{place}/config.yaml"
        assert told(output, "Checkpoint") == f"{place}/checkpoints/best.ckpt"
        assert told(output, "Run directory") == place
    from_inside = succeed(noisy, verb, "--run", ".", *QUIET, cwd=exp1)
    assert told(from_inside, "Checkpoint") == "checkpoints/best.ckpt"
    assert told(
        succeed(noisy, verb, f"--run={place}", "--ckpt_path=last", *QUIET), "Checkpoint"
    ).endswith("last.ckpt")


def test_last_is_the_newest_of_all_names(project: Path) -> None:
    first, second = (
        fit(project, f"--name={name}", "--trainer.max_epochs=1") for name in ("b", "a")
    )
    assert told(succeed(project, "test", "--run=last", *QUIET), "Run directory") == str(
        second.relative_to(project)
    )
    assert told(succeed(project, "test", "--run=b", *QUIET), "Run directory") == str(
        first.relative_to(project)
    )


def test_configs_and_options_override_the_saved_config(
    noisy: Path, exp1: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.yaml").write_text("data: {init_args: {batch_size: 50, val_size: 70}}\n")
    options = [
        "--run=exp1",
        "-c",
        str(tmp_path / "more.yaml"),
        "--data.batch_size=60",
        "--print_config",
    ]
    result = yaml.safe_load(succeed(noisy, "fit", *options))
    assert result["data"]["init_args"] == config(exp1)["data"]["init_args"] | {
        "batch_size": 60,
        "val_size": 70,
    }
    assert result["seed_everything"] == 2 and result["trainer"]["max_epochs"] == 1


def test_local_and_default_configs_are_left_to_new_runs(project: Path) -> None:
    directory = fit(project, "--name=old", "--trainer.max_epochs=1", *STEPS)
    (project / "configs" / "local.yaml").write_text(
        "trainer: {max_epochs: 9}\nseed_everything: 9\n"
    )
    result = yaml.safe_load(succeed(project, "fit", "--run=old", "--print_config"))
    assert (result["trainer"]["max_epochs"], result["seed_everything"]) == (1, 42)
    assert config(directory)["seed_everything"] == 42


def test_what_a_resumed_run_was_given_stays(project: Path) -> None:
    directory = fit(project, "--name=on", "--trainer.max_epochs=1", *STEPS)
    output = succeed(
        project, "fit", "--run=on", "--trainer.max_epochs=3", "--model.optimizer.lr=0.01", *QUIET
    )
    assert told(output, "Checkpoint") == str(
        (directory / "checkpoints" / "last.ckpt").relative_to(project)
    )
    assert runs(project, "on") == [directory]
    assert config(directory)["trainer"]["max_epochs"] == 3
    assert load(directory)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.01
    assert not config(directory).keys() & {"run", "ckpt_path", "allow_untrained", "test_after_fit"}
    assert [int(row["epoch"]) for row in rows(directory)] == [0] * 3 + [1] * 3 + [2] * 3
    assert [entry["command"].split()[0] for entry in record(directory)["commands"]] == [
        "fit",
        "fit",
    ]


def test_a_run_that_does_not_exist_is_refused_with_what_to_name(noisy: Path, exp1: Path) -> None:
    for wanted in ("nothing", "logs/exp1/nothing", "20200101-000000-abcdef", "logs"):
        line = fail(noisy, "test", f"--run={wanted}", *QUIET)
        assert (
            line.startswith(f"there is no run {wanted}")
            and "--run <directory|id|name|last>" in line
        )


def test_half_of_a_run(project: Path) -> None:
    directory = fit(project, "--name=half", "--trainer.max_epochs=1", *STEPS)
    shutil.rmtree(directory / "checkpoints")
    line = fail(project, "test", "--run=half", *QUIET)
    assert (
        line.startswith(f"{directory.relative_to(project)} has no best checkpoint")
        and "fit --run" in line
    )
    line = fail(project, "fit", "--run=half", *QUIET)
    assert line.endswith("its checkpoints are gone: leave out --run for a new run")
    killed = record(directory) | {"status": "running"}
    killed["commands"][0] |= {"epochs": 0}
    (directory / "run.json").write_text(json.dumps(killed))
    assert "none yet, it starts anew" in succeed(project, "fit", "--run=half", *QUIET)
    assert load(directory)["epoch"] == 0

    (directory / "config.yaml").unlink()
    assert "there is no run half" in fail(project, "fit", "--run=half", *QUIET)


def test_a_config_of_an_older_version_of_the_project_is_answered_with_the_key(
    project: Path,
) -> None:
    directory = fit(project, "--name=old", "--trainer.max_epochs=1")
    text = (directory / "config.yaml").read_text()
    (directory / "config.yaml").write_text(text.replace("val_size:", "validation_size:"))
    line = fail(project, "test", "--run=old", *QUIET)
    place = f"{directory.relative_to(project)}/config.yaml, line "
    assert line.startswith(place) and ": data.validation_size is not a known key" in line, line


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_untrained_weights_only_if_asked_for(project: Path, verb: str) -> None:
    assert fail(project, verb, *DATA, *QUIET).startswith("there is no run default in logs")
    succeed(project, verb, *DATA, *QUIET, "--allow_untrained=true", "--name=random")
    (directory,) = runs(project, "random")
    assert record(directory)["commands"][0]["status"] == "finished"
    assert "--allow_untrained" in record(directory)["commands"][0]["command"]
    assert "allow_untrained" not in config(directory)


def test_an_unfinished_run_is_not_tested_by_its_name_alone(project: Path) -> None:
    finished, newer = (fit(project, "--name=two", "--trainer.max_epochs=1") for _ in range(2))
    (newer / "run.json").write_text(json.dumps(record(newer) | {"status": "running"}))
    output = succeed(project, "test", *DATA, *QUIET, "--trainer.logger.name=two")
    assert told(output, "Run directory") == str(finished.relative_to(project))
    assert told(succeed(project, "test", "--run=two", *QUIET), "Run directory") == str(
        newer.relative_to(project)
    )


# Several at once, and places that cannot be written -------------------------------------------------------------------


def begin(project: Path, *options: str) -> subprocess.Popen[str]:
    """Start a long training, `long`, in a process of its own, and wait for its first checkpoint."""
    command = [
        sys.executable,
        "src/main.py",
        "fit",
        *DATA,
        *QUIET,
        "--name=long",
        "--trainer.max_epochs=1000",
        *options,
    ]
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not list(project.glob("logs/long/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def test_a_run_in_training_is_tested_but_not_trained_by_another_process(project: Path) -> None:
    process = begin(project, *STEPS)
    (directory,) = runs(project, "long")
    before = sorted(directory.rglob("*.tfevents*"))
    line = fail(project, "fit", "--run=long", *QUIET)
    assert (
        line.startswith(f"{directory.relative_to(project)} is training in another process")
        and "wait" in line
    )
    assert sorted(directory.rglob("*.tfevents*")) == before, "nor has a logger begun"
    for verb in ("test", "validate", "predict"):
        succeed(project, verb, "--run=long", *QUIET)
    assert record(directory)["status"] == "running"

    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    after = record(directory)
    assert after["status"] == "interrupted" and "test/acc" in after["metrics"]
    commands = [(entry["command"].split()[0], entry["status"]) for entry in after["commands"]]
    others = [(verb, "finished") for verb in ("test", "validate", "predict")]
    assert commands == [("fit", "interrupted"), *others], (
        "neither has overwritten what the other wrote"
    )


def test_after_a_kill_a_run_goes_on_even_if_workers_outlive_it(project: Path) -> None:
    process = begin(project, *STEPS, "--data.num_workers=2")
    process.kill()
    process.wait()
    (directory,) = runs(project, "long")
    assert (directory / ".lock").exists()
    epoch = load(directory)["epoch"]
    succeed(project, "fit", "--run=long", f"--trainer.max_epochs={epoch + 2}", *QUIET)
    assert not (directory / ".lock").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_runs_are_trained_without(
    project: Path, code: int
) -> None:
    lockless = f"""
        import fcntl, runpy
        def flock(*_):
            raise OSError({code}, "no locks")
        fcntl.flock = flock
        runpy.run_path("src/main.py", run_name="__main__")
    """
    (project / "src" / "lockless.py").write_text(textwrap.dedent(lockless))
    for epochs, options in enumerate(
        [(*DATA, *SHORT, *STEPS, "--name=free"), ("--run=free",)], start=1
    ):
        module = ("-m", "lockless", "fit", *options, f"--trainer.max_epochs={epochs}")
        output = succeed(project, *module, PYTHONPATH="src")
        assert "lock" not in output.replace("lockless", "")
    assert load(runs(project, "free")[0])["epoch"] == 1


def test_the_processes_of_one_run_are_not_others_to_each_other(project: Path) -> None:
    two = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp", *STEPS)
    for options in (
        (*DATA, *SHORT, "--name=ddp", "--trainer.max_epochs=1"),
        ("--run=ddp", "--trainer.max_epochs=2"),
    ):
        succeed(project, "fit", *options, *two)
    assert load(runs(project, "ddp")[0])["epoch"] == 1


def test_runs_that_start_at_once_have_directories_of_their_own(project: Path) -> None:
    command = [
        sys.executable,
        "src/main.py",
        "fit",
        *DATA,
        *SHORT,
        "--name=same",
        "--trainer.max_epochs=1",
    ]

    def start(_: int) -> int:
        return subprocess.run(command, cwd=project, capture_output=True).returncode

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, range(2))) == [0, 0]
    directories = runs(project, "same")
    assert len(directories) == 2
    for directory in directories:
        assert (
            record(directory)["status"] == "finished" and record(directory)["id"] == directory.name
        )
        assert load(directory)["epoch"] == 0


def test_logs_that_cannot_be_written_are_named(project: Path) -> None:
    shutil.rmtree(project / "logs")
    (project / "logs").write_text("a file where a folder should be")
    line = fail(project, "fit", *DATA, *SHORT)
    assert "logs" in line and "Not a directory" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_logs_are_named(project: Path) -> None:
    (project / "logs").chmod(0o500)
    line = fail(project, "fit", *DATA, *SHORT)
    assert "logs" in line and "Permission denied" in line


# run.json -------------------------------------------------------------------------------------------------------------


def test_run_json_says_what_happened_and_what_it_came_from(project: Path) -> None:
    arguments = [
        "fit",
        *DATA,
        *SHORT,
        "--name=said",
        "--seed_everything=7",
        "--trainer.max_epochs=1",
    ]
    succeed(project, *arguments)
    (directory,) = runs(project, "said")
    said = record(directory)
    assert (said["schema"], said["name"], said["id"], said["seed"]) == (
        1,
        "said",
        directory.name,
        "7",
    )
    assert said["git"] == {
        "commit": git(project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": False,
    }
    assert (directory / "code.patch").read_text() == ""
    assert said["python"] == platform.python_version() and said["torch"] == torch.__version__
    assert said["cuda"] == torch.version.cuda
    assert said["lightning"] == importlib.metadata.version("lightning")
    assert said["packages"]["jsonargparse"] == importlib.metadata.version("jsonargparse")
    assert said["host"] == platform.node() and said["cores"] == os.cpu_count() and said["processor"]
    assert said["template"]["datasets"] == ["digits"] and said["template"]["_commit"] == "v999.0.0"
    assert said["start"] <= said["end"] and said["status"] == "finished" and said["error"] is None
    assert said["metrics"]["val/acc"] == float(rows(directory)[-1]["val/acc"])
    (entry,) = said["commands"]
    assert entry["command"].split() == arguments
    assert entry["start"] <= entry["end"] and entry["status"] == "finished"

    succeed(project, "test", "--run=said", *QUIET)
    after = record(directory)
    assert after["metrics"].keys() == {*said["metrics"], "test/acc", "test/loss"}
    assert {**after, "metrics": 0, "commands": 0} == {**said, "metrics": 0, "commands": 0}


def test_the_packages_are_those_that_are_imported(project: Path, tmp_path: Path) -> None:
    (tmp_path / "tqdm-0.1.dist-info").mkdir()
    (tmp_path / "tqdm-0.1.dist-info" / "METADATA").write_text(
        "Name: tqdm\nVersion: 0.1\n"
    )  # before the other one
    (tmp_path / "left-1.0.dist-info").mkdir()
    succeed(
        project,
        "fit",
        *DATA,
        *SHORT,
        "--name=two",
        "--trainer.max_epochs=1",
        PYTHONPATH=str(tmp_path),
    )
    (directory,) = runs(project, "two")
    assert record(directory)["packages"]["tqdm"] == "0.1"


def test_changes_since_the_commit_are_in_the_patch(project: Path, tmp_path: Path) -> None:
    readme = project / "README.md"
    readme.write_text(readme.read_text() + "\nnew line\n")
    new = {
        "src/my_project/models/new.py": "NEW = 1\n",
        "configs/model/new.yaml": "model: {}\n",
        "elsewhere.txt": "x\n",
    }
    for name, text in new.items():
        (project / name).write_text(text)
    (project / "src" / "weights.bin").write_bytes(bytes(range(256)))
    (project / "src" / "large.txt").write_text("x" * 1_000_001)
    status = git(project, "status", "--porcelain")
    directory = fit(project, "--name=changed", "--trainer.max_epochs=1")
    assert record(directory)["git"]["dirty"] is True
    assert git(project, "status", "--porcelain") == status, "the index is as it was"

    git(
        project,
        "worktree",
        "add",
        "--quiet",
        str(tmp_path / "again"),
        record(directory)["git"]["commit"],
    )
    git(tmp_path / "again", "apply", "--allow-empty", str(directory / "code.patch"))
    assert (tmp_path / "again" / "README.md").read_text() == readme.read_text()
    assert (
        tmp_path / "again" / "src" / "my_project" / "models" / "new.py"
    ).read_text() == "NEW = 1\n"
    assert (tmp_path / "again" / "configs" / "model" / "new.yaml").exists()
    for name in ("elsewhere.txt", "src/weights.bin", "src/large.txt"):
        assert not (tmp_path / "again" / name).exists(), name


def test_whatever_else_lies_in_the_project_the_code_is_recorded(project: Path) -> None:
    (project / "weights.bin").write_bytes(bytes(range(256)))
    git(project, "add", "weights.bin")
    git(project, "commit", "--quiet", "--message", "Weights")
    git(project, "mv", "weights.bin", "better.bin")
    with (project / "src" / "my_project" / "cli.py").open("a") as file:
        file.write("# edited\n")
    (project / "src" / "my_project" / ".#cli.py").symlink_to(
        "ada@laptop.1234"
    )  # Emacs' lock of what is not saved
    git(project / "src", "init", "--quiet", "other")
    (project / "src" / "other" / "file.txt").write_text("another repository\n")
    directory = fit(project, "--name=full", "--trainer.max_epochs=1")
    assert record(directory)["git"] == {
        "commit": git(project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": True,
    }
    assert "+# edited" in (directory / "code.patch").read_text()


def test_what_is_committed_before_fit_is_what_is_recorded(project: Path) -> None:
    hook = project / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nsleep 3\n")
    hook.chmod(0o755)
    (project / "README.md").write_text("Changed\n")
    directory = fit(
        project, "--name=committed", "--trainer.max_epochs=1", "--git_commit_before_fit=true"
    )
    git_state = {
        "commit": git(project, "rev-parse", "HEAD").strip(),
        "branch": "main",
        "dirty": False,
    }
    assert record(directory)["git"] == git_state
    assert git(project, "log", "-1", "--format=%s").strip() == f"committed_{directory.name}"
    assert not (directory / "code.patch").read_text()


@pytest.mark.parametrize("kind", ["no repository", "no commit", "no git"])
def test_without_git_the_rest_is_recorded(project: Path, kind: str) -> None:
    shutil.rmtree(project / ".git")
    if kind == "no commit":
        git(project, "init", "--quiet")
    path = str(Path(sys.executable).parent) if kind == "no git" else os.environ["PATH"]
    succeed(project, "fit", *DATA, *SHORT, "--name=bare", "--trainer.max_epochs=1", PATH=path)
    (directory,) = runs(project, "bare")
    assert record(directory)["git"] == {"commit": None, "branch": None, "dirty": None}
    assert record(directory)["status"] == "finished" and record(directory)["packages"]


SENDER = """
from lightning.pytorch import Callback

TOKEN = "s3cr3tvalue1"


class Sender(Callback):
    def __init__(self, api_key: str | None = None, url: str = "", note: str = "") -> None:
        self.api_key = api_key
"""


def test_no_secret_is_written(project: Path, tmp_path: Path) -> None:
    (project / "src" / "my_project" / "callbacks" / "sender.py").write_text(SENDER)
    arguments = {
        "api_key": "s3cr3tvalue2",
        "url": "https://ada:s3cr3tvalue3@example.org/x",
        "note": "it is s3cr3tvalue4",
    }
    sender = {"class_path": "my_project.callbacks.sender.Sender", "init_args": arguments}
    (tmp_path / "sender.yaml").write_text(json.dumps({"trainer": {"callbacks": [sender]}}))
    options = ("-c", str(tmp_path / "sender.yaml"), "--name=masked", "--trainer.max_epochs=1")
    succeed(project, "fit", *DATA, *SHORT, *options, MY_API_TOKEN="s3cr3tvalue4")
    (directory,) = runs(project, "masked")
    for path in directory.rglob("*"):
        assert path.is_dir() or b"s3cr3tvalue" not in path.read_bytes(), path
    assert "TOKEN = ***" in (directory / "code.patch").read_text().replace('"', "")
    assert "api_key: str | None = None" in (directory / "code.patch").read_text(), "code stays code"
    (callback,) = config(directory)["trainer"]["callbacks"]
    assert callback["init_args"] == {
        "api_key": None,
        "url": "https://example.org/x",
        "note": "it is ",
    }
    succeed(project, "test", "--run=masked", *QUIET)


KEYS = (
    "api_key",
    "token",
    "password",
    "client_secret",
    "COMET_API_KEY",
    "aws_secret_access_key",
    "accessToken",
)


FORMS = [
    "{}: s3cr3t",
    "{}: 1-s3cr3t",
    "{}: true-s3cr3t",
    '{}: "s3cr3t one"',
    "--x.{} s3cr3t",
    "--x.{}=s3cr3t",
    '{{"{}": "s3cr3t"}}',
]
NO_SECRETS = [
    "tokenizer: bert",
    "max_tokens: 512",
    "keys: [a, b]",
    "monitor: val/acc",
    "token: null",
    "use_cls_token: true",
    "--model.net.pad_token 50256",
    "--model.net.pad_token=3 --name x",
    '{"eos_token": 2}',
    'mask_token: "[MASK]"',
    "mask_token: <mask>",
    "--data.key_column name",
    "https://example.org/x@y",
]


def test_what_is_named_as_secrets_are_is_masked(noisy: Path) -> None:
    texts = {form.format(key): key for key in KEYS for form in FORMS}
    for text, masked in mask(noisy, [*texts]).items():
        assert "s3cr3t" not in masked and texts[text] in masked and "***" in masked, text


def test_what_is_no_secret_stays(noisy: Path) -> None:
    for text, masked in mask(noisy, NO_SECRETS).items():
        assert masked == text


def mask(project: Path, texts: list[str]) -> dict[str, str]:
    """Return texts, and what is written of each of them."""
    code = """
import json, sys
from my_project.utils.project import mask

print(json.dumps({text: mask(text) for text in json.load(sys.stdin)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project / "src",
        check=True,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout))
