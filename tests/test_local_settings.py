"""configs/local.yaml: what holds, and where a mistake in it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import DIGITS, fail, succeed


@pytest.fixture
def local(driven_project: Path) -> Iterator[Path]:
    path = driven_project / "configs" / "local.yaml"
    yield path
    path.unlink(missing_ok=True)


def settings(project: Path, *args: str) -> Any:
    return yaml.safe_load(succeed(project, "fit", *args, "--print_config"))


IMAGES = ("-c", "configs/data/image_folder.yaml", "-c", "configs/model/simplenet.yaml")


def test_local_settings_of_the_data_hold_for_what_a_config_leaves_open(
    driven_project: Path, local: Path
) -> None:
    local.write_text(
        "data:\n  init_args:\n    folder: /my/pictures\n    batch_size: 7\ntrainer:\n  max_epochs: 3\n"
    )
    images = settings(driven_project, *IMAGES)
    assert images["data"]["init_args"]["folder"] == "/my/pictures", (
        "null in a config says that it is not set"
    )
    assert images["data"]["init_args"]["batch_size"] == 64, "a config of the command comes later"
    digits = settings(driven_project, *DIGITS)
    assert "folder" not in digits["data"]["init_args"], (
        "a data module that has no such argument takes none"
    )
    assert (
        settings(driven_project, *IMAGES, "--data.folder=x")["data"]["init_args"]["folder"] == "x"
    )


def test_local_settings_may_choose_the_data(driven_project: Path, local: Path) -> None:
    name = "my_project.data_modules.image_folder.ImageFolderDataModule"
    local.write_text(f"data:\n  class_path: {name}\n  init_args:\n    folder: /my/pictures\n")
    alone = settings(driven_project, *IMAGES[2:])
    assert (
        alone["data"]["class_path"] == name
        and alone["data"]["init_args"]["folder"] == "/my/pictures"
    )
    assert settings(driven_project, *IMAGES)["data"]["init_args"]["folder"] == "/my/pictures"
    assert settings(driven_project, *DIGITS)["data"]["class_path"].endswith("DigitsDataModule")


def test_a_mistake_in_local_settings_is_placed(driven_project: Path, local: Path) -> None:
    local.write_text("trainer:\n  max_epochs: many\n")
    assert (
        fail(driven_project, "fit", *DIGITS)
        == "configs/local.yaml, line 2: trainer.max_epochs is many, but must be int or null"
    )


def test_a_relative_folder_on_the_command_line_is_that_of_the_shell(driven_project: Path) -> None:
    line = fail(
        driven_project,
        "fit",
        "-c",
        "../configs/data/image_folder.yaml",
        *DIGITS[2:3],
        "../configs/model/simplenet.yaml",
        "--data.folder=pics",
        cwd=driven_project / "data",
    )
    assert line.startswith("there is no pics/train"), line
