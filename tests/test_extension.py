"""What an owner writes: an option and a link in cli.py, and a data module's `load`."""

import inspect
import re
import textwrap

import pytest
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.template import Render

MODULE = """
from .classification import ClassificationModule


class SizedModule(ClassificationModule):
    def __init__(self, *args, vocabulary_size: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        print(f"vocabulary_size {vocabulary_size}")
"""
DATA = """
from .digits import DigitsDataModule


class SizedDataModule(DigitsDataModule):
    vocabulary_size = 321
"""


def example(text: str) -> str:
    """Return the methods that a docstring shows, as the body of a class."""
    docstring = inspect.cleandoc(text.split('"""')[3])
    lines = [line for line in docstring.splitlines() if line.startswith("    ") or not line]
    return textwrap.indent(textwrap.dedent("\n".join(lines)).strip("\n"), "    ")


def test_an_option_and_a_link_can_be_added_as_the_docstring_shows(render: Render) -> None:
    project = render(package_name="my_project", loggers=[])
    package = project / "src" / "my_project"
    text = (package / "cli.py").read_text()
    imported = "from lightning.pytorch.cli import LightningArgumentParser\n\n"
    text = re.sub(r"^from .engine", f"{imported}\\g<0>", text, flags=re.MULTILINE)
    (package / "cli.py").write_text(f"{text}\n{example(text)}\n")
    (package / "modules" / "sized.py").write_text(MODULE)
    (package / "data_modules" / "sized.py").write_text(DATA)
    classes = (
        "--data=my_project.data_modules.sized.SizedDataModule",
        "--model=my_project.modules.sized.SizedModule",
    )
    short = ("--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--name=noted")
    output = succeed(project, "fit", *DIGITS, *classes, *short, "--note=a first try")
    assert "vocabulary_size 321" in output
    assert "a first try" in output.splitlines()
    (config,) = project.glob("logs/noted/*/config.yaml")
    assert yaml.safe_load(config.read_text())["note"] == "a first try"
    assert "vocabulary_size 321" in succeed(project, "test", "--run=noted", "--ckpt_path=last")


LOADS = """
import torch

from .in_memory import ImageTensors, InMemoryDataModule


class ScaledDataModule(InMemoryDataModule):
    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.5, 0.3

    def load(self, train):
        return ImageTensors(torch.rand(100, 1, 28, 28), torch.arange(100) % 10)


class TupleDataModule(ScaledDataModule):
    def load(self, train):
        return torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(100) % 10
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "ScaledDataModule",
            "ScaledDataModule.load returns images from 0 to 1, but must return them from 0 to 255, ",
        ),
        (
            "TupleDataModule",
            "TupleDataModule.load returns tuple, but must return ImageTensors(images, labels)",
        ),
    ],
)
def test_a_load_that_returns_something_else_is_refused(
    render: Render, name: str, line: str
) -> None:
    project = render(package_name="my_project", loggers=[])
    (project / "src" / "my_project" / "data_modules" / "loads.py").write_text(LOADS)
    message = fail(project, "fit", *DIGITS, f"--data=my_project.data_modules.loads.{name}")
    assert message.startswith(line)
