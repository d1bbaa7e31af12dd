"""The owner's cli.py: what its docstring shows can be added, and reaches the run and its config."""

import inspect
import re
import textwrap

import yaml
from conftest import DIGITS, Render, succeed

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
