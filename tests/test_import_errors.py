"""Files that cannot be imported, and classes that cannot be built."""

import textwrap
from pathlib import Path

import pytest
from helpers.command_line_driver import Driver
from helpers.commands import DIGITS


def write(project: Path, name: str, code: str) -> None:
    """Write a module of the user's own into the project's package."""
    (project / "src" / "my_project" / name).write_text(textwrap.dedent(code).lstrip())


BROKEN = {
    "a missing colon": ("class Net\n    pass\n", 1, "expected ':'"),
    "an open bracket": ("x = 1\nprint(\n", 2, "'(' was never closed"),
    "an error": (
        "from torch import nn\n\nraise RuntimeError('no such device')\n",
        3,
        "RuntimeError: no such device",
    ),
    "a missing package": (
        "import not_there.foo\n",
        1,
        "ModuleNotFoundError: No module named 'not_there'",
    ),
    "a name that is not there": (
        "from .simplenet import SimplNet\n",
        1,
        "ImportError: cannot import name 'SimplNet'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_why_a_file_cannot_be_imported_comes_first(
    driven_project: Path, driver: Driver, tmp_path: Path, what: str
) -> None:
    code, number, reason = BROKEN[what]
    module = f"broken_{list(BROKEN).index(what)}"
    name = f"my_project.models.{module}.Net"
    write(driven_project, f"models/{module}.py", code)
    (tmp_path / "mistake.yaml").write_text(f"model:\n  init_args:\n    net: {name}\n")
    (tmp_path / "class.yaml").write_text(
        f"model:\n  init_args:\n    net:\n      class_path: {name}\n"
    )
    options = [
        f"--model.net={name}",
        f"--model={name}",
        f"--data={name}",
        f"--trainer.callbacks={name}",
    ]
    configs = [f"-c={tmp_path}/mistake.yaml", f"-c={tmp_path}/class.yaml"]
    for option in (*options, *configs):
        line = driver.refuse("fit", *DIGITS, option)
        assert line.startswith(f"src/my_project/models/{module}.py, line {number}: {reason}"), line
        key = "model.net" if option in configs else option[2:].partition("=")[0]
        assert f"({key} is {name}" in line and ("yaml, line" in line) == (option in configs), line


def test_a_constructor_that_raises_is_answered_with_its_place(
    driven_project: Path, driver: Driver
) -> None:
    write(
        driven_project,
        "models/raising.py",
        """
        from .simplenet import SimpleNet


        class Net(SimpleNet):
            def __init__(self, num_classes: int, input_shape: tuple[int, ...], width: int = 3) -> None:
                super().__init__(num_classes, input_shape)
                {}[width]
        """,
    )
    line = driver.refuse("fit", *DIGITS, "--model.net=my_project.models.raising.Net")
    assert line == "src/my_project/models/raising.py, line 7: KeyError: 3"


def test_an_argument_without_a_type_that_should_be_built_is_named(
    driven_project: Path, driver: Driver
) -> None:
    write(
        driven_project,
        "modules/untyped.py",
        """
        from lightning.pytorch import LightningModule


        class Untyped(LightningModule):
            def __init__(self, net, width=3):
                super().__init__()
                self.net = net(10, (1, 8, 8))
        """,
    )
    line = driver.refuse("fit", *DIGITS, "--model=my_project.modules.untyped.Untyped")
    assert line.startswith(
        "model: argument net of Untyped has no type, so that my_project.models.simplenet.SimpleNet is"
    )
    _, output = driver.run(
        "fit", *DIGITS[:2], "--model=my_project.modules.untyped.Untyped", "--model.net=f"
    )
    assert "no type" not in output, "it may well be a text"


def test_an_argument_without_a_type_and_a_default_is_missing_if_it_is_not_given(
    driven_project: Path, driver: Driver
) -> None:
    """jsonargparse fills in None. What links give is not missing."""
    write(
        driven_project,
        "modules/untyped.py",
        """
        from lightning.pytorch import LightningModule


        class Needs(LightningModule):
            def __init__(self, width, num_classes, input_shape, depth=2):
                super().__init__()
                raise ValueError(f"{width} {num_classes} {input_shape} {depth}")
        """,
    )
    needs = ("fit", *DIGITS[:2], "--model=my_project.modules.untyped.Needs")
    line = driver.refuse(*needs)
    assert line == "model.width is missing: Needs has no default for it"
    assert driver.refuse(*needs, "--model.width=3").endswith("ValueError: 3 10 [1, 28, 28] 2")
    assert driver.refuse(*needs, "--model.width=null").endswith("ValueError: None 10 [1, 28, 28] 2")


def test_a_model_for_other_data_is_answered_with_what_the_data_give(
    driven_project: Path, driver: Driver
) -> None:
    (driven_project / "data" / "table.csv").write_text(
        "a,b,target\n" + "".join(f"{i},{-i},{i / 7}\n" for i in range(40))
    )
    table = ("-c", "configs/data/csv_table.yaml", "--data.target=target", "--data.task=regression")
    line = driver.refuse("fit", *table, "-c", "configs/model/mlp.yaml")
    assert line.startswith(
        "ClassificationModule needs num_classes, but CSVTableDataModule gives num_outputs"
    ), line
