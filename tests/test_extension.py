"""What an owner writes: an option and a link in cli.py, and a data module's `load`."""

import inspect
import re
import textwrap
from pathlib import Path

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


class NoLoadDataModule(InMemoryDataModule):
    num_classes, input_shape, mean, std = 10, (1, 28, 28), 0.5, 0.3


class LabelledDataModule(NoLoadDataModule):
    labels = torch.arange(300) % 10

    def load(self, train):
        return ImageTensors(torch.zeros(300, 1, 28, 28, dtype=torch.uint8), self.labels)


class FewClassesDataModule(LabelledDataModule):
    num_classes = 9


class FloatDataModule(LabelledDataModule):
    labels = LabelledDataModule.labels.float()


class ListMeanDataModule(LabelledDataModule):
    mean = [0.5]


class NoMeanDataModule(InMemoryDataModule):
    num_classes, input_shape, labels = 10, (1, 28, 28), LabelledDataModule.labels
    load = LabelledDataModule.load


class UnknownClassesDataModule(LabelledDataModule):
    num_classes = None


class UnknownShapeDataModule(LabelledDataModule):
    input_shape = None
"""


@pytest.fixture(scope="module")
def loads(render: Render) -> Path:
    project = render(package_name="my_project", loggers=[])
    (project / "src" / "my_project" / "data_modules" / "loads.py").write_text(LOADS)
    return project


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
        ("NoLoadDataModule", "NoLoadDataModule has no load: write load(self, train), "),
        (
            "FewClassesDataModule",
            "FewClassesDataModule.load(train=True) returns the label 9 for sample 9, but num_classes is 9: "
            "labels have to be 0 to 8",
        ),
        (
            "FloatDataModule",
            "the labels in validation_step are of type Float, but must be int64: labels.long()",
        ),
        ("ListMeanDataModule", "ListMeanDataModule.mean is [0.5], but must be a number, "),
        ("NoMeanDataModule", "NoMeanDataModule.mean is missing, but must be a number, "),
        (
            "UnknownClassesDataModule",
            "num_classes of the data module is null, but must be a whole number",
        ),
        (
            "UnknownShapeDataModule",
            "input_shape of the data module is null, but must be whole numbers",
        ),
    ],
)
def test_a_data_module_that_cannot_be_used_is_refused(loads: Path, name: str, line: str) -> None:
    message = fail(loads, "fit", *DIGITS, f"--data=my_project.data_modules.loads.{name}")
    assert message.startswith(line)


OWN_CLI = """
from lightning.pytorch.cli import LightningArgumentParser

from .engine.cli import RunCLI


class CLI(RunCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments(
            "data.vocabulary", "model.init_args.vocabulary_size", apply_on="instantiate"
        )
"""


def test_what_is_wrong_in_cli_is_said_in_a_line(loads: Path) -> None:
    """A link to an attribute that the data lack, and an option that is there already."""
    package = loads / "src" / "my_project"
    before = (package / "cli.py").read_text()
    (package / "modules" / "sized.py").write_text(MODULE)
    (package / "cli.py").write_text(OWN_CLI)
    model = "--model=my_project.modules.sized.SizedModule"
    line = (
        "data.vocabulary is linked to model.vocabulary_size, but DigitsDataModule has no vocabulary: "
        "the link passes nothing"
    )
    short = ("--trainer.max_steps=1", "--trainer.limit_val_batches=1")
    assert line in succeed(loads, "fit", *DIGITS, model, *short).splitlines()
    assert "linked" not in succeed(loads, "fit", *DIGITS, *short), "this model does not take it"

    (package / "cli.py").write_text(f'{OWN_CLI}        parser.add_argument("--name")\n')
    message = fail(loads, "fit", *DIGITS)
    assert message.startswith("src/my_project/cli.py, line 13: ArgumentError: argument --name: ")
    (package / "cli.py").write_text(before)
