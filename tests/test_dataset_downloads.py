"""Datasets that are downloaded: MNIST, Fashion-MNIST and CIFAR-10, from a mirror of the test."""

import hashlib
import io
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail
from helpers.datasets import data_module, train
from test_downloads import FILES, IMAGES, LABELS

pytestmark = pytest.mark.usefixtures("without_hub")


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
    datasets_project: Path, tmp_path: Path, mirror: str, name: str, files: dict[str, bytes]
) -> None:
    copy = shutil.copytree(datasets_project, tmp_path / "project")
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


def test_fashion_mnist_is_read_as_mnist_is(datasets_package: Path, tmp_path: Path) -> None:
    (tmp_path / "fashion_mnist").mkdir()
    for name, content in FILES.items():
        (tmp_path / "fashion_mnist" / name).write_bytes(content)
    data = data_module("fashion_mnist", "FashionMNISTDataModule", str(tmp_path))
    images, labels = data.load(train=False).tensors
    assert torch.equal(images, IMAGES[20:].unsqueeze(1)) and torch.equal(labels, LABELS[20:])


def test_cifar10_is_read_from_the_archive(datasets_package: Path, tmp_path: Path) -> None:
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


def test_cifar10_is_mirrored_and_shifted_in_training(datasets_package: Path) -> None:
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
    datasets_package: Path, max_shift: int
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


def test_a_shift_of_nothing_draws_no_random_numbers(datasets_package: Path) -> None:
    images, before = torch.rand(4, 3, 8, 8), torch.get_rng_state()
    assert import_module("my_project.data_modules.augment").shift(images, 0) is images
    assert torch.equal(torch.get_rng_state(), before)


def test_datasets_have_the_names_of_their_classes_and_the_sha256_of_their_files(
    datasets_package: Path,
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
