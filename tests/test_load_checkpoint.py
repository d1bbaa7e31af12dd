"""A checkpoint loads in Python with its path alone."""

import shutil
from pathlib import Path

from helpers.commands import succeed
from helpers.run_files import load
from helpers.trained_project import best, last

LOAD = """
import sys
import torch
from my_project.modules.classification import ClassificationModule

module = ClassificationModule.load_from_checkpoint(sys.argv[1])
print(tuple(module(torch.zeros(2, 1, 28, 28)).shape), module.hparams["num_classes"])
"""


def test_a_checkpoint_loads_with_nothing_but_its_path_from_any_folder(
    fitted: Path, exp1: Path, tmp_path: Path
) -> None:
    for path in (best(exp1), last(exp1)):
        load(path)
    path = Path(shutil.copy(best(exp1), tmp_path / "a model.ckpt"))
    source = str(fitted / "src")
    output = succeed(fitted, "-c", LOAD, str(path), cwd=tmp_path, PYTHONPATH=source)
    assert output == "(2, 10) 10\n"
