"""Two processes make one run."""

import csv
import shlex
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.run_files import load, record
from helpers.trained_project import QUIET, SHORT, go, last, metric, only, write


def test_two_processes_make_one_run_and_count_every_sample_once(project: Path) -> None:
    write(
        project,
        "data_modules/odd.py",
        """
        from .digits import DigitsDataModule
        from .in_memory import ImageTensors


        class OddDataModule(DigitsDataModule):
            def load(self, train: bool) -> ImageTensors:
                data = super().load(train)
                return data if train else ImageTensors(*(part[:357] for part in data.tensors))
        """,
    )
    data = "--data my_project.data_modules.odd.OddDataModule --data.batch_size 7 --data.val_size 181 --name ddp"
    two = "--trainer.accelerator cpu --trainer.devices 2 --trainer.strategy ddp"

    def with_two(line: str) -> str:
        verb, *options = shlex.split(f"{line} {data} {two}")
        return succeed(project, verb, *DIGITS, *QUIET, *options)

    with_two(f"fit {SHORT} --data.num_workers 2")
    directory = only(project / "logs" / "ddp")
    checkpoint = load(last(directory))
    assert checkpoint["global_step"] == 2
    for verb in ("validate", "test"):
        together, alone = with_two(verb), go(project, f"{verb} {data}")
        prefix = "val" if verb == "validate" else "test"
        for name in (f"{prefix}/acc", f"{prefix}/loss"):
            assert metric(together, name) == pytest.approx(metric(alone, name), rel=1e-5)
    with_two("predict")
    with (directory / "predictions.csv").open() as file:
        assert [int(row["id"]) for row in csv.DictReader(file)] == list(range(357))
    assert {
        path.name.split(".")[0] for path in directory.iterdir() if "predictions" in path.name
    } == {"predictions"}
    commands = [entry["command"].split()[0] for entry in record(directory)["commands"]]
    assert commands == ["fit", "validate", "validate", "test", "test", "predict"], (
        "once for both processes"
    )
