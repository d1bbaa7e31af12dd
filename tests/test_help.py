"""What `--help` and `--print_config` say of the sub-commands and their options."""

import re
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.trained_project import QUIET, SHORT, VERBS, last, only


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
            "a tenth if 0",
        ),
        (
            "--data.help=my_project.data_modules.in_memory.InMemoryDataModule",
            "--data.split_seed",
            "Seed that chooses",
        ),
        (
            "--model.help=my_project.modules.classification.ClassificationModule",
            "--model.compile",
            "Compile the",
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
