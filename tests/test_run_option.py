"""`--run`: how a run is named, and what of it is used."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.commands import fail, succeed
from helpers.run_files import config, record
from helpers.runs import DATA, QUIET, STEPS, fit, load, rows, runs
from helpers.template import sweep


@pytest.fixture(scope="module")
def exp1(noisy_original: Path) -> Path:
    """The directory of the newer of two short runs. Tests read it, and run what changes nothing but its record."""
    for seed in (1, 2):
        directory = fit(
            noisy_original,
            "--name=exp1",
            f"--seed_everything={seed}",
            "--trainer.max_epochs=1",
            *STEPS,
        )
    return directory


def told(output: str, what: str) -> str:
    """Return what the output says of this: the rest of its one line."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{what}: ")]
    return line.removeprefix(f"{what}: ")


@pytest.mark.parametrize("verb", ["test", *sweep("validate", "predict")])
def test_a_run_is_named_by_directory_id_or_name(
    noisy_original: Path, exp1: Path, verb: str
) -> None:
    place = str(exp1.relative_to(noisy_original))
    for wanted in (place, str(exp1), exp1.name, "exp1"):
        output = succeed(noisy_original, verb, f"--run={wanted}", *QUIET)
        assert told(output, "Config") == f"{place}/config.yaml"
        assert told(output, "Checkpoint") == f"{place}/checkpoints/best.ckpt"
        assert told(output, "Run directory") == place
    from_inside = succeed(noisy_original, verb, "--run", ".", *QUIET, cwd=exp1)
    assert told(from_inside, "Checkpoint") == "checkpoints/best.ckpt"
    assert told(
        succeed(noisy_original, verb, f"--run={place}", "--ckpt_path=last", *QUIET), "Checkpoint"
    ).endswith("last.ckpt")


def test_last_is_the_newest_of_all_names(noisy_project: Path) -> None:
    first, second = (
        fit(noisy_project, f"--name={name}", "--trainer.max_epochs=1") for name in ("b", "a")
    )
    assert told(succeed(noisy_project, "test", "--run=last", *QUIET), "Run directory") == str(
        second.relative_to(noisy_project)
    )
    assert told(succeed(noisy_project, "test", "--run=b", *QUIET), "Run directory") == str(
        first.relative_to(noisy_project)
    )


def test_configs_and_options_override_the_saved_config(
    noisy_original: Path, exp1: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.yaml").write_text("data: {init_args: {batch_size: 50, val_size: 70}}\n")
    options = [
        "--run=exp1",
        "-c",
        str(tmp_path / "more.yaml"),
        "--data.batch_size=60",
        "--print_config",
    ]
    result = yaml.safe_load(succeed(noisy_original, "fit", *options))
    assert result["data"]["init_args"] == config(exp1)["data"]["init_args"] | {
        "batch_size": 60,
        "val_size": 70,
        "predict": None,  # a saved config leaves out what is an action
        "run": None,
    }
    assert result["seed_everything"] == 2 and result["trainer"]["max_epochs"] == 1


def test_local_and_default_configs_are_left_to_new_runs(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=old", "--trainer.max_epochs=1", *STEPS)
    (noisy_project / "configs" / "local.yaml").write_text(
        "trainer: {max_epochs: 9}\nseed_everything: 9\n"
    )
    result = yaml.safe_load(succeed(noisy_project, "fit", "--run=old", "--print_config"))
    assert (result["trainer"]["max_epochs"], result["seed_everything"]) == (1, 42)
    assert config(directory)["seed_everything"] == 42


def test_what_a_resumed_run_was_given_stays(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=on", "--trainer.max_epochs=1", *STEPS)
    output = succeed(
        noisy_project,
        "fit",
        "--run=on",
        "--trainer.max_epochs=3",
        "--model.optimizer.lr=0.01",
        *QUIET,
    )
    assert told(output, "Checkpoint") == str(
        (directory / "checkpoints" / "last.ckpt").relative_to(noisy_project)
    )
    assert runs(noisy_project, "on") == [directory]
    assert config(directory)["trainer"]["max_epochs"] == 3
    assert load(directory)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.01
    assert not config(directory).keys() & {"run", "ckpt_path", "allow_untrained", "test_after_fit"}
    assert [int(row["epoch"]) for row in rows(directory)] == [0] * 3 + [1] * 3 + [2] * 3
    assert [entry["command"].split()[0] for entry in record(directory)["commands"]] == [
        "fit",
        "fit",
    ]


def test_a_run_that_does_not_exist_is_refused_with_what_to_name(
    noisy_original: Path, exp1: Path
) -> None:
    for wanted in ("nothing", "logs/exp1/nothing", "20200101-000000-abcdef", "logs"):
        line = fail(noisy_original, "test", f"--run={wanted}", *QUIET)
        assert (
            line.startswith(f"there is no run {wanted}")
            and "--run <directory|id|name|last>" in line
        )


def test_half_of_a_run(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=half", "--trainer.max_epochs=1", *STEPS)
    shutil.rmtree(directory / "checkpoints")
    line = fail(noisy_project, "test", "--run=half", *QUIET)
    assert (
        line.startswith(f"{directory.relative_to(noisy_project)} has no best checkpoint")
        and "fit --run" in line
    )
    line = fail(noisy_project, "fit", "--run=half", *QUIET)
    assert line.endswith("its checkpoints are gone: leave out --run for a new run")
    killed = record(directory) | {"status": "running"}
    killed["commands"][0] |= {"epochs": 0}
    (directory / "run.json").write_text(json.dumps(killed))
    assert "none yet, it starts anew" in succeed(noisy_project, "fit", "--run=half", *QUIET)
    assert load(directory)["epoch"] == 0

    (directory / "config.yaml").unlink()
    assert "there is no run half" in fail(noisy_project, "fit", "--run=half", *QUIET)


def test_a_config_of_an_older_version_of_the_project_is_answered_with_the_key(
    noisy_project: Path,
) -> None:
    directory = fit(noisy_project, "--name=old", "--trainer.max_epochs=1")
    text = (directory / "config.yaml").read_text()
    (directory / "config.yaml").write_text(text.replace("val_size:", "validation_size:"))
    line = fail(noisy_project, "test", "--run=old", *QUIET)
    place = f"{directory.relative_to(noisy_project)}/config.yaml, line "
    assert line.startswith(place) and ": data.validation_size is not a known key" in line, line


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_untrained_weights_only_if_asked_for(noisy_project: Path, verb: str) -> None:
    assert fail(noisy_project, verb, *DATA, *QUIET).startswith("there is no run default in logs")
    succeed(noisy_project, verb, *DATA, *QUIET, "--allow_untrained=true", "--name=random")
    (directory,) = runs(noisy_project, "random")
    assert record(directory)["commands"][0]["status"] == "finished"
    assert "--allow_untrained" in record(directory)["commands"][0]["command"]
    assert "allow_untrained" not in config(directory)


def test_an_unfinished_run_is_not_tested_by_its_name_alone(noisy_project: Path) -> None:
    finished, newer = (fit(noisy_project, "--name=two", "--trainer.max_epochs=1") for _ in range(2))
    (newer / "run.json").write_text(json.dumps(record(newer) | {"status": "running"}))
    output = succeed(noisy_project, "test", *DATA, *QUIET, "--trainer.logger.name=two")
    assert told(output, "Run directory") == str(finished.relative_to(noisy_project))
    assert told(succeed(noisy_project, "test", "--run=two", *QUIET), "Run directory") == str(
        newer.relative_to(noisy_project)
    )
