"""Segmentation: its loss and metrics, predicted masks, the report, export, the model card, and two processes."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fail, run_warm, succeed
from helpers.run_files import record, rows, run_of
from helpers.server import Server
from helpers.template import Render
from onnxruntime import InferenceSession
from PIL import Image

CONFIGS = ("-c", "configs/data/digit_masks.yaml", "-c", "configs/model/segmentation.yaml")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SMALL = ("--model.net.width=8", "--model.net.depth=2", "--data.crop=1", "--data.batch_size=8")
CLASSES = ["background", *(f"digit {digit}" for digit in range(10))]


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project for segmentation alone, with a run `exp1` of a small network that was tested and predicted with."""
    project = render(
        package_name="my_project",
        datasets=["digit_masks", "mask_folder"],
        models=["segmentation"],
        loggers=["csv"],
        tooling=["export", "paper", "report"],
    )
    fit = ("fit", *CONFIGS, *SMALL, *QUIET, "--trainer.max_epochs=5", "--seed_everything=1")
    output = succeed(project, *fit, "--name=exp1", "--test_after_fit=true")
    assert "arning" not in output
    assert f"Report: logs/exp1/{run_of(project, 'exp1').name}/report\n" in output
    succeed(project, "predict", "--run=exp1", *QUIET)
    return project


@pytest.fixture(scope="module")
def package(project: Path) -> Iterator[Any]:
    """A function that imports a module of that project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project / "src"))
        yield lambda name: importlib.import_module(f"my_project.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def images(package: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The images that are held out, uint8 (90, 1, 64, 64), and their masks, int64 (90, 64, 64)."""
    data = package("data_modules.digit_masks").DigitMasksDataModule().load(train=False)
    pixels, masks = (tensor.numpy() for tensor in data.tensors)
    return pixels, masks


def predicted(project: Path, name: str = "mask") -> np.ndarray[Any, Any]:
    """Return the predictions of run `exp1` as arrays, (90, 64, 64)."""
    directory = run_of(project, "exp1")
    found = []
    for row in rows(directory / "predictions.csv"):
        with Image.open(directory / row[name]) as picture:
            found.append(np.array(picture))
    return np.stack(found)


def iou(true: np.ndarray[Any, Any], found: np.ndarray[Any, Any], number: int) -> float:
    """Return intersection over union of a class; NaN if there is none of it."""
    both = ((true == number) & (found == number)).sum()
    either = ((true == number) | (found == number)).sum()
    return float(both / either) if either else float("nan")


def test_the_iou_is_of_all_pixels_together_and_the_network_learns(
    project: Path, images: Any
) -> None:
    _, masks = images
    expected = [iou(masks, predicted(project), number) for number in range(11)]
    metrics = record(run_of(project, "exp1"))["metrics"]
    assert [metrics[f"test/iou_{number}"] for number in range(11)] == pytest.approx(expected)
    assert metrics["test/iou"] == pytest.approx(np.mean(expected))
    assert metrics["test/iou"] > 0.3, "the background alone would be 0.08"
    logged = rows(run_of(project, "exp1") / "metrics.csv")
    best = max(float(row["val/iou"]) for row in logged if row.get("val/iou"))
    assert metrics["val/iou"] == pytest.approx(best), "the checkpoint is the one with most of it"


@pytest.mark.sweep  # two minutes
def test_the_config_as_shipped_reaches_what_the_readme_says(project: Path) -> None:
    output = succeed(project, "fit", *CONFIGS, *QUIET, "--test_after_fit=true")
    assert float(re.findall(r"test/iou\W+([\d.]+)", output)[0]) > 0.9


def test_masks_have_the_colours_of_their_classes_and_images_of_p_are_grey(project: Path) -> None:
    directory = run_of(project, "exp1")
    with Image.open(directory / "predictions" / "mask" / "0.png") as mask:
        assert mask.mode == "P"
        colours = mask.getpalette()
    assert colours and len(colours) == 3 * 256
    pascal = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128]
    assert colours[:18] == pascal
    assert colours[-3:] == [224, 224, 192], "white is rare in pictures, too"
    p = predicted(project, "p")
    assert p.dtype == np.uint8 and 255 / 11 - 1 <= p.min() < p.max() == 255


def test_the_report_has_the_classes_and_the_worst_images(project: Path, images: Any) -> None:
    _, masks = images
    found = predicted(project)
    report = run_of(project, "exp1") / "report"
    names = ["classes.csv", "confusion.csv", "confusion.png", "worst.csv", "worst.png"]
    assert sorted(path.name for path in report.iterdir()) == names
    classes = rows(report / "classes.csv")
    assert [row["class"] for row in classes] == CLASSES
    for number, row in enumerate(classes):
        right = ((masks == number) & (found == number)).sum()
        assert int(row["pixels"]) == (masks == number).sum()
        assert float(row["iou"]) == pytest.approx(iou(masks, found, number))
        assert float(row["recall"]) == pytest.approx(right / (masks == number).sum())
        if row["precision"]:
            assert float(row["precision"]) == pytest.approx(right / (found == number).sum())
    confusion = rows(report / "confusion.csv")
    assert int(confusion[1]["digit 7"]) == ((masks == 1) & (found == 8)).sum()

    scores = []
    for position, (mask, prediction) in enumerate(zip(masks, found, strict=True)):
        ious = [iou(mask, prediction, number) for number in range(11)]
        scores.append((float(np.nanmean(ious)), position))
    worst = [(float(row["iou"]), int(row["id"])) for row in rows(report / "worst.csv")]
    expected = sorted(scores)[:10]
    assert [position for _, position in worst] == [position for _, position in expected]
    assert [score for score, _ in worst] == pytest.approx([score for score, _ in expected])


def test_the_worst_image_is_drawn_with_its_mask_and_the_prediction(
    project: Path, images: Any
) -> None:
    pixels, masks = images
    report = run_of(project, "exp1") / "report"
    worst = int(rows(report / "worst.csv")[0]["id"])
    with Image.open(report / "worst.png") as picture:
        drawn = np.array(picture)
    first, second, third = (
        drawn[53 : 53 + 192 : 3, left : left + 192 : 3] for left in (12, 216, 420)
    )
    assert (first == pixels[worst, 0][..., None]).all()
    red = np.array([128, 0, 0])
    for tile, mask in ((second, masks[worst]), (third, predicted(project)[worst])):
        is_ground = mask == 0
        assert (tile[is_ground] == first[is_ground]).all(), "the background stays as it is"
        is_class = mask == 1
        assert np.abs(tile[is_class] - (0.6 * red + 0.4 * first[is_class])).max(initial=0) < 1
    assert (masks[worst] > 0).any()


def test_the_exported_model_predicts_the_same_masks(
    warm: Server, project: Path, images: Any
) -> None:
    done = warm.run(project, "-m", "my_project.export", "--run=exp1", PYTHONPATH="src")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    apart = re.findall(r"Largest difference of 90 samples: (\S+)", done.stdout)
    assert float(apart[0]) < 1e-4
    session = InferenceSession(run_of(project, "exp1") / "best.onnx")
    pixels, _ = images
    for size in (1, 90):
        mask, p = session.run(["mask", "p"], {"inputs": pixels[:size]})
        assert (mask == predicted(project)[:size]).mean() > 0.9999
        assert np.abs(p * 255 - predicted(project, "p")[:size]).max() <= 0.51
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES


def test_the_model_card_states_the_iou(warm: Server, project: Path) -> None:
    done = warm.run(project, "-m", "my_project.model_card", "--run=exp1", PYTHONPATH="src")
    assert done.returncode == 0, done.stderr
    card = (project / "MODEL_CARD.md").read_text()
    reached = record(run_of(project, "exp1"))["metrics"]["test/iou"]
    assert f"| test/iou | {reached:.4g} |" in card
    assert "from my_project.modules.segmentation import SegmentationModule" in card


def test_ignored_pixels_count_for_nothing(package: Any) -> None:
    module = package("modules.segmentation")
    net = torch.nn.Conv2d(1, 3, 1)
    task = module.SegmentationModule(lambda *_: net, 3, (1, 8, 8))
    images = torch.randn(4, 1, 8, 8)
    masks = torch.randint(3, (4, 8, 8))
    masks[:, :2] = -100
    logits = task(images).requires_grad_()
    whole = task.loss(logits, masks)
    assert whole.item() == pytest.approx(task.loss(logits[:, :, 2:], masks[:, 2:]).item())
    (gradient,) = torch.autograd.grad(whole, logits)
    assert gradient[:, :, :2].eq(0).all() and gradient[:, :, 2:].ne(0).all()
    task.val_pixels.update(logits, masks)
    assert task.val_pixels.compute().sum() == 4 * 6 * 8
    everything = torch.full((4, 8, 8), -100)
    assert task.loss(logits, everything) == 0, "and not NaN"


def test_the_dice_loss_is_of_the_classes_in_the_batch(package: Any) -> None:
    dice_loss = package("modules.segmentation").dice_loss
    masks = torch.tensor([[[0, 0, 0, 1]]])
    sure = torch.nn.functional.one_hot(masks, 3).movedim(-1, 1) * 100.0
    assert dice_loss(sure, masks) == pytest.approx(0)
    halves = torch.zeros(1, 2, 1, 4)
    # of 4 pixels with p = 0.5: 2 * 1.5 / (3 + 2) of class 0, and 2 * 0.5 / (1 + 2) of class 1
    assert dice_loss(halves, masks).item() == pytest.approx(1 - (3 / 5 + 1 / 3) / 2)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 37, 50), (2, 1, 5)], ids=str)
def test_a_u_net_takes_images_of_any_size(package: Any, shape: tuple[int, int, int]) -> None:
    net = package("models.unet").UNet(5, shape, width=4, depth=3)
    logits = net(torch.randn(2, *shape))
    assert logits.shape == (2, 5, *shape[1:])
    logits.sum().backward()
    assert all(weights.grad is not None for weights in net.parameters())


def test_what_the_readme_has_one_write_works(project: Path, tmp_path: Path) -> None:
    own = shutil.copytree(project, tmp_path / "my-project")
    readme = (own / "README.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for _, code in blocks:
        if file := re.match(r"# (src/\S+\.py)\n", code):
            (own / file[1]).write_text(code)
    (command,) = (code for _, code in blocks if code.startswith("python") and "Noise" in code)
    short = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2", *QUIET)
    succeed(own, *command.replace("\\\n", "").split()[2:], *short)

    module = own / "src" / "my_project" / "modules" / "segmentation.py"
    create, update, log = re.findall(r"`(self\.[^`]*val_acc[^`]*)`", readme)
    (monitor,) = re.findall(r"`(--checkpoint\.monitor val/acc)`", readme)
    (loss,) = re.findall(r"`(--model \S+DiceModule)`", readme)
    text = module.read_text()
    text = text.replace(
        "import MulticlassConfusionMatrix", "import MulticlassAccuracy, MulticlassConfusionMatrix"
    )
    text = text.replace("        self.val_loss = ", f"        {create}\n        self.val_loss = ")
    text = re.sub(r"( +)(self\.val_pixels\.update.*\n)", rf"\1{update}\n\1\2", text)
    text = re.sub(r"(def on_validation_epoch_end.*\n)( +)", rf"\1\2{log}\n\2", text)
    module.write_text(text)
    succeed(own, "fit", *CONFIGS, *SMALL, *short, *monitor.split(), *loss.split(), "--name=dice")
    assert rows(run_of(own, "dice") / "metrics.csv")[-1]["val/acc"]
    for check in (["ruff", "check"], ["ruff", "format", "--check"]):
        subprocess.run([sys.executable, "-m", *check], cwd=own, check=True)


def test_other_data_are_refused_in_a_line(project: Path) -> None:
    (project / "src" / "my_project" / "data_modules" / "rows.py").write_text(
        "from .digit_masks import DigitMasksDataModule\n\n\n"
        "class Rows(DigitMasksDataModule):\n    input_shape = (64,)\n\n\n"
        "class Numbers(DigitMasksDataModule):\n"
        "    def augment_batch(self, images, labels):\n        return images, labels[:, 0, 0]\n"
    )
    line = fail(project, "fit", *CONFIGS, *QUIET, "--data=my_project.data_modules.rows.Rows")
    assert line.startswith("UNet takes images of shape (C, H, W), not data of shape (64,)")
    blank = "--data=my_project.data_modules.rows.Numbers"
    line = fail(project, "fit", *CONFIGS, *SMALL, *QUIET, blank, "--trainer.num_sanity_val_steps=0")
    assert line.startswith("the labels of a batch have the shape (8,), but logits of shape (8, 11,")


def test_two_processes_train_and_measure_what_one_does(project: Path) -> None:
    two = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
    done = run_warm(project, "test", "--run=exp1", *two, *QUIET)
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "arning" not in output, output
    found = dict(re.findall(r"(test/\w+)\W+([\d.e-]+)", output))
    for name, value in record(run_of(project, "exp1"))["metrics"].items():
        if name.startswith("test/iou"):
            assert float(found[name]) == pytest.approx(value, abs=1e-6), name
    short = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
    done = run_warm(project, "fit", *CONFIGS, *SMALL, *short, *two, *QUIET, "--name=ddp")
    assert done.returncode == 0 and "arning" not in done.stdout + done.stderr, done.stderr
    assert rows(run_of(project, "ddp") / "metrics.csv")[-1]["val/iou"]
