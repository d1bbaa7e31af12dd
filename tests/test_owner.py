"""What an owner adds, changes and deletes in the own rooms of a project does not fail the project's own tests."""

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from helpers.commands import python
from helpers.template import Render

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
                net = lambda num_classes, input_shape: nn.Sequential(
                    nn.Flatten(), nn.Linear(width, num_classes)
                )
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
            width: 784
        checkpoint:
          monitor: val/acc
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
}
MISTAKES = {  # in what an owner writes, and which of the project's own tests finds each
    "data_modules.wrong.Test": "test_the_test_set_is_another_one",
    "data_modules.wrong.Labels": "test_batches_fit_the_network",
    "data_modules.wrong.Shape": "test_batches_fit_the_network",
    "data_modules.wrong.Split": "test_every_training_sample_is_trained_or_validated_on_but_not_both",
    "models.wrong.Deaf": "test_it_learns_one_batch_by_heart",
    "models.wrong.Fixed": "test_its_checkpoint_loads_again",
}
WRONG_DATA = """
    from .digits import DigitsDataModule


    class Test(DigitsDataModule):
        def load(self, train):
            return super().load(train=True)


    class Labels(DigitsDataModule):
        num_classes = 9


    class Shape(DigitsDataModule):
        input_shape = (3, 28, 28)


    class Split(DigitsDataModule):
        def setup(self, stage):
            super().setup(stage)
            if stage == "fit":
                self.val_set = self.train_set.subset(range(180))
"""
WRONG_NETWORKS = """
    import torch
    from torch import nn

    from .simplenet import SimpleNet


    class Deaf(SimpleNet):
        def forward(self, images):
            return super().forward(torch.zeros_like(images))


    class Fixed(nn.Linear):
        def __init__(self, num_classes, input_shape):
            super().__init__(input_shape[1], num_classes)
"""
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
    command = [python(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "tests"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_projects_own_tests_find_mistakes_in_what_its_owner_adds(
    render: Render, tmp_path: Path
) -> None:
    rendered = render(package_name="my_project", datasets=["digits"])
    project = shutil.copytree(rendered, tmp_path / "my-project")
    source = project / "src" / "my_project"
    (source / "data_modules" / "wrong.py").write_text(textwrap.dedent(WRONG_DATA))
    (source / "models" / "wrong.py").write_text(textwrap.dedent(WRONG_NETWORKS))
    for place in MISTAKES:
        kind, _, name = place.split(".")
        folder, right = ("data", "digits.DigitsDataModule")
        if kind == "models":
            folder, right = ("model", "simplenet.SimpleNet")
        (config,) = project.glob(f"configs/{folder}/{right.split('.')[0]}.yaml")
        text = config.read_text().replace(f"{kind}.{right}", place)
        (config.parent / f"{name.lower()}.yaml").write_text(text)
    tests = ["tests/test_data.py", "tests/test_models.py"]
    command = [python(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", *tests]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    # ERROR: the data module itself refuses the mistake, before the test begins.
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+\[\w+\])", done.stdout, re.MULTILINE))
    for place, test in MISTAKES.items():
        assert f"{test}[{place.split('.')[-1].lower()}]" in failed, done.stdout
    assert not any(f"[{name}]" in test for test in failed for name in ("digits", "simplenet"))
