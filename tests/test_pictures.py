"""Pictures in a folder, and of the Hugging Face Hub."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers.commands import fail
from helpers.datasets import QUIET, Row, data_module, everything, picture, refused, train
from helpers.template import sweep
from PIL import Image

pytestmark = pytest.mark.usefixtures("without_hub")


def pixels(rows: Sequence[Row]) -> torch.Tensor:
    return torch.tensor([list(picture(row).tobytes()) for row in rows], dtype=torch.uint8).view(
        -1, 1, 8, 8
    )


@pytest.mark.parametrize(
    ("name", "argument", "num_workers"),
    [
        ("image_folder", "folder", 2),
        ("huggingface", "path", 0),
        *sweep(("image_folder", "folder", 0), ("huggingface", "path", 2)),
    ],
)
def test_digits_in_picture_files_are_learned(
    datasets_project: Path,
    picture_folder: Path,
    parquet_folder: Path,
    name: str,
    argument: str,
    num_workers: int,
) -> None:
    where = picture_folder if name == "image_folder" else parquet_folder
    options = (
        f"--data.{argument}={where}",
        "--data.image_size=28",
        "--data.grey=true",
        "--data.flip=false",
    )
    workers = (f"--data.num_workers={num_workers}", "--data.batch_size=32", "--data.max_shift=0")
    metrics = train(
        datasets_project, name, "simplenet", *options, *workers, "--trainer.max_epochs=4"
    )
    assert metrics["test/acc"] > 0.9


def test_pictures_and_labels_of_both_are_those_that_were_written(
    datasets_package: Path, picture_folder: Path, parquet_folder: Path, digit_rows: list[Row]
) -> None:
    options = {"image_size": 8, "grey": True, "val_size": 137, "num_workers": 0}
    files = data_module("image_folder", "ImageFolderDataModule", str(picture_folder), **options)
    hub = data_module("huggingface", "HuggingFaceDataModule", str(parquet_folder), **options)
    for data, expected in (
        (files, sorted(digit_rows[::5], key=lambda row: row[64])),
        (hub, digit_rows[::5]),
    ):
        data.setup("fit")
        data.setup("test")
        assert (data.num_classes, data.input_shape) == (10, (1, 8, 8))
        assert data.classes == [f"digit {i}" if data is files else str(i) for i in range(10)]
        ((key, digest),) = data.sha256.items()
        assert (
            key
            == f"{picture_folder.name if data is files else parquet_folder.name}/ (names and sizes)"
            and len(digest) == 64
        )
        images, labels = everything(data.test_set)
        assert images.dtype == torch.uint8 and torch.equal(images, pixels(expected))
        assert labels.dtype == torch.int64 and labels.tolist() == [row[64] for row in expected]
        sets = [everything(part) for part in (data.train_set, data.val_set)]
        assert [len(part[1]) for part in sets] == [1300, 137]
        written = {(bytes(row[:64]), row[64]) for i, row in enumerate(digit_rows) if i % 5}
        for images, labels in sets:
            for image, label in zip(images, labels.tolist(), strict=True):
                assert (
                    bytes(((image.flatten().int() * 16 + 254) // 255).tolist()),
                    label,
                ) in written
        counts = sets[1][1].bincount()
        assert counts.min() >= 13 and counts.max() <= 15, "every class has its share"
    hub.path, hub.revision = "someone/digits", "abc"
    assert hub.sha256 == {"someone/digits (revision)": "abc"}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("grey", [True, False])
def test_a_picture_of_any_size_and_mode_becomes_an_image(
    datasets_package: Path, tmp_path: Path, mode: str, grey: bool
) -> None:
    """A wide white picture with black borders left and right, which are not in the square in the middle."""
    (tmp_path / "train" / "one").mkdir(parents=True)
    whole = Image.new("L", (90, 30))
    whole.paste(255, (24, 0, 66, 30))
    path = (
        tmp_path / "train" / "one" / ("picture.tif" if mode in ("CMYK", "I;16") else "picture.png")
    )
    sixteen = whole.convert("I").point(lambda value: value * 257).convert("I;16")
    (sixteen if mode == "I;16" else whole.convert("RGB").convert(mode)).save(path)
    data = data_module(
        "image_folder", "ImageFolderDataModule", str(tmp_path), image_size=10, grey=grey
    )
    images, labels = everything(data.part("train"))
    assert (
        images.shape == (1, 1 if grey else 3, 10, 10)
        and images.min() == 255
        and labels.tolist() == [0]
    )


def test_sixteen_bits_keep_their_shades_and_what_is_transparent_is_white(
    datasets_package: Path, tmp_path: Path
) -> None:
    (tmp_path / "train" / "one").mkdir(parents=True)
    shades = Image.new("I", (2, 2))
    shades.putdata([0, 20000, 40000, 65535])
    shades.convert("I;16").save(tmp_path / "train" / "one" / "0.png")
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "train" / "one" / "1.png")
    rotated = Image.new("L", (2, 2))
    rotated.putdata([10, 20, 30, 40])
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    rotated.save(tmp_path / "train" / "one" / "2.png", exif=exif)
    data = data_module(
        "image_folder", "ImageFolderDataModule", str(tmp_path), image_size=2, grey=True
    )
    images = everything(data.part("train"))[0].flatten(1).tolist()
    assert images == [[0, 78, 156, 255], [255] * 4, [40, 30, 20, 10]]


def test_a_photograph_is_decoded_as_any_other_picture(
    datasets_package: Path, tmp_path: Path
) -> None:
    """A large JPEG is decoded at a smaller size, but not at one that details of the image are lost at."""
    (tmp_path / "train" / "one").mkdir(parents=True)
    details = (
        Image.effect_noise((100, 100), 100)
        .convert("RGB")
        .resize((800, 800), Image.Resampling.BICUBIC)
    )
    for name in ("0.jpg", "1.png"):
        details.save(tmp_path / "train" / "one" / name)
    data = data_module("image_folder", "ImageFolderDataModule", str(tmp_path), image_size=200)
    photograph, other = everything(data.part("train"))[0].float()
    assert (photograph - other).abs().mean() < 3


def test_pictures_are_mirrored_in_training_if_that_is_wanted(
    datasets_package: Path, picture_folder: Path
) -> None:
    for flip, share in ((True, 0.5), (False, 0)):
        data = data_module("image_folder", "ImageFolderDataModule", str(picture_folder), flip=flip)
        image = torch.arange(12.0).view(1, 3, 2, 2).expand(400, -1, -1, -1)
        mirrored = data.augment(image).eq(image.flip(3)).flatten(1).all(dim=1).float().mean()
        assert abs(mirrored - share) < 0.1 * flip + 1e-6


def test_pictures_are_shifted_in_training_if_that_is_wanted(
    datasets_package: Path, picture_folder: Path
) -> None:
    images = torch.rand(200, 3, 8, 8) + 1
    for max_shift, least, most in ((0, 64, 64), (2, 36, 64)):
        data = data_module(
            "image_folder", "ImageFolderDataModule", str(picture_folder), max_shift=max_shift
        )
        kept = data.augment(images).ne(0).sum(dim=(1, 2, 3)) / 3
        assert (kept.min(), kept.max()) == (least, most), "zeros come in from outside"


def test_a_folder_for_validation_is_taken_and_hidden_files_are_not(
    datasets_package: Path, tmp_path: Path
) -> None:
    for part, count in (("train", 30), ("val", 4)):
        for name in "ab":
            (tmp_path / part / name / "below").mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), i).save(tmp_path / part / name / "below" / f"{i}.png")
            (tmp_path / part / name / ".DS_Store").write_text("no picture")
            shutil.copytree(
                tmp_path / part / name / "below", tmp_path / part / name / ".ipynb_checkpoints"
            )
    (tmp_path / "train" / ".cache").mkdir()
    data = data_module(
        "image_folder", "ImageFolderDataModule", str(tmp_path), image_size=8, num_workers=0
    )
    data.setup("fit")
    assert (data.classes, len(data.train_set), len(data.val_set)) == (["a", "b"], 60, 8)
    assert len(next(iter(data.val_dataloader()))[1]) == 8
    with pytest.raises(ValueError, match=f"^there is no .*{re.escape(str(tmp_path.name))}/test"):
        data.setup("test")
    data = data_module("image_folder", "ImageFolderDataModule", str(tmp_path), fold="1/3")
    with pytest.raises(ValueError, match=r"^fold is set, but there are pictures for validation"):
        data.setup("fit")


def test_what_is_wrong_with_a_folder_is_said_in_one_line(
    datasets_package: Path, tmp_path: Path
) -> None:
    names = ("image_folder", "ImageFolderDataModule")
    assert refused(*names).startswith("there is no ") and "data/pictures/train" in refused(*names)
    (tmp_path / "train").mkdir()
    assert "train has no folders: it needs one" in refused(*names, str(tmp_path))
    (tmp_path / "train" / "cat").mkdir()
    (tmp_path / "val" / "cta").mkdir(parents=True)
    assert "val/cta is a class that train does not have" in refused(*names, str(tmp_path))
    (tmp_path / "val").rename(tmp_path / "test")
    assert "test/cta is a class that train does not have" in refused(*names, str(tmp_path))
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(ValueError, match="train/cat has no pictures in it"):
        data_module(*names, str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("content", "num_workers"),
    [("text", 2), ("half", 0), ("float", 0), *sweep(("text", 0), ("half", 2), ("float", 2))],
)
def test_a_file_that_is_no_picture_is_named(
    datasets_project: Path, tmp_path: Path, content: str, num_workers: int
) -> None:
    for part in ("train", "test"):
        for i in range(10):
            (tmp_path / part / "one").mkdir(parents=True, exist_ok=True)
            Image.effect_noise((40, 40), 50).save(tmp_path / part / "one" / f"{i}.png")
    bad = tmp_path / "train" / "one" / "7.png"
    if content == "float":
        bad.unlink()
        bad = bad.with_suffix(".tif")
        Image.new("F", (40, 40), 0.5).save(bad)
    else:
        bad.write_bytes(b"text" if content == "text" else bad.read_bytes()[:500])
    options = (
        f"--data.folder={tmp_path}",
        f"--data.num_workers={num_workers}",
        "--data.image_size=28",
    )
    configs = ("-c", "configs/data/image_folder.yaml", "-c", "configs/model/mlp.yaml")
    line = fail(datasets_project, "fit", *configs, *options, *QUIET)
    assert line.startswith(
        (f"{os.path.relpath(bad, datasets_project)} is no picture", f"{bad} is no picture")
    )
    assert "Original" not in line and len(line) < 300
