"""predictions.csv: whatever `predict_step` returns is in it, or a line says why not."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import DIGITS, fail, succeed
from helpers.template import Render
from PIL import Image

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
QUIET = QUICK[-2:]
SAMPLES = 360

# A module whose predictions are of the kind that an environment variable names
PREDICTS = """
import os

import numpy as np
import torch

from .classification import ClassificationModule

KINDS = {
    "logits": lambda logits, i: logits,
    "classes": lambda logits, i: logits.argmax(1),
    "texts": lambda logits, i: [f"a, {'b' * k}\\nc" for k in logits.argmax(1).tolist()],
    "mixed": lambda logits, i: {
        "name": [f"digit {k}" for k in logits.argmax(1).tolist()],
        "score": [float(value) for value in logits.amax(1)],
        "top": [row.topk(2).indices for row in logits],
        "array": logits.float().cpu().numpy(),
        "half": logits.amax(1).bfloat16(),
        "boxes": logits[:, None, None],
        "count": len(logits),
        "problem": logits.argmax(1),
        "id": [f"sample-{i}-{k}" for k in range(len(logits))],
    },
    "arrays": lambda logits, i: {
        "class": logits.argmax(1),
        "val/mask": logits.argmax(1)[:, None, None].expand(-1, 4, 5),
        "found": logits[:, None, :, None] > 0,
        "image": logits.softmax(1).view(-1, 1, 2, 5).repeat(1, 3, 1, 1).bfloat16(),
        "logits": logits[:, :, None, None],
        "each": [row[None, None, :3].softmax(2) for row in logits],
    },
    "detections": lambda logits, i: [{"digit": row.argmax(), "p": np.float32(0.5)} for row in logits],
    "nothing": lambda logits, i: None,
    "tuple": lambda logits, i: (logits, logits),
    "changing": lambda logits, i: {"a": logits.amax(1)} | ({"b": logits.amin(1)} if i else {}),
    "raising": lambda logits, i: {"a": logits.amax(1)} if not i else 1 / 0,
}


class Predicts(ClassificationModule):
    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return KINDS[os.environ["KIND"]](self(batch[0]), batch_idx)
"""

STREAM = """
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from .digits import DigitsDataModule


class Rows(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        images, labels = self.data.tensors
        return zip(images, labels, strict=True)


class Stream(DigitsDataModule):
    def predict_dataloader(self):
        return DataLoader(Rows(self.test_set), batch_size=50)


class Positional(DigitsDataModule):
    def predict_dataloader(self):
        return DataLoader(TensorDataset(*self.test_set.tensors), 50)


class Two(DigitsDataModule):
    def predict_dataloader(self):
        return [self.test_dataloader(), self.test_dataloader()]
"""


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = render(
        datasets=["digits", "image_folder"], package_name="my_project", tooling=["report"]
    )
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("predictions") / "my-project")
    (folder / "src" / "my_project" / "modules" / "predicts.py").write_text(PREDICTS)
    (folder / "src" / "my_project" / "data_modules" / "stream.py").write_text(STREAM)
    module = "--model=my_project.modules.predicts.Predicts"
    succeed(folder, "fit", *DIGITS, *QUICK, module, "--name=own")
    succeed(folder, "fit", *DIGITS, *QUICK, "--name=plain")
    return folder


def rows(project: Path, name: str = "own", file: str = "predictions.csv") -> list[dict[str, str]]:
    (path,) = project.glob(f"logs/{name}/*/**/{file}")
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def leftovers(project: Path) -> list[str]:
    return [path.name for path in project.glob("logs/own/*/**/predictions*") if path.is_file()]


def predict(project: Path, kind: str, *options: str) -> list[dict[str, str]]:
    for path in project.glob("logs/own/*/**/predictions.csv"):
        path.unlink()
    output = succeed(project, "predict", "--run=own", *QUIET, *options, KIND=kind)
    assert "Predictions: " in output
    assert leftovers(project) == ["predictions.csv"]
    return rows(project)


@pytest.mark.parametrize("kind", ["logits", "classes", "texts", "detections"])
def test_tensors_lists_and_texts_are_written(project: Path, kind: str) -> None:
    found = predict(project, kind)
    assert [row["id"] for row in found] == [str(i) for i in range(SAMPLES)]
    fits: dict[str, Any] = {
        "logits": lambda row: len({row[f"prediction{i}"] for i in range(10)}) > 1,
        "classes": lambda row: row["prediction"] in map(str, range(10)),
        "texts": lambda row: row["prediction"].startswith("a, ") and "\nc" in row["prediction"],
        "detections": lambda row: row["digit"] in map(str, range(10)) and row["p"] == "0.5",
    }
    assert all(map(fits[kind], found))


def test_of_a_dictionary_each_value_is_written_that_has_one_for_each_sample(project: Path) -> None:
    output = succeed(project, "predict", "--run=own", *QUIET, KIND="mixed")
    found = rows(project)
    assert len(found) == SAMPLES
    assert found[70]["id"] == "sample-2-6", "what predict_step calls id is the id"
    assert found[0]["name"] == f"digit {json.loads(found[0]['top'])[0]}"
    assert float(found[0]["score"]) == pytest.approx(
        max(float(found[0][f"array{i}"]) for i in range(10))
    )
    assert "count" not in found[0]
    assert found[0]["problem"] and "samples have no prediction" not in output
    assert output.count("leaves out count, which is one value for 32 samples") == 1


def test_masks_and_images_are_files_that_a_column_names(project: Path) -> None:
    found = predict(project, "arrays", "--data=my_project.data_modules.digits.DigitsDataModule")
    (directory,) = project.glob("logs/own/*")
    row = found[7]
    assert list(row)[-6:] == ["class", "val/mask", "found", "image", "logits", "each"]
    assert row["val/mask"] == "predictions/val_mask/7.png"
    mask = np.asarray(Image.open(directory / row["val/mask"]))
    assert mask.shape == (4, 5) and (mask == int(row["class"])).all(), "a pixel is a class"
    logits = np.load(directory / row["logits"])
    assert row["logits"] == "predictions/logits/7.npy" and logits.shape == (10, 1, 1)
    shades = np.asarray(Image.open(directory / row["found"]))
    assert (shades.ravel() == (logits.ravel() > 0) * 255).all()
    probabilities = np.exp(logits.ravel()) / np.exp(logits).sum()
    picture = Image.open(directory / row["image"])
    assert (picture.mode, picture.size) == ("RGB", (5, 2))
    red = np.asarray(picture)[:, :, 0].ravel()
    assert red == pytest.approx(probabilities * 255, abs=2)
    assert Image.open(directory / row["each"]).size == (3, 1)
    assert len(list((directory / "predictions" / "val_mask").iterdir())) == SAMPLES

    (directory / "predictions" / "val_mask" / "999.png").touch()
    again = predict(project, "arrays", "--trainer.devices=2", "--trainer.strategy=ddp")
    files = {path.name for path in (directory / "predictions" / "val_mask").iterdir()}
    assert files == {f"{row['id']}.png" for row in again}, "files of earlier samples are gone"
    assert not list(directory.glob("*.part*"))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("nothing", "leaves out prediction, which is of type NoneType. Return a tensor of shape"),
        ("tuple", "leaves out prediction, which has 2 values for 32 samples. Return a tensor"),
    ],
)
def test_without_rows_a_line_says_why_and_an_older_file_stays(
    project: Path, kind: str, line: str
) -> None:
    before = predict(project, "classes")
    output = succeed(project, "predict", "--run=own", *QUIET, KIND=kind)
    assert line in output
    assert "predict_step has returned no rows" in output
    assert rows(project) == before


def test_other_values_in_a_later_batch_are_refused(project: Path) -> None:
    before = predict(project, "classes")
    message = fail(project, "predict", "--run=own", *QUIET, KIND="changing")
    assert message == (
        "predict_step has to return the same values in every batch, but these are in some alone: b"
    )
    assert rows(project) == before and leftovers(project) == ["predictions.csv"]


def test_an_error_leaves_nothing_half_written(project: Path) -> None:
    from helpers.commands import run_warm as run

    before = predict(project, "classes")
    done = run(project, "predict", "--run=own", *QUIET, KIND="raising")
    assert "ZeroDivisionError" in done.stderr
    assert rows(project) == before and leftovers(project) == ["predictions.csv"]


def test_samples_without_positions_are_counted(project: Path) -> None:
    expected = predict(project, "logits")
    found = predict(project, "logits", "--data=my_project.data_modules.stream.Stream")
    assert [row["id"] for row in found] == [str(i) for i in range(SAMPLES)]
    for row, other in zip(found, expected, strict=True):
        assert float(row["prediction3"]) == pytest.approx(float(other["prediction3"]), abs=1e-4)


def test_a_loader_that_lightning_cannot_rebuild_is_refused_in_a_line(project: Path) -> None:
    data = "--data=my_project.data_modules.stream.Positional"
    message = fail(project, "predict", "--run=own", *QUIET, data)
    assert message.startswith("predict_dataloader passes batch_size by its position, ")
    assert message.endswith("write DataLoader(dataset, batch_size=...)")


def test_several_loaders_have_their_number_in_each_row(project: Path) -> None:
    found = predict(project, "arrays", "--data=my_project.data_modules.stream.Two")
    expected = [(str(k), str(i)) for k in range(2) for i in range(SAMPLES)]
    assert [(row["loader"], row["id"]) for row in found] == expected
    names = [f"predictions/found/{k}-{i}.png" for k, i in expected]
    assert [row["found"] for row in found] == names


def test_true_labels_and_files_are_beside_the_predictions(project: Path) -> None:
    for part, count in (("train", 20), ("test", 5)):
        for k, name in enumerate(("bright", "dark")):
            (project / "pictures" / part / name).mkdir(parents=True)
            for i in range(count):
                # All test pictures look bright, so that the dark ones are classified wrongly.
                brightness = 50 if k and part == "train" else 200
                picture = Image.new("RGB", (16, 16), (brightness + i, brightness, brightness))
                picture.save(project / "pictures" / part / name / f"{i:02}.png")
    data = (
        "-c", "configs/data/image_folder.yaml", "-c", "configs/model/simplenet.yaml",
        f"--data.folder={project / 'pictures'}", "--data.image_size=16", "--data.num_workers=0",
        "--data.batch_size=4",
    )  # fmt: skip
    options = ("--trainer.max_epochs=8", *QUIET, "--name=pictures", "--test_after_fit=true")
    succeed(project, "fit", *data, *options)
    succeed(project, "predict", "--run=pictures", *QUIET)
    found = rows(project, "pictures")
    files = [f"test/{name}/{i:02}.png" for name in ("bright", "dark") for i in range(5)]
    assert [row["file"] for row in found] == files
    assert [row["label"] for row in found] == ["0"] * 5 + ["1"] * 5
    assert [row["label_name"] for row in found] == ["bright"] * 5 + ["dark"] * 5
    wrong = rows(project, "pictures", "report/most_wrong.csv")
    assert wrong and list(wrong[0])[:3] == ["id", "file", "true"]
    assert [row["file"] for row in wrong] == [files[int(row["id"])] for row in wrong]

    succeed(project, "predict", "--run=plain", *QUIET)
    digits = rows(project, "plain")
    assert list(digits[0])[:4] == ["id", "label", "class", "p0"]
    right = [row["label"] == row["class"] for row in digits]
    assert 0 < sum(right) <= SAMPLES
