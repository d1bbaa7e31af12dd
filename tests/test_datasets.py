"""The datasets that one can choose: what they read, what they make of it, and what is wrong with it in one line."""

import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail, succeed
from helpers.template import Render, sweep
from PIL import Image
from test_downloads import FILES, IMAGES, LABELS

DATASETS = [
    "mnist",
    "fashion_mnist",
    "cifar10",
    "digits",
    "image_folder",
    "csv_table",
    "huggingface",
    "blank",
]
MODELS = ["simplenet", "mlp", "regression"]
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1")
Row = list[int]


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with all datasets, which tests train in."""
    return render(datasets=DATASETS, models=MODELS, loggers=["csv"])


@pytest.fixture(scope="module")
def package(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let tests import the project's package; return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        patch.syspath_prepend(str(project / "src"))
        yield project / "src" / "my_project"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def _hub(package: Path) -> None:
    """All commands see the Hub's settings that the package sees."""


@pytest.fixture(scope="module")
def digits(project: Path) -> list[Row]:
    """The bundled digits: 64 pixels from 0 to 16, and the label; every fifth one is for testing."""
    text = gzip.decompress(
        (project / "src" / "my_project" / "data_modules" / "digits.csv.gz").read_bytes()
    ).decode()
    return [[int(value) for value in line.split(",")] for line in text.splitlines()]


def picture(row: Row) -> Image.Image:
    return Image.frombytes("L", (8, 8), bytes(value * 255 // 16 for value in row[:64]))


def pixels(rows: Sequence[Row]) -> torch.Tensor:
    return torch.tensor([list(picture(row).tobytes()) for row in rows], dtype=torch.uint8).view(
        -1, 1, 8, 8
    )


def data_module(name: str, class_name: str, *args: Any, **kwargs: Any) -> Any:
    """Return a data module of the project."""
    return getattr(import_module(f"my_project.data_modules.{name}"), class_name)(*args, **kwargs)


def refused(name: str, class_name: str, *args: Any, **kwargs: Any) -> str:
    """See a data module refused, and return the one line that says why."""
    with pytest.raises(ValueError) as caught:
        data_module(name, class_name, *args, **kwargs)
    assert type(caught.value).__name__ == "UserError", repr(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def train(project: Path, data: str, model: str, *options: str) -> dict[str, float]:
    """Fit and test on the command line without a warning, and return the test metrics."""
    configs = ("-c", f"configs/data/{data}.yaml", "-c", f"configs/model/{model}.yaml")
    output = succeed(project, "fit", *configs, *QUIET, "--test_after_fit=true", *options)
    assert "Warning" not in output and "warn" not in output, output
    return {name: float(value) for name, value in re.findall(r"(test/\w+)\W+?(-?[\d.]+)", output)}


def everything(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all inputs and targets of a dataset."""
    inputs, targets = dataset.__getitems__(range(len(dataset)))
    return inputs, targets


@pytest.mark.sweep  # test_matrix.py does so for a project with all choices
def test_a_project_with_all_of_them_is_in_order(project: Path) -> None:
    for command in (
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--check", "--no-cache", "."],
        ["mypy"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_one_brings_all_modules_that_it_imports(render: Render, dataset: str) -> None:
    folder = render(datasets=[dataset], models=["mlp"]) / "src" / "my_project" / "data_modules"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert dataset in modules
    for name in modules:
        imported = re.findall(r"^from \.(\w+) import", (folder / f"{name}.py").read_text(), re.M)
        assert modules.issuperset(imported)


# Downloads ------------------------------------------------------------------------------------------------------------


def cifar_archive() -> tuple[bytes, torch.Tensor, torch.Tensor]:
    """Return an archive in CIFAR-10's format with 20 images in each of six files, the images, and the labels."""
    images = torch.arange(120 * 3072).remainder(253).byte().view(120, 3, 32, 32)
    labels, content = torch.arange(120) * 7 % 10, io.BytesIO()
    records = torch.cat([labels.byte().unsqueeze(1), images.flatten(1)], dim=1).view(6, -1)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, values in [
            ("batches.meta.txt", torch.tensor([65])),
            *zip(names, records, strict=True),
        ]:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(values)
            archive.addfile(info, io.BytesIO(bytes(values.tolist())))
    return content.getvalue(), images, labels


ARCHIVE, CIFAR_IMAGES, CIFAR_LABELS = cifar_archive()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that has small files in the formats of Fashion-MNIST and CIFAR-10."""
    for name, content in {**FILES, "cifar-10-binary.tar.gz": ARCHIVE}.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "files"), [("fashion_mnist", FILES), ("cifar10", {"cifar-10-binary.tar.gz": ARCHIVE})]
)
def test_a_dataset_is_downloaded_checked_and_trained_on(
    project: Path, tmp_path: Path, mirror: str, name: str, files: dict[str, bytes]
) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    module = copy / "src" / "my_project" / "data_modules" / f"{name}.py"
    options = (f"--data.mirrors=[{mirror}]", "--data.val_size=5", "--trainer.max_epochs=1")
    line = fail(
        copy,
        "fit",
        "-c",
        f"configs/data/{name}.yaml",
        "-c",
        "configs/model/simplenet.yaml",
        *options,
    )
    assert line.startswith(f"cannot download {next(iter(files))}: put it into data/{name} by hand")

    for file, content in files.items():  # the small files in place of the official ones
        code, count = re.subn(
            rf'("{file}": )"\w+"', rf'\1"{hashlib.sha256(content).hexdigest()}"', module.read_text()
        )
        assert count == 1
        module.write_text(code)
    assert "test/acc" in train(copy, name, "simplenet", *options)
    assert {path.name: path.read_bytes() for path in (copy / "data" / name).iterdir()} == files


def test_fashion_mnist_is_read_as_mnist_is(package: Path, tmp_path: Path) -> None:
    (tmp_path / "fashion_mnist").mkdir()
    for name, content in FILES.items():
        (tmp_path / "fashion_mnist" / name).write_bytes(content)
    data = data_module("fashion_mnist", "FashionMNISTDataModule", str(tmp_path))
    images, labels = data.load(train=False).tensors
    assert torch.equal(images, IMAGES[20:].unsqueeze(1)) and torch.equal(labels, LABELS[20:])


def test_cifar10_is_read_from_the_archive(package: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(ARCHIVE)
    data = data_module("cifar10", "CIFAR10DataModule", data_dir=str(tmp_path))
    for training, part in ((True, slice(0, 100)), (False, slice(100, 120))):
        images, labels = data.load(training).tensors
        assert images.dtype == torch.uint8 and torch.equal(images, CIFAR_IMAGES[part])
        assert labels.dtype == torch.int64 and torch.equal(labels, CIFAR_LABELS[part])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [
        "cifar-10-binary.tar.gz"
    ]


def test_cifar10_is_mirrored_and_shifted_in_training(package: Path) -> None:
    images = CIFAR_IMAGES[:1].float().expand(200, -1, -1, -1) / 255
    mirrored = (
        data_module("cifar10", "CIFAR10DataModule")
        .augment(images)
        .eq(images.flip(3))
        .flatten(1)
        .all(dim=1)
    )
    assert 60 < mirrored.sum() < 140
    changed = data_module("cifar10", "CIFAR10DataModule", max_shift=4).augment(images)
    assert changed.shape == images.shape and 50 < len(changed.unique(dim=0)) <= 2 * 9 * 9


@pytest.mark.parametrize("max_shift", [1, 3])
def test_an_image_is_shifted_by_up_to_so_many_pixels_in_both_directions(
    package: Path, max_shift: int
) -> None:
    shift = import_module("my_project.data_modules.augment").shift
    images = torch.rand(500, 2, 5, 7) + 1
    padded = torch.nn.functional.pad(images, [max_shift] * 4)
    found = set()
    for image, before in zip(shift(images, max_shift), padded, strict=True):
        for down in range(2 * max_shift + 1):
            for right in range(2 * max_shift + 1):
                if torch.equal(image, before[:, down : down + 5, right : right + 7]):
                    found.add((down, right))
    assert len(found) == (2 * max_shift + 1) ** 2


def test_a_shift_of_nothing_draws_no_random_numbers(package: Path) -> None:
    images, before = torch.rand(4, 3, 8, 8), torch.get_rng_state()
    assert import_module("my_project.data_modules.augment").shift(images, 0) is images
    assert torch.equal(torch.get_rng_state(), before)


def test_datasets_have_the_names_of_their_classes_and_the_sha256_of_their_files(
    package: Path,
) -> None:
    for name, class_name, first, last, files in (
        ("fashion_mnist", "FashionMNISTDataModule", "T-shirt/top", "Ankle boot", list(FILES)),
        ("cifar10", "CIFAR10DataModule", "airplane", "truck", ["cifar-10-binary.tar.gz"]),
    ):
        data = data_module(name, class_name)
        assert (len(data.classes), data.classes[0], data.classes[-1]) == (10, first, last)
        assert list(data.sha256) == files and all(
            re.fullmatch("[0-9a-f]{64}", value) for value in data.sha256.values()
        )


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(digits: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as PNG files in a folder per class."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, row in enumerate(digits):
        path = folder / ("train" if i % 5 else "test") / f"digit {row[64]}" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(row).save(path)
    return folder


@pytest.fixture(scope="module")
def parquet(package: Path, digits: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as Parquet files in the Hub's format."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("parquet")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    for split in ("train", "test"):
        rows = [row for i, row in enumerate(digits) if (i % 5 == 0) == (split == "test")]
        columns = {"image": [picture(row) for row in rows], "label": [row[64] for row in rows]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(
            folder / f"{split}.parquet"
        )
    return folder


@pytest.mark.parametrize(
    ("name", "argument", "num_workers"),
    [
        ("image_folder", "folder", 2),
        ("huggingface", "path", 0),
        *sweep(("image_folder", "folder", 0), ("huggingface", "path", 2)),
    ],
)
def test_digits_in_picture_files_are_learned(
    project: Path, folder: Path, parquet: Path, name: str, argument: str, num_workers: int
) -> None:
    where = folder if name == "image_folder" else parquet
    options = (
        f"--data.{argument}={where}",
        "--data.image_size=28",
        "--data.grey=true",
        "--data.flip=false",
    )
    workers = (f"--data.num_workers={num_workers}", "--data.batch_size=32", "--data.max_shift=0")
    metrics = train(project, name, "simplenet", *options, *workers, "--trainer.max_epochs=4")
    assert metrics["test/acc"] > 0.9


def test_pictures_and_labels_of_both_are_those_that_were_written(
    package: Path, folder: Path, parquet: Path, digits: list[Row]
) -> None:
    options = {"image_size": 8, "grey": True, "val_size": 137, "num_workers": 0}
    files = data_module("image_folder", "ImageFolderDataModule", str(folder), **options)
    hub = data_module("huggingface", "HuggingFaceDataModule", str(parquet), **options)
    for data, expected in (
        (files, sorted(digits[::5], key=lambda row: row[64])),
        (hub, digits[::5]),
    ):
        data.setup("fit")
        data.setup("test")
        assert (data.num_classes, data.input_shape) == (10, (1, 8, 8))
        assert data.classes == [f"digit {i}" if data is files else str(i) for i in range(10)]
        ((key, digest),) = data.sha256.items()
        assert (
            key == f"{folder.name if data is files else parquet.name}/ (names and sizes)"
            and len(digest) == 64
        )
        images, labels = everything(data.test_set)
        assert images.dtype == torch.uint8 and torch.equal(images, pixels(expected))
        assert labels.dtype == torch.int64 and labels.tolist() == [row[64] for row in expected]
        sets = [everything(part) for part in (data.train_set, data.val_set)]
        assert [len(part[1]) for part in sets] == [1300, 137]
        written = {(bytes(row[:64]), row[64]) for i, row in enumerate(digits) if i % 5}
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
    package: Path, tmp_path: Path, mode: str, grey: bool
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
    package: Path, tmp_path: Path
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


def test_a_photograph_is_decoded_as_any_other_picture(package: Path, tmp_path: Path) -> None:
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


def test_pictures_are_mirrored_in_training_if_that_is_wanted(package: Path, folder: Path) -> None:
    for flip, share in ((True, 0.5), (False, 0)):
        data = data_module("image_folder", "ImageFolderDataModule", str(folder), flip=flip)
        image = torch.arange(12.0).view(1, 3, 2, 2).expand(400, -1, -1, -1)
        mirrored = data.augment(image).eq(image.flip(3)).flatten(1).all(dim=1).float().mean()
        assert abs(mirrored - share) < 0.1 * flip + 1e-6


def test_pictures_are_shifted_in_training_if_that_is_wanted(package: Path, folder: Path) -> None:
    images = torch.rand(200, 3, 8, 8) + 1
    for max_shift, least, most in ((0, 64, 64), (2, 36, 64)):
        data = data_module(
            "image_folder", "ImageFolderDataModule", str(folder), max_shift=max_shift
        )
        kept = data.augment(images).ne(0).sum(dim=(1, 2, 3)) / 3
        assert (kept.min(), kept.max()) == (least, most), "zeros come in from outside"


def test_a_folder_for_validation_is_taken_and_hidden_files_are_not(
    package: Path, tmp_path: Path
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


def test_what_is_wrong_with_a_folder_is_said_in_one_line(package: Path, tmp_path: Path) -> None:
    names = ("image_folder", "ImageFolderDataModule")
    assert refused(*names).startswith("there is no ") and "data/pictures/train" in refused(*names)
    (tmp_path / "train").mkdir()
    assert "train has no folders in it" in refused(*names, str(tmp_path))
    (tmp_path / "train" / "cat").mkdir()
    (tmp_path / "val" / "cta").mkdir(parents=True)
    assert "val/cta is of a class that train has not" in refused(*names, str(tmp_path))
    (tmp_path / "val").rename(tmp_path / "test")
    assert "test/cta is of a class that train has not" in refused(*names, str(tmp_path))
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(ValueError, match="train/cat has no pictures in it"):
        data_module(*names, str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("content", "num_workers"),
    [("text", 2), ("half", 0), ("float", 0), *sweep(("text", 0), ("half", 2), ("float", 2))],
)
def test_a_file_that_is_no_picture_is_named(
    project: Path, tmp_path: Path, content: str, num_workers: int
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
    line = fail(project, "fit", *configs, *options, *QUIET)
    assert line.startswith(
        (f"{os.path.relpath(bad, project)} is no picture", f"{bad} is no picture")
    )
    assert "Original" not in line and len(line) < 300


# The Hub --------------------------------------------------------------------------------------------------------------


def write_parquet(folder: Path, split: str, columns: dict[str, list[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    rows.to_parquet(folder / f"{split}.parquet")


def test_labels_that_are_texts_become_classes(package: Path, tmp_path: Path) -> None:
    pictures = [Image.new("L", (8, 8), i) for i in range(20)]
    write_parquet(tmp_path, "train", {"image": pictures, "kind": ["dog", "cat"] * 10})
    write_parquet(tmp_path, "validation", {"image": pictures[:3], "kind": ["cat", "cat", "dog"]})
    write_parquet(tmp_path, "test", {"image": pictures[:1], "kind": ["cow"]})
    data = data_module(
        "huggingface", "HuggingFaceDataModule", str(tmp_path), label_column="kind", image_size=8
    )
    assert (data.num_classes, data.classes) == (2, ["cat", "dog"])
    data.setup("fit")
    assert (len(data.train_set), everything(data.val_set)[1].tolist()) == (20, [0, 0, 1])
    with pytest.raises(
        ValueError, match=r"^test_split of dataset \S+ has the label cow, which is no class$"
    ):
        data.setup("test")


def test_what_is_wrong_with_a_dataset_of_the_hub_is_said_in_one_line(
    package: Path, parquet: Path, tmp_path: Path
) -> None:
    names = ("huggingface", "HuggingFaceDataModule")
    assert refused(*names, "nobody/nothing").startswith(
        "there is no dataset nobody/nothing to be had: "
    )
    nowhere = str(tmp_path / "nowhere")
    assert refused(*names, nowhere).startswith(f"there is no dataset {nowhere} to be had: ")
    assert "'small' not found" in refused(*names, str(parquet), "small")
    assert refused(*names, str(parquet), image_column="imgae").endswith(
        "no column imgae: did you mean image?"
    )
    assert refused(*names, str(parquet), label_column="lable").endswith(
        "no column lable: did you mean label?"
    )
    for split in ("train", "val", "test"):
        assert "tset" in refused(*names, str(parquet), **{f"{split}_split": "tset"})
    with pytest.raises(ValueError, match=r"^column label of dataset .* has no pictures"):
        data_module(*names, str(parquet), image_column="label").setup("fit")
    broken = [{"bytes": b"text", "path": None}] * 20
    write_parquet(tmp_path, "train", {"image": broken, "label": [0, 1] * 10})
    write_parquet(tmp_path, "test", {"image": broken, "label": [0, 1] * 10})
    data = data_module(*names, str(tmp_path))
    data.setup("test")
    with pytest.raises(ValueError, match=r"^picture 3 is no picture that can be read"):
        data.test_set.__getitems__([3])


# Tables ---------------------------------------------------------------------------------------------------------------


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def tables(digits: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as two CSV files, one to train and one to test on."""
    folder, header = tmp_path_factory.mktemp("tables"), [*(f"p{i}" for i in range(64)), "digit"]
    write_table(folder / "table.csv", header, [row for i, row in enumerate(digits) if i % 5])
    write_table(folder / "test.csv", header, digits[::5])
    return folder


def test_digits_in_a_table_are_learned_and_predicted_in_the_tables_order(
    project: Path, tables: Path, digits: list[Row]
) -> None:
    options = (
        f"--data.file={tables / 'table.csv'}",
        f"--data.test_file={tables / 'test.csv'}",
        "--data.target=digit",
    )
    assert train(project, "csv_table", "mlp", *options, "--name=table")["test/acc"] > 0.95
    configs = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml")
    succeed(project, "predict", *configs, *options, *QUIET, "--name=table")
    (file,) = (project / "logs" / "table").rglob("predictions.csv")
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["id"]) for row in rows] == list(range(360))
    assert all(row["class_name"] == row["class"] for row in rows), "a digit's name is its label"
    right = sum(
        int(row["class"]) == digit[64] for row, digit in zip(rows, digits[::5], strict=True)
    )
    assert right > 0.95 * 360


def test_a_number_in_a_table_is_learned(project: Path, tables: Path) -> None:
    """The best linear function of the pixels has an R2 of 0.58."""
    options = (
        f"--data.file={tables / 'table.csv'}",
        f"--data.test_file={tables / 'test.csv'}",
        "--data.target=digit",
    )
    assert (
        train(project, "csv_table", "regression", *options, "--data.task=regression")["test/r2"]
        > 0.75
    )


def test_a_regression_is_no_classification(project: Path, tables: Path) -> None:
    options = (
        f"--data.file={tables / 'table.csv'}",
        "--data.target=digit",
        "--data.task=regression",
    )
    line = fail(
        project,
        "fit",
        "-c",
        "configs/data/csv_table.yaml",
        "-c",
        "configs/model/mlp.yaml",
        *options,
    )
    assert "num_classes" in line


COLUMNS = ["number", "truth", "text", "constant", "x", "y", "kind"]
ROWS = [(i, i % 3 == 0, "1a"[i % 2], 7, 10 * i, -i, f"c{i % 4}") for i in range(200)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "table.csv", COLUMNS, ROWS)


def table_module(table: Path, target: Any = "kind", **kwargs: Any) -> Any:
    data = data_module(
        "csv_table",
        "CSVTableDataModule",
        target,
        file=str(table),
        **{"features": COLUMNS[:4], **kwargs},
    )
    data.setup("fit")
    return data


def numbers(data: Any, dataset: Any) -> list[int]:
    """Return what stands in the column `number` of the rows of a dataset."""
    scaled = dataset.tensors[0][:, 0].double() * data.scale["number"] + data.center["number"]
    return [int(value) for value in scaled.round()]


def test_numbers_are_standardised_by_the_training_rows_and_texts_one_hot(
    package: Path, table: Path
) -> None:
    data = table_module(table)
    assert (data.num_classes, data.classes, data.input_shape) == (4, ["c0", "c1", "c2", "c3"], (5,))
    ((file, digest),) = data.sha256.items()
    assert (
        Path(file).resolve() == table and digest == hashlib.sha256(table.read_bytes()).hexdigest()
    )
    parts = [data.train_set, data.val_set, data.test_set]
    assert [len(part) for part in parts] == [144, 16, 40]
    assert sorted(number for part in parts for number in numbers(data, part)) == list(range(200))
    for part, share in zip(parts, (36, 4, 10), strict=True):
        assert numbers(data, part) == sorted(numbers(data, part)), "in the table's order"
        inputs, labels = everything(part)
        assert inputs.dtype == torch.float32 and labels.dtype == torch.int64
        assert labels.tolist() == [number % 4 for number in numbers(data, part)]
        assert inputs[:, 3:].tolist() == [
            [1, 0] if number % 2 == 0 else [0, 1] for number in numbers(data, part)
        ]
        assert labels.bincount().tolist() == [share] * 4
    inputs = data.train_set.tensors[0][:, :3]
    torch.testing.assert_close(inputs.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(dim=0, correction=0), torch.tensor([1.0, 1, 0]))
    batch = next(iter(data.val_dataloader()))
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_the_same_rows_are_held_out_whatever_the_global_seed(package: Path, table: Path) -> None:
    chosen = []
    for seed, split_seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(seed)
        data = table_module(table, split_seed=split_seed, test_size=50, val_size=30)
        assert (len(data.val_set), len(data.test_set)) == (30, 50)
        chosen.append((numbers(data, data.val_set), numbers(data, data.test_set)))
    assert chosen[0] == chosen[1] != chosen[2]


def test_each_row_of_a_table_is_held_out_in_one_fold_and_the_test_rows_never(
    package: Path, table: Path
) -> None:
    modules = [table_module(table, fold=f"{number}/5") for number in range(1, 6)]
    held_out = [number for data in modules for number in numbers(data, data.val_set)]
    assert len({tuple(numbers(data, data.test_set)) for data in modules}) == 1
    assert sorted(held_out + numbers(modules[0], modules[0].test_set)) == list(range(200))
    assert all(data.val_set.tensors[1].bincount().tolist() == [8] * 4 for data in modules)


def test_a_table_to_test_on_is_encoded_as_the_training_rows_are(
    package: Path, table: Path, tmp_path: Path
) -> None:
    rows = [(1, 3, "c2", 7, "1", "true", 0), (2, 500, "c0", 7, "2", "false", 0)]
    test = write_table(
        tmp_path / "test.csv", ["id", "number", "kind", "constant", "text", "truth", "more"], rows
    )
    data = table_module(table, test_file=str(test), val_size=20)
    assert (len(data.train_set), len(data.val_set), numbers(data, data.test_set)) == (
        180,
        20,
        [3, 500],
    )
    assert [Path(file).name for file in data.sha256] == ["table.csv", "test.csv"]
    inputs, labels = everything(data.test_set)
    assert labels.tolist() == [2, 0]
    assert inputs[:, 3:].tolist() == [[1, 0], [0, 0]], (
        "a text that is new is neither, and a number is a text here"
    )


def test_classes_of_a_table_are_named_as_its_values_are_written(package: Path, table: Path) -> None:
    assert table_module(table, "truth", features=["number"]).classes == ["False", "True"]
    assert table_module(table, "constant", features=["number"]).classes == ["7"]


def test_targets_of_a_regression_stay_as_they_are(package: Path, table: Path) -> None:
    data = table_module(table, ["x", "y"], task="regression", features=["number"])
    assert (data.num_outputs, data.input_shape, hasattr(data, "num_classes")) == (2, (1,), False)
    assert not hasattr(data, "classes")
    targets = everything(data.test_set)[1]
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[10 * number, -number] for number in numbers(data, data.test_set)]
    data = table_module(table, "x", task="regression", features=None)
    assert (everything(data.val_set)[1].shape, data.input_shape) == ((16, 1), (4 + 2 + 4,)), (
        "all others are features"
    )


@pytest.mark.parametrize(
    ("change", "arguments", "line"),
    [
        ("", {"target": "knid"}, r"table\.csv has no column knid: did you mean kind\?$"),
        (
            "",
            {"features": ["number", "txt"]},
            r"table\.csv has no column txt: did you mean text\?$",
        ),
        (
            "5,False,,7,50,-5,c1",
            {},
            r"table\.csv: column text has no value in row 7 \(the header is row 1\)$",
        ),
        (
            "5,False,a,7,50,-5,",
            {},
            r"table\.csv: column kind has no value in row 7 \(the header is row 1\)$",
        ),
        ("inf,False,b,7,50,-5,c1", {}, r"table\.csv: column number has no value in row 7 "),
        (
            "",
            {"task": "regression"},
            r"column kind of \S*table\.csv has texts, but regression is of numbers$",
        ),
        (
            "",
            {"target": ["kind", "x"]},
            r"^target is kind, x, but classification is of one column$",
        ),
        ("", {"test_size": 200}, r"^test_size is 200, which is 200 of 200 rows"),
        ("", {"val_size": 0.001}, r"^val_size is 0\.001, which is 0 of 160 rows"),
        ("", {"test_file": "nowhere.csv"}, r"^there is no nowhere\.csv"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(
    package: Path, table: Path, change: str, arguments: dict[str, Any], line: str
) -> None:
    text = table.read_text()
    table.write_text(text.replace("5,False,a,7,50,-5,c1", change) if change else text)
    arguments = {"target": "kind", "file": str(table), "features": COLUMNS[:4], **arguments}
    assert re.search(line, refused("csv_table", "CSVTableDataModule", **arguments))


def test_a_test_table_that_does_not_fit_is_refused(
    package: Path, table: Path, tmp_path: Path
) -> None:
    for row, line in (
        ((1, "x", "c9"), "has the class c9"),
        (("one", "x", "c1"), "column number of .* has texts"),
    ):
        test = write_table(tmp_path / "test.csv", ["number", "text", "kind"], [row])
        arguments = {"file": str(table), "features": ["number", "text"], "test_file": str(test)}
        assert re.search(line, refused("csv_table", "CSVTableDataModule", "kind", **arguments))


def test_a_missing_table_is_named_on_the_command_line(project: Path) -> None:
    line = fail(project, "fit", "-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml")
    assert line.startswith("there is no data/table.csv")


# The stub -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_stub_trains_with_every_model_as_it_is(project: Path, model: str) -> None:
    assert "test/loss" in train(project, "blank", model, "--trainer.max_epochs=1")


def test_the_stub_gives_the_same_data_at_every_call(package: Path) -> None:
    data = data_module("blank", "BlankDataModule")
    for train in (True, False):
        assert all(
            torch.equal(*both)
            for both in zip(data.load(train).tensors, data.load(train).tensors, strict=True)
        )
    assert not torch.equal(data.load(True).tensors[0][:200], data.load(False).tensors[0])
