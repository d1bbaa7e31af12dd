"""The tooling choice `pack`: pictures that are decoded once train as those in files, and no mistake leaves a folder."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import fail, run_warm, succeed
from helpers.run_files import load, record, rows, run_of
from helpers.template import Render, files, sweep
from PIL import Image

SIZE = ("--data.image_size=16", "--data.grey=true")
FOLDER = ("-c", "configs/data/image_folder.yaml", *SIZE)
PACKED = ("-c", "configs/data/packed.yaml")
AS_FILES = ("--data.mean=0.5", "--data.std=0.25")  # the normalisation of pictures in files
FIT = (
    "-c",
    "configs/model/simplenet.yaml",
    "--data.batch_size=32",
    "--data.max_shift=1",
    "--data.augmentation.mixup=0.2",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
PACK = ("-m", "my_project.pack")


def write_pictures(project: Path, folder: Path) -> None:
    """Write every third of the digits as a picture file."""
    package = project / "src" / "my_project"
    text = gzip.decompress((package / "data_modules" / "digits.csv.gz").read_bytes()).decode()
    for number, line in enumerate(text.splitlines()[::3]):
        *pixels, label = (int(value) for value in line.split(","))
        path = folder / ("test" if number % 5 == 0 else "train") / f"digit {label}"
        path.mkdir(parents=True, exist_ok=True)
        picture = Image.frombytes("L", (8, 8), bytes(value * 15 for value in pixels))
        picture.resize((16, 16), Image.Resampling.NEAREST).save(path / f"{number:03}.png")


def pack(project: Path, *options: str) -> str:
    return succeed(project, *PACK, *options, PYTHONPATH="src")


def refused(project: Path, *options: str) -> str:
    """See a pack refused in one line without a new file, and return the line."""
    before = files(project)
    line = fail(project, *PACK, *options, PYTHONPATH="src")
    assert not [name for name in files(project) - before if "__pycache__" not in name]
    return line


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with packed pictures, and a run on the files and one on the packed ones."""
    rendered = render(
        package_name="my_project",
        datasets=["digits", "image_folder"],
        models=["simplenet"],
        loggers=["csv"],
        tooling=["export", "pack", "report"],
    )
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("packed") / "my-project")
    write_pictures(project, project / "data" / "pictures")
    pack(project, *FOLDER, "--data.num_workers=2")
    for name, options in (("files", (*FOLDER, "--data.num_workers=0")), ("packed", PACKED)):
        normalised = AS_FILES if name == "packed" else ()
        succeed(
            project, "fit", *options, *normalised, *FIT, f"--name={name}", "--test_after_fit=true"
        )
        succeed(project, "predict", f"--run={name}")
    return project


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(project, tmp_path / "my-project")


def test_a_run_on_packed_pictures_ends_as_one_on_their_files(project: Path) -> None:
    plain, packed = run_of(project, "files"), run_of(project, "packed")
    for name in ("metrics.csv", "predictions.csv"):
        assert (packed / name).read_bytes() == (plain / name).read_bytes(), name
    weights = [load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (plain, packed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert record(packed)["metrics"] == record(plain)["metrics"]
    assert record(packed)["data"] == record(plain)["data"], "the origin of both is the same"
    assert (packed / "report" / "classes.csv").read_text().splitlines()[1].startswith("digit 0,")


def test_packed_pictures_are_kept_on_the_device_if_that_is_wanted(copy: Path) -> None:
    succeed(copy, "fit", *PACKED, *AS_FILES, *FIT, "--data.on_device=true", "--name=held")
    held, packed = (rows(run_of(copy, name) / "metrics.csv") for name in ("held", "packed"))
    assert [row["val/loss"] for row in held] == [row["val/loss"] for row in packed[: len(held)]]


def test_the_files_are_numpys_and_info_says_mean_and_std(project: Path) -> None:
    folder = project / "data" / "packed"
    info = json.loads((folder / "info.json").read_text())
    images = np.load(folder / "train" / "images.npy")
    paths = sorted((project / "data" / "pictures" / "train").rglob("*.png"))
    assert images.shape == (info["sets"]["train"], 1, 16, 16) == (len(paths), 1, 16, 16)
    assert all(
        np.array_equal(image[0], np.asarray(Image.open(path)))
        for image, path in zip(images, paths, strict=True)
    )
    assert info["mean"] == pytest.approx(images.mean() / 255)
    assert info["std"] == pytest.approx(images.std() / 255)
    labels = np.load(folder / "train" / "labels.npy")
    assert [info["classes"][label] for label in labels] == [path.parent.name for path in paths]
    names = [name.decode() for name in np.load(folder / "train" / "names.npy")]
    assert names == [path.relative_to(folder.with_name("pictures")).as_posix() for path in paths]


CODE = """
import pickle
from my_project.data_modules.packed import PackedDataModule

data = PackedDataModule(val_size=60)
data.setup("fit")
assert data.train_set.images is data.val_set.images, "a split copies no pictures"
assert len(data.val_set) == 60
sent = pickle.dumps(data.train_set)
size = (data.folder / "train" / "images.npy").stat().st_size
assert len(sent) < size / 2, "nor does another process get them"
images, labels = pickle.loads(sent).__getitems__([5, 3])
expected, _ = data.train_set.__getitems__([5, 3])
assert images.equal(expected) and images.shape == (2, 1, 16, 16)
assert 0 < data.mean < 0.5 < 2 * data.std, "those of the pictures, not those of photographs"
"""


def test_a_split_and_a_worker_get_positions_instead_of_pictures(project: Path) -> None:
    succeed(project, "-c", CODE, PYTHONPATH="src")


def test_new_pictures_are_predicted_and_a_model_exported_without_the_packed_ones(
    copy: Path,
) -> None:
    run = run_of(copy, "packed")
    succeed(
        copy,
        *PACK[:1],
        "my_project.export",
        "--run=packed",
        "--format=safetensors",
        PYTHONPATH="src",
    )
    header = (run / "best.safetensors").read_bytes()[:2000]
    assert b"digit 3" in header
    shutil.move(copy / "data" / "pictures" / "test", copy / "new")
    shutil.rmtree(copy / "data")
    succeed(copy, "predict", "--run=packed", "--data.predict=new")
    found = {row["file"]: row for row in rows(run / "new" / "new" / "predictions.csv")}
    for row in rows(run / "predictions.csv"):
        again = found[row["file"].removeprefix("test/")]
        assert again["class_name"] == row["class_name"]


def test_a_run_that_ended_within_an_epoch_resumes_to_the_same_weights(copy: Path) -> None:
    constant = (*PACKED, *FIT, "--model.lr_scheduler=null")
    succeed(copy, "fit", *constant, "--name=whole")
    succeed(copy, "fit", *constant, "--name=half", "--trainer.max_steps=20")
    succeed(copy, "fit", "--run=half", "--trainer.max_steps=-1")
    whole, half = (
        load(run_of(copy, name) / "checkpoints" / "last.ckpt") for name in ("whole", "half")
    )
    assert whole["global_step"] == half["global_step"] > 20
    assert all(
        torch.equal(value, half["state_dict"][name]) for name, value in whole["state_dict"].items()
    )


@pytest.mark.parametrize("processes", sweep(2))
def test_two_processes_train_on_both_alike(copy: Path, processes: int) -> None:
    ddp = ("--trainer.strategy=ddp", f"--trainer.devices={processes}", "--test_after_fit=true")
    for name, data in (("alike", FOLDER), ("both", (*PACKED, *AS_FILES))):
        succeed(copy, "fit", *data, *FIT, *ddp, f"--name={name}", PYTHONPATH="src")
    one, other = (run_of(copy, name) for name in ("alike", "both"))
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert record(one)["metrics"] == record(other)["metrics"]


def test_pictures_for_validation_are_packed_and_a_missing_test_set_is_said(copy: Path) -> None:
    (copy / "data" / "pictures" / "test").rename(copy / "data" / "pictures" / "val")
    output = pack(copy, *FOLDER, "--data.num_workers=0", "--to=without")
    assert "Pictures: train 479, val 120, each 1x16x16" in output
    assert "Left out: test (there is no data/pictures/test" in output
    data = (*PACKED, "--data.folder=without")
    succeed(copy, "fit", *data, *FIT, "--trainer.max_epochs=1", "--name=val")
    assert len(rows(run_of(copy, "val") / "metrics.csv")) > 1
    line = fail(copy, "test", "--run=val")
    assert line == "without has no pictures of test"


def test_pictures_that_cannot_be_read_are_named_and_nothing_is_written(copy: Path) -> None:
    bad = sorted((copy / "data" / "pictures" / "train").rglob("*.png"))[7:10]
    for path in bad:
        path.write_text("no picture")
    options = (*FOLDER, "--to=new")
    line = refused(copy, *options, "--data.num_workers=2")
    assert line.startswith(f"{bad[0].relative_to(copy)} is no picture that can be read: ")
    others = ", ".join(path.relative_to(copy / "data" / "pictures").as_posix() for path in bad[1:])
    assert line.endswith(f". Nor are 2 others: {others}")
    for path in bad[1:]:
        path.unlink()
    line = refused(copy, *options, "--data.num_workers=0")
    assert line.startswith(f"{bad[0].relative_to(copy)} is no picture") and "others" not in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (FOLDER, "data/packed is there already --to"),
        ((*FOLDER, "--to=new", "--data.folder=nowhere"), "nowhere/train"),
        ((*FOLDER, "--to=new", "--data.foldr=data"), "data.foldr folder?"),
        ((*FOLDER, "--to=new", "--trainer.max_epochs=1"), "--trainer.max_epochs is no option"),
        (("-c", "configs/data/digits.yaml", "--to=new"), "DigitsDataModule image_folder.yaml"),
        (("-c", "configs/data/nothing.yaml", "--to=new"), "configs/data/nothing.yaml"),
        (("--to=new",), "data is missing"),
        ((*FOLDER, "--to=new", "--data.predict=data"), "data.predict"),
    ],
)
def test_a_mistake_is_answered_in_a_line(
    project: Path, options: tuple[str, ...], words: str
) -> None:
    line = refused(project, *options)
    assert all(word in line for word in words.split()), line


DAMAGE = """
from pathlib import Path
from my_project.data_modules.packed import PackedDataModule
from my_project.utils.project import UserError

def answer():
    try:
        data = PackedDataModule("data/packed")
        data.setup("fit")
    except UserError as error:
        print(error)

folder = Path("data/packed")
images, labels = folder / "train" / "images.npy", folder / "train" / "labels.npy"
content = images.read_bytes()
images.write_bytes(content[:-100])
answer()
images.write_bytes(content)
labels.write_bytes((folder / "test" / "labels.npy").read_bytes())
answer()
labels.unlink()
answer()
(folder / "info.json").write_text("{}")
answer()
"""


def test_a_missing_or_damaged_folder_is_answered_in_a_line(copy: Path) -> None:
    def line(*options: str) -> str:
        return fail(copy, "fit", *PACKED, *FIT, *options)

    assert line("--data.folder=nowhere") == (
        "there is no nowhere/info.json: python -m my_project.pack makes such a folder from pictures"
    )
    assert "image_size is not a known key" in line("--data.image_size=32")

    answers = succeed(copy, "-c", DAMAGE, PYTHONPATH="src").splitlines()
    assert len(answers) == 4
    for name, answer in zip(("images", "labels", "labels"), answers, strict=False):
        assert answer.startswith(f"data/packed/train/{name}.npy is damaged ("), answer
    assert "it has int64 (120,) instead of int64 (479,)" in answers[1]
    assert answers[3].startswith("data/packed/info.json is damaged (")


def test_a_dataset_of_the_hub_is_packed(
    render: Render, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    hub = render(
        package_name="my_project", datasets=["huggingface"], models=["simplenet"], tooling=["pack"]
    )
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "bright"])}
    )
    for split, count in (("train", 20), ("validation", 4), ("test", 4)):
        pictures = [Image.new("L", (8, 8), 100 * (i % 2) + i) for i in range(count)]
        columns = {"image": pictures, "label": [i % 2 for i in range(count)]}
        rows = datasets.Dataset.from_dict(columns, features=features)
        rows.to_parquet(tmp_path / "digits" / f"{split}.parquet")
    options = ("-c", "configs/data/huggingface.yaml", f"--data.path={tmp_path / 'digits'}")
    output = succeed(
        hub,
        *PACK,
        *options,
        "--data.image_size=8",
        "--data.num_workers=1",
        f"--to={tmp_path / 'packed'}",
        PYTHONPATH="src",
        HF_HUB_OFFLINE="1",
    )
    assert "Pictures: train 20, val 4, test 4, each 1x8x8" in output
    info = json.loads((tmp_path / "packed" / "info.json").read_text())
    assert info["classes"] == ["dark", "bright"]
    images = np.load(tmp_path / "packed" / "train" / "images.npy")
    assert images[:, 0, 0, 0].tolist() == [100 * (i % 2) + i for i in range(20)]


def test_ctrl_c_leaves_no_folder(copy: Path) -> None:
    code = """
import os, signal, sys
from my_project.tools.pack import command, decode

def interrupt(self, *args):
    os.kill(os.getpid(), signal.SIGTERM)

decode.Decoder.note = interrupt
command.main(sys.argv[1:])
"""
    before = files(copy)
    done = run_warm(copy, "-c", code, *FOLDER, "--to=new", PYTHONPATH="src")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr
    assert not [name for name in files(copy) - before if "__pycache__" not in name]
