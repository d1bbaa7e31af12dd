"""What an owner adds, changes and deletes in the own rooms of a project does not fail the project's own tests."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import Render

ADDED = {
    "src/my_project/metrics/own.py": """
        from torchmetrics import Metric


        class Own(Metric):
            def __init__(self) -> None:
                super().__init__()
    """,
    "src/my_project/modules/own.py": """
        from torch import nn

        from .classification import ClassificationModule


        class Own(ClassificationModule):
            def __init__(self, num_classes: int, width: int, monitor: str, mode: str) -> None:
                net = lambda num_classes, input_shape: nn.Linear(width, num_classes)
                super().__init__(net, num_classes, [width], monitor=monitor, mode=mode)
    """,
    "src/my_project/data_modules/own.py": """
        from lightning.pytorch import LightningDataModule

        from ..utils.project import project_root


        class Own(LightningDataModule):
            def __init__(self, folder: str, sequence_length: int = 5) -> None:
                super().__init__()
                self.names = (project_root() / folder / "names.txt").read_text().split()
                self.input_shape = (sequence_length,)
    """,
    "configs/data/own.yaml": """
        data:
          class_path: my_project.data_modules.own.Own
          init_args:
            folder: data/elsewhere
    """,
    "configs/model/own.yaml": """
        model:
          class_path: my_project.modules.own.Own
          init_args:
            width: 3
        checkpoint:
          monitor: val/f1
    """,
    "configs/experiment/own.yaml": """
        # 中文
        model: {class_path: my_project.modules.own.Own, init_args: {width: 3}}
        data: {class_path: my_project.data_modules.own.Own, init_args: {folder: data}}
        checkpoint: {monitor: val/loss, mode: min}
    """,
    "configs/cluster/nodes.yaml": """
        partitions: [short, long]
    """,
    "configs/local.yaml": """
        trainer: {accelerator: gpu, devices: 8, default_root_dir: elsewhere}
        data: {init_args: {folder: nowhere}}
        checkpoint: {monitor: val/f1}
    """,
    "configs/default.yaml": """
        seed_everything: 7
        trainer:
          devices: 4
          max_epochs: 100
          limit_val_batches: 0
          callbacks:
            - {class_path: EarlyStopping, init_args: {monitor: val/f1, mode: max}}
        checkpoint: {monitor: val/f1, mode: max}
    """,
    "data/table.csv": "x,colour,target\n" + "".join(f"{i},{i % 3},c{i % 2}\n" for i in range(60)),
    "data/pictures/train/cat/1.png": "no picture",
}
DELETED = ("configs/data/digits.yaml", "src/my_project/data_modules/digits.py")


@pytest.mark.parametrize("deleted", [DELETED, ("configs",)], ids=["some", "all"])
def test_the_projects_own_tests_hold_whatever_its_owner_adds(
    render: Render, tmp_path: Path, deleted: tuple[str, ...]
) -> None:
    rendered = render(
        package_name="my_project",
        datasets=["digits", "csv_table", "image_folder"],
        models=["simplenet", "mlp"],
    )
    project = shutil.copytree(rendered, tmp_path / "my-project")
    for name, text in ADDED.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    for name in deleted:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "tests"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
