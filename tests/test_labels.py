"""Labels: masks, several classes at once and real numbers, weights of rare classes, and metrics of each class."""

import csv
import textwrap
from pathlib import Path

import pytest
from helpers.commands import succeed
from helpers.template import Render

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")

# Data whose labels are not class numbers, and networks and modules for them
OWN = {
    "data_modules/own.py": """
        import torch

        from .in_memory import ImageTensors, InMemoryDataModule


        class Squares(InMemoryDataModule):
            '''Noise with a bright square: its pixels are of class 1, the others of class 0.'''

            num_classes, input_shape, mean, std = 2, (1, 12, 12), 0.4, 0.3

            def load(self, train):
                images = torch.randint(100, (200, 1, 12, 12), dtype=torch.uint8)
                masks = torch.zeros(200, 12, 12, dtype=torch.int64)
                for mask, place in zip(masks, torch.randint(8, (200, 2)).tolist(), strict=True):
                    mask[place[0] : place[0] + 4, place[1] : place[1] + 4] = 1
                return ImageTensors(images + 120 * masks[:, None].to(torch.uint8), masks)


        class Mirrored(Squares):
            '''Mirrors half of the training images, and their masks alike.'''

            def augment_batch(self, images, labels):
                chosen = torch.rand(len(images)) < 0.5
                images[chosen] = images[chosen].flip(3)
                labels[chosen] = labels[chosen].flip(2)
                assert torch.equal(images[:, 0] > 0.43, labels == 1)
                return images, labels


        class Corners(InMemoryDataModule):
            '''Each corner is bright or not, whatever the others are: four classes at once.'''

            num_classes, input_shape, mean, std = 4, (1, 8, 8), 0.4, 0.3

            def load(self, train):
                several = torch.randint(2, (300, 4), dtype=torch.uint8)
                corners = several.view(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
                return ImageTensors(corners * 200 + 20, several.float())


        class Brightness(InMemoryDataModule):
            '''The label is the brightness of the image.'''

            num_outputs, input_shape, mean, std = 1, (1, 4, 4), 0.5, 0.3

            def load(self, train):
                brightness = torch.arange(250)
                images = brightness.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
                return ImageTensors(images.contiguous(), brightness / 250)
    """,
    "models/pixels.py": """
        from torch import nn


        class Pixels(nn.Sequential):
            def __init__(self, num_classes, input_shape):
                layers = nn.Conv2d(input_shape[0], 8, 3, padding=1), nn.ReLU()
                super().__init__(*layers, nn.Conv2d(8, num_classes, 1))
    """,
    "modules/several.py": """
        from lightning.pytorch import LightningModule
        from torch import nn
        from torch.nn.functional import binary_cross_entropy_with_logits
        from torch.optim import Adam
        from torchmetrics.classification import MultilabelAccuracy


        class Several(LightningModule):
            def __init__(self, num_classes, input_shape):
                super().__init__()
                self.save_hyperparameters()
                self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
                self.acc = MultilabelAccuracy(num_classes, validate_args=False)

            def configure_optimizers(self):
                return Adam(self.parameters(), 0.05)

            def training_step(self, batch, batch_idx):
                return binary_cross_entropy_with_logits(self.net(batch[0]), batch[1])

            def validation_step(self, batch, batch_idx):
                self.acc.update(self.net(batch[0]), batch[1])

            def on_validation_epoch_end(self):
                self.log("val/acc", self.acc)

            def predict_step(self, batch, batch_idx):
                return {"p": self.net(batch[0]).sigmoid()}
    """,
}


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with data modules whose labels are of all kinds."""
    project = render(
        datasets=["digits"],
        models=["simplenet", "mlp", "regression"],
        tooling=["report"],
        package_name="my_project",
    )
    for name, code in OWN.items():
        path = project / "src" / "my_project" / name
        path.write_text(textwrap.dedent(code))
    return project


def only(folder: Path) -> Path:
    (directory,) = folder.iterdir()
    return directory


def fit(project: Path, name: str, *options: str) -> list[dict[str, str]]:
    """Train in a run of this name; return the rows of its metrics.csv."""
    succeed(project, "fit", *QUIET, f"--name={name}", *options)
    with (only(project / "logs" / name) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def last(rows: list[dict[str, str]], metric: str) -> float:
    return float([row[metric] for row in rows if row.get(metric)][-1])


@pytest.mark.parametrize("data", ["Squares", "Mirrored"])
def test_a_network_learns_masks_that_change_with_their_images(project: Path, data: str) -> None:
    configs = ("-c", "configs/model/simplenet.yaml", "--model.net=my_project.models.pixels.Pixels")
    source = f"--data=my_project.data_modules.own.{data}"
    rows = fit(project, data, *configs, source, "--trainer.max_epochs=10", "--data.batch_size=8")
    assert last(rows, "val/acc") > 0.97, "the background alone is 0.89"
    succeed(project, "predict", *QUIET, f"--run={data}")
    run = only(project / "logs" / data)
    assert len(list((run / "predictions" / "class").iterdir())) == 200


def test_a_module_learns_several_classes_at_once(project: Path) -> None:
    model = "--model=my_project.modules.several.Several"
    data = "--data=my_project.data_modules.own.Corners"
    rows = fit(project, "several", model, data)
    assert last(rows, "val/acc") == 1
    succeed(project, "predict", *QUIET, "--run=several")
    table = only(project / "logs" / "several") / "predictions.csv"
    assert table.read_text().splitlines()[0].split(",")[1:] == [
        *(f"label{i}" for i in range(4)),
        *(f"p{i}" for i in range(4)),
    ]


def test_a_regression_learns_real_numbers_of_images(project: Path) -> None:
    config = ("-c", "configs/model/regression.yaml")
    data = "--data=my_project.data_modules.own.Brightness"
    rows = fit(project, "brightness", *config, data, "--trainer.max_epochs=10")
    assert last(rows, "val/r2") > 0.9
