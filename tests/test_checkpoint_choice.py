"""Which run and which checkpoint a command takes, and testing after training."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS
from helpers.run_files import record
from helpers.template import sweep
from helpers.trained_project import (
    QUIET,
    SHORT,
    VERBS,
    best,
    fit,
    go,
    last,
    only,
    refuse,
    refuse_digits,
    told,
)


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
    assert record(only(fitted / "logs" / "moved"))["metrics"].keys() == {
        "test/acc",
        "test/f1",
        "test/loss",
    }


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
