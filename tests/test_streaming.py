"""Pictures in Parquet files that are read while they are trained on: which samples, in which order, and resumed."""

import gc
import json
import shutil
import signal
from collections.abc import Iterator
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers import run_files
from helpers.commands import fail, run_warm, succeed
from helpers.datasets import data_module, refused
from helpers.distributed import end, start
from helpers.trained_project import metric
from PIL import Image

pytestmark = pytest.mark.usefixtures("without_hub")

STREAM = ("huggingface_stream", "HuggingFaceStreamDataModule")
TRAIN, VALIDATION, TEST = (
    203,
    17,
    23,
)  # none of which divides by a number of processes or a batch size


# Writes what each batch of the training holds, and may kill its process.
CALLBACK = """
import os
import shutil
import signal

from lightning.pytorch import Callback


class Seen(Callback):
    def __init__(self, file: str, kill: int = -1) -> None:
        self.file, self.kill = file, kill

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        pixels = (batch[0][:, 0, 0, :2] * 0.25 + 0.5) * 255
        numbers = [256 * round(high) + round(low) for high, low in pixels.tolist()]
        with open(f"{self.file}.{trainer.global_rank}", "a") as file:
            print(trainer.current_epoch, trainer.global_step, *numbers, file=file)
"""


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    """End the workers of loaders. They would keep open the pipe by which the warm Python is told to end."""
    yield
    gc.collect()


def numbered(number: int) -> Image.Image:
    """A picture whose first two pixels are its number. The others show its class, which is the last digit."""
    picture = Image.new("L", (8, 8), number % 10 * 25)
    picture.putpixel((0, 0), number // 256)
    picture.putpixel((1, 0), number % 256)
    return picture


def write_parquet(path: Path, numbers: range, group: int, **columns: Any) -> None:
    """Write numbered pictures into a file of row groups of this size. `columns` take the place of their own."""
    datasets = pytest.importorskip("datasets")
    own = {"image": [numbered(i) for i in numbers], "label": [number % 10 for number in numbers]}
    rows = datasets.Dataset.from_dict({**own, **columns})
    rows = rows.cast_column("image", datasets.Image())
    if not columns:
        rows = rows.cast_column("label", datasets.ClassLabel(num_classes=10))
    path.parent.mkdir(exist_ok=True)
    rows.to_parquet(path, batch_size=group)


@pytest.fixture(scope="module")
def shards(datasets_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbered pictures: 203 to train on, in three files of unlike row groups, 17 to validate and 23 to test on."""
    folder = tmp_path_factory.mktemp("shards")
    bounds = [0, 70, 120, TRAIN]
    for i, group in enumerate((7, 50, 11)):
        numbers = range(bounds[i], bounds[i + 1])
        write_parquet(folder / f"train-{i:05}-of-00003.parquet", numbers, group)
    write_parquet(folder / "validation.parquet", range(VALIDATION), 5)
    write_parquet(folder / "test.parquet", range(TEST), 5)
    return folder


def stream(folder: Path, **options: Any) -> Any:
    """Return a data module that is set up for training."""
    defaults = {
        "image_size": 8,
        "grey": True,
        "num_workers": 0,
        "batch_size": 4,
        "shuffle_buffer": 80,
    }
    data = data_module(*STREAM, str(folder), **{**defaults, **options})
    data.setup("fit")
    return data


def order(data: Any, processes: int, rank: int, epoch: int = 0) -> list[int]:
    """Return the positions that a process trains on in an epoch."""
    sampler = import_module("my_project.utils.piece_order").PieceSampler(
        data.train_set, processes, rank, True, 1, data.batch_size, data.shuffle_buffer
    )
    sampler.set_epoch(epoch)
    positions = list(sampler)
    assert len(positions) == len(sampler)
    return positions


def seen_by(loader: Any) -> list[list[int]]:
    """Return the numbers of the pictures in each batch of a loader, and see that they are with their labels."""
    batches = []
    for images, labels in loader:
        numbers = (images[:, 0, 0, 0].int() * 256 + images[:, 0, 0, 1]).tolist()
        assert labels.tolist() == [number % 10 for number in numbers]
        batches.append(numbers)
    return batches


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_processes_see_the_whole_set_once_in_equally_many_steps(
    shards: Path, processes: int
) -> None:
    data = stream(shards)
    shares = [order(data, processes, rank) for rank in range(processes)]
    assert {len(share) for share in shares} == {-(-TRAIN // processes)}
    together = list(chain(*shares))
    assert set(together) == set(range(TRAIN))
    assert len(together) - TRAIN < processes, "one per process at most is repeated"
    assert order(data, processes, 0) == shares[0] != order(data, processes, 0, epoch=1)


def test_workers_change_nothing_about_the_batches(shards: Path) -> None:
    alone, two = (seen_by(stream(shards, num_workers=n).train_dataloader()) for n in (0, 2))
    assert alone == two
    assert sorted(chain(*alone)) == list(range(TRAIN))


def test_a_row_group_is_read_once_and_is_not_kept(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = import_module("my_project.utils.parquet_rows")
    read = reader.read_piece
    reads = []

    def noted(piece: Any, columns: Any) -> Any:
        reads.append(piece)
        return read(piece, columns)

    monkeypatch.setattr(reader, "read_piece", noted)
    data = stream(shards, shuffle_buffer=160)
    kept = []
    for _ in data.train_dataloader():
        kept.append(sum(map(len, data.train_set.rows.tables.values())))
    assert len(set(reads)) == len(data.train_set.rows.pieces) == 10 + 1 + 8
    assert len(reads) <= 19 + 7, "a row group that two of the eight streams share may be read twice"
    assert max(kept) <= 2 * 160
    assert kept[-1] == 0


def test_shuffling_mixes_row_groups(shards: Path) -> None:
    positions = order(stream(shards, shuffle_buffer=TRAIN * 8), 1, 0)
    apart = [abs(one - other) for one, other in pairwise(positions)]
    assert sum(step == 1 for step in apart) < TRAIN / 10
    assert max(apart) > TRAIN / 2


def test_evaluation_has_each_sample_once_in_its_order(shards: Path) -> None:
    data = stream(shards, num_workers=2, batch_size=3)
    assert list(chain(*seen_by(data.val_dataloader()))) == list(range(VALIDATION))
    sampler = import_module("my_project.utils.piece_order").ShareSampler
    shares = [list(sampler(data.val_set, 3, rank, False)) for rank in range(3)]
    assert list(chain(*shares)) == list(range(VALIDATION))
    assert {len(share) for share in shares} == {5, 6}


def test_slices_of_a_split_are_possible(shards: Path) -> None:
    data = stream(shards, train_split="train[:75%]+validation[:3]", val_split="train[75%:]")
    assert list(chain(*seen_by(data.val_dataloader()))) == list(range(152, TRAIN))
    assert sorted(chain(*seen_by(data.train_dataloader()))) == sorted([*range(152), *range(3)])


@pytest.fixture(scope="module")
def project(datasets_project: Path) -> Path:
    """The project, with a callback that writes down what it trains on."""
    (datasets_project / "src" / "my_project" / "callbacks" / "seen.py").write_text(CALLBACK)
    return datasets_project


def options(shards: Path) -> list[str]:
    """Return those of a training on the shards: two epochs of small batches."""
    return [
        *("-c", "configs/data/huggingface_stream.yaml", "-c", "configs/model/mlp.yaml"),
        f"--data.path={shards}",
        "--data.image_size=8",
        "--data.grey=true",
        "--data.flip=false",
        "--data.batch_size=4",
        "--data.shuffle_buffer=80",
        "--trainer.max_epochs=2",
        "--trainer.enable_progress_bar=false",
        "--trainer.log_every_n_steps=1",
        "--trainer.logger=false",
    ]


def callbacks(folder: Path, name: str, kill: int = -1) -> list[str]:
    """Return the options by which a training writes down its samples, and saves after every fifth step."""
    seen = {
        "class_path": "my_project.callbacks.seen.Seen",
        "init_args": {"file": str(folder / name), "kill": kill},
    }
    save = {
        "class_path": "ModelCheckpoint",
        "init_args": {"dirpath": str(folder / "steps"), "every_n_train_steps": 5},
    }
    return [f"--trainer.callbacks={json.dumps([seen, save])}"]


def lines(folder: Path, name: str, rank: int) -> list[str]:
    """Return what a process has written: epoch, step and samples of each batch."""
    return (folder / f"{name}.{rank}").read_text().splitlines()


def check_resumed(folder: Path, processes: int, killed_at: int, saved_at: int) -> None:
    """See that the batches of a killed and resumed training are those of an uninterrupted one."""
    for rank in range(processes):
        whole = lines(folder, "whole", rank)
        assert lines(folder, "killed", rank) == whole[:killed_at]
        assert lines(folder, "resumed", rank) == whole[saved_at:]


def test_a_killed_training_resumes_within_an_epoch_sample_by_sample(
    project: Path, shards: Path, tmp_path: Path
) -> None:
    base = ["fit", *options(shards)]
    succeed(project, *base, *callbacks(tmp_path, "whole"), "--data.num_workers=0")
    killed = ("--data.num_workers=2", "--name=killed")
    done = run_warm(project, *base, *callbacks(tmp_path, "killed", kill=69), *killed)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    (saved,) = (tmp_path / "steps").glob("*step=65*")
    resume = ("fit", "--run=killed", f"--ckpt_path={saved}")
    for change, line in (
        ("--data.shuffle_buffer=160", "data.shuffle_buffer is 160, but 80 in the epoch"),
        ("--data.train_split=train[:99%]", "the number of training samples is 201, but 203 in"),
    ):
        assert fail(project, *resume, change, "--trainer.callbacks=null").startswith(line)
    succeed(project, *resume, *callbacks(tmp_path, "resumed"), "--data.num_workers=0")
    check_resumed(tmp_path, 1, killed_at=69, saved_at=65)


def test_two_processes_resume_and_count_each_sample_once(
    project: Path, shards: Path, tmp_path: Path
) -> None:
    two = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")

    def with_two(*command: str) -> tuple[int, str]:
        return end(start(project, ["src/main.py", *command, *two, "--data.num_workers=0"]))

    base = ["fit", *options(shards)]
    status, output = with_two(
        *base, *callbacks(tmp_path, "whole"), "--name=two", "--test_after_fit=true"
    )
    assert status == 0, output
    epoch = [line.split() for rank in (0, 1) for line in lines(tmp_path, "whole", rank)[:26]]
    numbers = [int(number) for _, _, *batch in epoch for number in batch]
    assert len(numbers) == TRAIN + 1
    assert set(numbers) == set(range(TRAIN))
    alone = succeed(project, "test", "--run=two")
    for name in ("test/acc", "test/loss"):
        assert metric(output, name) == pytest.approx(metric(alone, name), rel=1e-5)
    assert with_two("predict", "--run=two")[0] == 0
    predicted = run_files.rows(run_files.run_of(project, "two") / "predictions.csv")
    assert [int(row["id"]) for row in predicted] == list(range(TEST))
    assert [row["label"] for row in predicted] == [str(i % 10) for i in range(TEST)]

    with_two(*base, *callbacks(tmp_path, "killed", kill=39), "--name=two_killed")
    (saved,) = (tmp_path / "steps").glob("*step=35*")
    resume = ("fit", "--run=two_killed", f"--ckpt_path={saved}")
    one = ("--trainer.devices=1", "--trainer.strategy=auto", "--data.batch_size=8")
    line = fail(project, *resume, *one, "--trainer.callbacks=null")
    assert line.startswith("the number of processes is 1, but 2 in the epoch")
    status, output = with_two(*resume, *callbacks(tmp_path, "resumed"))
    assert status == 0, output
    check_resumed(tmp_path, 2, killed_at=39, saved_at=35)


def test_an_option_that_is_not_for_a_stream_is_refused_in_one_line(
    shards: Path, tmp_path: Path
) -> None:
    def line(folder: Path = shards, **options: Any) -> str:
        return refused(*STREAM, str(folder), **options)

    assert line(val_split="val").startswith(f'val_split of dataset {shards}: Unknown split "val"')
    assert line(val_split="val").endswith("--data.val_split train[95%:]")
    assert "Unknown split" in line(test_split="tests")
    assert "Unrecognized instruction format" in line(train_split="train[:5")
    assert line(num_workers=3).startswith("data.num_workers is 3, but must be one of 0, 1, 2, 4, 8")
    for name, value in (("val_size", 5), ("split_seed", 1), ("fold", "1/2"), ("on_device", True)):
        options: dict[str, Any] = {"num_workers": 0, name: value}
        said = line(**options)
        assert said.startswith(f"data.{name} is {value}, but streamed")
    assert line(classes=["a"]).endswith("has its own: leave it out")
    assert line(label_column="lable").endswith("did you mean label?")
    assert "column label of dataset" in line(image_column="label")
    assert line(tmp_path / "nowhere").startswith("there is no dataset")
    with pytest.raises(ValueError, match=r"^train_split of dataset .* has no rows$"):
        stream(shards, train_split="train[:0]")


def test_classes_that_the_files_do_not_name_are_asked_for_and_checked(
    shards: Path, tmp_path: Path
) -> None:
    for split in ("train", "validation", "test"):
        write_parquet(tmp_path / f"{split}.parquet", range(20), 20, label=["cat", "dog"] * 10)
    line = refused(*STREAM, str(tmp_path))
    assert line.endswith("name its values, such as --data.classes '[cat, dog]'")
    data = stream(tmp_path, classes=["dog", "cat"])
    assert next(iter(data.val_dataloader()))[1].tolist() == [1, 0, 1, 0]
    data = stream(tmp_path, classes=["dog", "cow"], num_workers=1)
    with pytest.raises(ValueError, match=r"^row 0 of val_split has the label cat, which is no"):
        list(data.val_dataloader())


def test_files_that_cannot_be_read_are_named_in_one_line(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = import_module("my_project.utils.parquet_rows")
    with monkeypatch.context() as patch:
        patch.setattr(reader, "LARGEST_GROUP", 1000)
        with pytest.raises(ValueError, match=r"train-.*\.parquet has a row group of 0\.0 GiB"):
            stream(shards)
    shutil.copytree(shards, tmp_path / "shards")
    bad = tmp_path / "shards" / "test.parquet"
    data = stream(tmp_path / "shards", num_workers=1)
    bad.write_text("text")
    with pytest.raises(ValueError, match=r"test\.parquet is no Parquet file that can be read: "):
        data.setup("test")
    (tmp_path / "shards" / "validation.parquet").unlink()
    with pytest.raises(ValueError, match=r"validation\.parquet cannot be read: .*No such file"):
        list(data.val_dataloader())
    rows = {"image": [{"bytes": None, "path": "0.png"}] * 2, "label": ["a", "b"]}
    for split in ("train", "validation", "test"):
        write_parquet(tmp_path / "paths" / f"{split}.parquet", range(2), 2, **rows)
    with pytest.raises(ValueError, match=r"^row 0 has the path 0\.png instead of the picture: "):
        list(stream(tmp_path / "paths", classes=["a", "b"]).val_dataloader())
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.csv").write_text("image,label\n1,2\n")
    line = refused(*STREAM, str(tmp_path / "tables"))
    assert "has train.csv, but only Parquet can be streamed" in line
