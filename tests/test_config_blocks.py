"""A block of a config that is of another kind is refused with its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line_driver import Driver
from helpers.commands import DIGITS

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
        (
            "trainer:\n<<<<<<< before updating\n  devices: 1\n=======\n  devices: 2\n>>>>>>> after updating\n",
            ", line 2: here begins a conflict of an update or a merge. Keep one of its two sides",
        ),
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
