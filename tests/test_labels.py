"""Labels: masks, several classes at once and real numbers, weights of rare classes, and metrics of each class."""

import csv
import shutil
import textwrap
from pathlib import Path

import pytest
import torch
from helpers.commands import DIGITS, fail, succeed
from helpers.pages import blocks, write
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


# Class numbers of which one is rare, and such data without `class_counts`
RARE = """
import torch
from lightning.pytorch import LightningDataModule

from .digits import DigitsDataModule
from .in_memory import ImageTensors


class Rare(DigitsDataModule):
    def load(self, train):
        data = super().load(train)
        kept = (data.tensors[1] != 7) | (torch.arange(len(data)) % 10 == 0)
        return data.subset(kept.nonzero()[:, 0])


class Silent(LightningDataModule):
    num_classes, input_shape = 10, (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.data = Rare()

    def setup(self, stage):
        self.data.setup(stage)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(
            self.data.train_set, batch_size=64, collate_fn=lambda batch: (batch[0] / 255, batch[1])
        )

    def val_dataloader(self):
        return torch.utils.data.DataLoader(
            self.data.val_set, batch_size=64, collate_fn=lambda batch: (batch[0] / 255, batch[1])
        )


class Telling(Silent):
    def class_counts(self):
        return self.data.class_counts()


class Short(Silent):
    def class_counts(self):
        return [5, 6, 7]
"""
STOP = """
from lightning.pytorch import Callback


class Stop(Callback):
    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step == 30
"""
SIMPLENET = ("-c", "configs/model/simplenet.yaml")
BALANCED = "--model.class_weights=balanced"


@pytest.fixture(scope="module")
def rare(project: Path) -> Path:
    """The project, with digits of which few are sevens."""
    package = project / "src" / "my_project"
    (package / "data_modules" / "rare.py").write_text(RARE)
    (package / "callbacks" / "stop.py").write_text(STOP)
    return project


def source(name: str) -> str:
    return f"--data=my_project.data_modules.rare.{name}"


def weights(project: Path, name: str) -> dict[str, torch.Tensor]:
    path = only(project / "logs" / name) / "checkpoints" / "last.ckpt"
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return found


def test_weights_and_smoothing_are_in_the_training_loss_alone(rare: Path) -> None:
    code = """
import torch
from torch.nn.functional import cross_entropy
from my_project.data_modules.rare import Rare
from my_project.modules.classification import ClassificationModule
from my_project.utils.class_weights import balanced_weights

data = Rare()
data.setup("fit")
counts = data.train_set.tensors[1].bincount().double()
assert data.class_counts() == counts.tolist() and counts[7] < 20 < counts[6]
weights = balanced_weights(data, 10)
ignored = data.train_set.tensors[1].clone()
ignored[counts.argmax()] = -100
masks = ignored.view(-1, 1).repeat(1, 3)
masks[:, 0] = 255
data.train_set.tensors = (data.train_set.tensors[0], masks)
assert data.class_counts() == (2 * ignored[ignored >= 0].bincount()).tolist()
torch.testing.assert_close(weights.double(), (1 / counts) / (1 / counts).mean())

torch.manual_seed(0)
logits, labels = torch.randn(40, 3), torch.randint(3, (40,))
net = lambda num_classes, input_shape: torch.nn.Identity()
module = ClassificationModule(net, 3, (3,), class_weights=[1, 2.5, 4], label_smoothing=0.2)
weighted = cross_entropy(logits, labels, torch.tensor([1, 2.5, 4]), label_smoothing=0.2)
assert torch.equal(module.train().loss(logits, labels), weighted)
assert torch.equal(module.eval().loss(logits, labels), cross_entropy(logits, labels))
assert not [name for name in module.state_dict() if "class_weights" in name]
"""
    succeed(rare, "-c", code, cwd=rare / "src")


def test_a_training_with_balanced_classes_resumes_like_an_uninterrupted_one(rare: Path) -> None:
    options = (*SIMPLENET, source("Rare"), BALANCED, "--trainer.max_epochs=2")
    fit(rare, "whole", *options)
    fit(rare, "plain", *options[:-2], options[-1])
    fit(rare, "part", *options, "--trainer.callbacks+=my_project.callbacks.stop.Stop")
    succeed(rare, "fit", *QUIET, "--run=part", "--trainer.callbacks=null")
    expected = weights(rare, "whole")
    found = weights(rare, "part")
    assert found.keys() == expected.keys() == weights(rare, "plain").keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert any(
        not torch.equal(value, expected[name]) for name, value in weights(rare, "plain").items()
    )
    # A checkpoint of other weights of the classes can be evaluated and trained on.
    succeed(rare, "test", *QUIET, "--run=plain", BALANCED)
    more = ("--trainer.max_epochs=3", "--model.lr_scheduler=null", BALANCED)
    succeed(rare, "fit", *QUIET, "--run=plain", *more)


def test_other_data_say_how_many_samples_a_class_has(rare: Path) -> None:
    options = (*SIMPLENET, *QUIET, BALANCED, "--trainer.max_epochs=1")
    succeed(rare, "fit", *options, source("Telling"))
    message = fail(rare, "fit", *options, source("Silent"))
    assert message.startswith("class_weights is balanced, but Silent has no class_counts(): write")
    message = fail(rare, "fit", *options, source("Short"))
    assert message.startswith(
        "class_weights is balanced, but Short.class_counts() is [5, 6, 7]: it must have"
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("class_weights=[1,2]", "class_weights has 2 numbers, but there are 10 classes: give"),
        (f"class_weights={[1] * 9 + [-1]}", "class_weights has -1.0 for class 9, but must have"),
        (f"class_weights={[0] * 10}", "class_weights has 0.0 for class 0, but must have positive"),
        ("class_weights=blanced", "model.class_weights is blanced, but must be 'balanced' or a"),
        ("label_smoothing=2", "model.label_smoothing is 2, but must be >=0 and <=1"),
    ],
)
def test_wrong_weights_are_refused(rare: Path, option: str, expected: str) -> None:
    message = fail(rare, "fit", *SIMPLENET, *QUIET, source("Rare"), f"--model.{option}")
    assert message.startswith(expected)


def test_macro_f1_is_that_of_torchmetrics_and_decides_which_checkpoint_is_best(rare: Path) -> None:
    code = """
import torch
from torchmetrics.classification import MulticlassF1Score
from my_project.utils.macro_f1 import MacroF1
from my_project.utils.project import UserError

torch.manual_seed(0)
for shape in ((50,), (5, 4, 6)):
    mine, theirs = MacroF1(7), MulticlassF1Score(7, average="macro", ignore_index=-100)
    for _ in range(3):
        logits = torch.randn(shape[0], 7, *shape[1:])
        logits[:, 5:] -= 9  # never predicted; 5 is among the labels, and 6 is not
        labels = torch.randint(6, shape)
        labels[:2] = -100  # which the loss ignores
        mine.update(logits, labels)
        theirs.update(logits, labels)
    torch.testing.assert_close(mine.compute(), theirs.compute())
try:
    MacroF1(3).update(torch.rand(5, 4), torch.zeros(5))
except UserError as error:
    assert str(error).startswith("the network has 4 outputs, but there are 3 classes")
else:
    raise AssertionError("4 outputs are taken")
"""
    succeed(rare, "-c", code, cwd=rare / "src")
    options = (*SIMPLENET, source("Rare"), "--trainer.max_epochs=3", "--checkpoint.monitor=val/f1")
    rows = fit(rare, "f1", *options)
    values = [float(row["val/f1"]) for row in rows if row["val/f1"]]
    path = only(rare / "logs" / "f1") / "checkpoints" / "best.ckpt"
    best = torch.load(path, weights_only=True)
    assert values[best["epoch"]] == max(values)
    assert "test/f1" in succeed(rare, "test", *QUIET, "--run=f1")


@pytest.fixture(scope="module")
def documented(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with the files that two pages of the documentation show."""
    copy = shutil.copytree(project, tmp_path_factory.mktemp("documented") / "my-project")
    for page in ("dataset", "metric"):
        for language, code in blocks(page):
            write(copy, language, code)
    return copy


def test_a_value_of_the_data_reaches_the_network_through_a_link(documented: Path) -> None:
    words = "my_project.modules.words"
    model = (f"--model={words}.WordsModule", f"--model.net={words}.MeanOfWords")
    options = ("-c", "configs/data/words.yaml", *SIMPLENET, *model, "--trainer.max_epochs=10")
    rows = fit(documented, "words", *options)
    assert last(rows, "val/acc") > 0.9
    assert weights(documented, "words")["net.embedding.weight"].shape == (50, 16)
    # The link has no effect on data and models without the value.
    digits = ("-c", "configs/data/digits.yaml", *SIMPLENET, "--trainer.fast_dev_run=true")
    succeed(documented, "fit", *digits)


def test_each_validation_set_has_metrics_and_the_first_decides(documented: Path) -> None:
    data = "--data=my_project.data_modules.noisy_digits.NoisyDigitsDataModule"
    model = "--model=my_project.modules.several_sets.SeveralSetsModule"
    options = (*DIGITS, "--trainer.max_epochs=2")
    rows = fit(documented, "sets", *options, data, model, "--model.more_sets=[noisy]")
    digits = fit(documented, "digits", *options)
    for name in ("val/acc", "val/f1", "val/loss"):
        assert last(rows, name) == last(digits, name)
    assert last(rows, "val/acc") > last(rows, "val_noisy/acc")
    best = only(documented / "logs" / "sets") / "checkpoints" / "best.ckpt"
    values = [float(row["val/acc"]) for row in rows if row["val/acc"]]
    assert values[torch.load(best, weights_only=True)["epoch"]] == max(values)
    message = fail(documented, "fit", *QUIET, *options, data)
    assert "no `dataloader_idx` argument in `ClassificationModule.validation_step()`" in message
