"""Augmentation of pictures: each image has its own draw, and a run that is resumed has the same ones."""

import csv
import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail, succeed
from helpers.run_files import record
from helpers.template import Render
from PIL import Image

N, CLASSES = 512, 4
STRONG = '{"crop": 0.5, "rotate": 20, "jitter": 0.3, "erase": 0.3, "mixup": 0.4, "cutmix": 1.0}'
QUIET = (
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
    "--trainer.log_every_n_steps=1",
)
NET = ("-c", "configs/model/simplenet.yaml", "--model.lr_scheduler=null")


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 80 pictures of two colours, in which the tests of this file train."""
    rendered = render(package_name="augmented", datasets=["image_folder", "cifar10"])
    copied = shutil.copytree(rendered, tmp_path_factory.mktemp("augmentation") / "augmented")
    for part, count in (("train", 36), ("test", 4)):
        for label, name in enumerate(("blue", "red")):
            folder = copied / "data" / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                shade = 180 + number
                colour = (0, 60, shade) if label == 0 else (shade, 60, 0)
                Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
    return copied


@pytest.fixture(scope="module")
def augment(project: Path) -> Iterator[Any]:
    """The project's module of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project / "src"))
        yield importlib.import_module("augmented.data_modules.augment")
    for name in [name for name in sys.modules if name.partition(".")[0] == "augmented"]:
        del sys.modules[name]


@pytest.fixture
def images() -> torch.Tensor:
    """The same picture many times, so that what differs are the draws."""
    torch.manual_seed(0)
    return torch.rand(1, 3, 16, 24).expand(N, -1, -1, -1).contiguous()


def distinct(images: torch.Tensor) -> int:
    return len({tuple(image.flatten().tolist()) for image in images})


@pytest.mark.parametrize(
    "changes",
    [{"crop": 0.4}, {"rotate": 30.0}, {"jitter": 0.4}, {"erase": 1.0}],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_each_image_is_changed_by_its_own_draw(
    augment: Any, images: torch.Tensor, changes: dict[str, float], dtype: torch.dtype
) -> None:
    images = images.to(dtype)
    changed = augment.Augmentation(**changes).change(images)
    assert changed.shape == images.shape and changed.dtype == dtype
    assert changed.min() >= 0 and changed.max() <= 1
    assert distinct(changed) > N - 10
    torch.manual_seed(1)
    one = augment.Augmentation(**changes).change(images)
    torch.manual_seed(1)
    assert torch.equal(augment.Augmentation(**changes).change(images), one)


def test_what_is_off_changes_nothing_and_draws_nothing(augment: Any, images: torch.Tensor) -> None:
    labels = torch.arange(N) % CLASSES
    state = torch.get_rng_state()
    changed = augment.OFF.change(images)
    mixed, shares = augment.OFF.mix(changed, labels, CLASSES)
    assert mixed is images and shares is labels
    assert torch.equal(torch.get_rng_state(), state)


def test_a_crop_is_a_part_of_the_image_and_fills_all_of_it(augment: Any) -> None:
    rows = torch.arange(64.0).view(1, 1, 64, 1).expand(N, 1, 64, 64) / 63
    cropped = augment.crop_and_rotate(rows, 0.25, 0.0)[:, 0, :, 32]
    heights = (cropped[:, -1] - cropped[:, 0]) * 63 / 64
    assert 0.4 < heights.min() < 0.5 and 0.9 < heights.max() <= 1  # of sides whose ratio varies
    assert cropped[:, 0].min() < 0.02 and cropped[:, -1].max() > 0.98, "it lies anywhere"
    assert (cropped.diff(dim=1) >= 0).all(), "and is not upside down"


def test_a_rotation_turns_a_picture_around_its_centre(augment: Any, monkeypatch: Any) -> None:
    """By 90 degrees, which turns the pixels of a square exactly. A wide one keeps the form of what is in it."""
    monkeypatch.setattr(
        augment, "uniform", lambda count, low, high, device: torch.full((count,), high)
    )
    square = torch.rand(2, 3, 8, 8)
    turned = augment.crop_and_rotate(square, 1.0, 90.0)
    assert torch.allclose(turned, square.rot90(1, (2, 3)), atol=1e-5)
    wide = torch.zeros(1, 1, 8, 16)
    wide[:, :, 3:5, 4:12] = 1  # a bar of 8 pixels
    bar = augment.crop_and_rotate(wide, 1.0, 90.0)
    assert torch.allclose(bar[0, 0, :, 7:9], torch.ones(8, 2), atol=1e-5)
    assert bar[..., 4:12].sum() == pytest.approx(16, abs=1e-3)


def test_jitter_of_a_grey_image_keeps_it_grey_and_its_factors_are_as_given(augment: Any) -> None:
    images = torch.full((N, 3, 4, 4), 0.5)
    changed = augment.jitter(images, 0.4)
    assert torch.allclose(changed[:, 0], changed[:, 2])
    brightness = changed.mean(dim=(1, 2, 3)) / 0.5
    assert 0.6 <= brightness.min() < 0.62 and 1.38 < brightness.max() <= 1.4001
    assert brightness.mean() == pytest.approx(1, abs=0.05)


def test_erasing_covers_one_rectangle_of_the_stated_area(augment: Any) -> None:
    images = torch.full((N, 1, 40, 40), -1.0)  # which noise is not
    erased = augment.erase(images, 0.5) >= 0
    is_erased = erased.flatten(1).any(dim=1)
    assert 0.4 < is_erased.float().mean() < 0.6
    areas = erased[is_erased].float().mean(dim=(1, 2, 3))
    assert 0.01 < areas.min() < 0.06 and 0.27 < areas.max() < 0.36
    rows, columns = erased[is_erased].any(dim=3).sum(dim=2), erased[is_erased].any(dim=2).sum(dim=2)
    assert torch.equal((rows * columns)[:, 0], erased[is_erased].sum(dim=(1, 2, 3)))


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
def test_labels_have_the_shares_of_the_pixels(augment: Any, kind: str) -> None:
    """Every class has pictures of its number, so what a mixed one consists of can be read from its pixels."""
    labels = torch.arange(N) % CLASSES
    images = torch.nn.functional.one_hot(labels, CLASSES).float().view(N, CLASSES, 1, 1)
    images = images.expand(-1, -1, 8, 8).contiguous()
    options = {"mixup": 0.5, "cutmix": 1.0} if kind == "both" else {kind: 1.0}
    mixed, shares = augment.Augmentation(**options).mix(images, labels, CLASSES)
    assert torch.allclose(mixed.mean(dim=(2, 3)), shares, atol=1e-5)
    assert torch.allclose(shares.sum(dim=1), torch.ones(N), atol=1e-5)
    has_edges = (mixed[:, :, :1, :1] != mixed).flatten(1).any(dim=1).float().mean()
    assert {"mixup": has_edges == 0, "cutmix": has_edges > 0.5, "both": 0.2 < has_edges < 0.5}[kind]
    assert len(shares.amax(dim=1).unique()) > 10, "each pair has its own share"


def test_a_label_that_the_loss_ignores_stays_without_a_share(augment: Any) -> None:
    labels = torch.full((8,), -100)
    _, shares = augment.Augmentation(mixup=1.0).mix(torch.rand(8, 3, 4, 4), labels, CLASSES)
    assert shares.shape == (8, CLASSES) and not shares.any()


# In a run -------------------------------------------------------------------------------------------------------------


def fit(project: Path, name: str, *options: str) -> str:
    data = ("-c", "configs/data/image_folder.yaml", "--data.image_size=16", "--data.num_workers=0")
    small = ("--data.batch_size=8", f"--name={name}", f"--data.augmentation={STRONG}")
    return succeed(project, "fit", *data, *NET, *small, *QUIET, *options)


def run_of(project: Path, name: str) -> Path:
    (path,) = project.glob(f"logs/{name}/*")
    return path


def weights(project: Path, name: str) -> dict[str, torch.Tensor]:
    path = run_of(project, name) / "checkpoints" / "last.ckpt"
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return loaded


def test_a_run_that_stops_within_an_epoch_ends_with_the_same_weights(project: Path) -> None:
    output = fit(project, "whole", "--trainer.max_epochs=3", "--test_after_fit=true")
    assert "arning" not in output
    fit(project, "parts", "--trainer.max_steps=12")
    longer = ("--trainer.max_steps=-1", "--trainer.max_epochs=3")
    succeed(project, "fit", "--run=parts", *longer, *QUIET)
    whole, parts = weights(project, "whole"), weights(project, "parts")
    for key, value in whole.items():
        assert torch.equal(parts[key], value), key
    with (run_of(project, "whole") / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracies = [float(row["train/acc"]) for row in rows if row["train/acc"]]
    assert len(accuracies) == 3 and max(accuracies) > 0.6, "of the class with the larger share"
    assert record(run_of(project, "whole"))["metrics"]["test/acc"] == 1


def test_two_processes_mix_their_own_images(project: Path) -> None:
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")
    fit(project, "two", *two, "--trainer.max_epochs=2")
    assert all(value.isfinite().all() for value in weights(project, "two").values())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mixups=1", "data.augmentation.mixups is not a known key"),
        ("erase=2", "data.augmentation.erase is 2"),
        ("mixup=-1", "data.augmentation.mixup is -1"),
    ],
)
def test_a_mistake_is_a_line(project: Path, option: str, message: str) -> None:
    data = ("-c", "configs/data/image_folder.yaml", f"--data.augmentation.{option}")
    assert fail(project, "fit", *data, *NET, *QUIET).startswith(message)
