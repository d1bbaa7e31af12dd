"""Pictures in Parquet files, on the Hugging Face Hub or your disk, that are read while they are trained on."""

from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, DatasetBuilder, Features, Image, ReadInstruction, Value
from lightning.fabric.utilities import suggested_max_num_workers
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..engine.new_pictures import NewPictures
from ..utils.limits import PositiveInt
from ..utils.new_data import read_learned
from ..utils.parquet_rows import ParquetRows, Piece, RowError, pieces_of, rows_between, schema_of
from ..utils.piece_order import STREAMS, PieceSampler, ShareSampler
from ..utils.project import UserError
from .huggingface import HubPictureDataModule, check_column, find_dataset
from .in_memory import Batch, check_processes
from .pictures import read_or_name, read_picture

WORKERS = [0, *(count for count in range(1, STREAMS + 1) if STREAMS % count == 0)]
# Options that need all data at once
FOR_OTHER_DATA = ("val_size", "split_seed", "fold", "on_device")
MANY = 10**15  # samples, before their number is known


class StreamedPictures(Dataset[Batch]):
    """Pictures and labels in rows that are read when a batch needs them.

    Args:
        rows: The rows.
        labels: The same rows, of which the labels alone are read, for predictions.csv.
        columns: Names of the columns of pictures and labels.
        label_of: The label of each value of the label column, which is a text here.
        shape: Shape (C, H, W) of the images.
        name: Name of the rows in error messages.
    """

    def __init__(
        self,
        rows: ParquetRows,
        labels: ParquetRows,
        columns: tuple[str, str],
        label_of: dict[str, int],
        shape: tuple[int, ...],
        name: str,
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.image_column, self.label_column = columns
        self.label_of = label_of
        self.shape = shape
        self.name = name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""
        images = []
        labels = []
        for position in positions:
            row = self.rows[position]
            images.append(self.image(row, position))
            labels.append(self.label(row, position))
        return torch.stack(images), torch.tensor(labels)

    def image(self, row: dict[str, Any], position: int) -> Tensor:
        """Return a row's picture, uint8 of shape (C, H, W); raise PictureError if it cannot be read."""
        file = stored_picture(row[self.image_column], position)
        return read_or_name(file, position, self.shape)

    def label(self, row: dict[str, Any], position: int) -> int:
        """Return a row's label; raise RowError if its value is no class."""
        value = row[self.label_column]
        if str(value) not in self.label_of:
            raise RowError(
                f"row {position} of {self.name} has the label {value}, which is no class"
            )
        return self.label_of[str(value)]

    def sample_columns(self, positions: Sequence[int]) -> dict[str, list[int]]:
        """Return the labels of samples for predictions.csv."""
        return {"label": [self.label(self.labels[position], position) for position in positions]}


class NewLabels(Sequence[int | None]):
    """Labels of new data, of which some may be unknown, in rows that are read when they are asked for."""

    def __init__(self, rows: ParquetRows, column: str, label_of: dict[str, int]) -> None:
        self.rows = rows
        self.column = column
        self.label_of = label_of

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: Any) -> Any:
        value = self.rows[position][self.column]
        return self.label_of.get(str(value))


class HuggingFaceStreamDataModule(HubPictureDataModule):
    """A dataset in Parquet files that does not have to fit onto the disk. Only what a batch needs is read.

    In training, the row groups of all files are shuffled, and pictures are shuffled within a buffer. The order depends
    on the seed, the epoch and the number of processes. A run that resumes within an epoch has the same samples.

    Args:
        path: Name of a dataset on the Hub, or a folder with Parquet files, relative to the working directory.
        name: Name of a part (a configuration) of the dataset, if it has several.
        image_column: Column of the pictures.
        label_column: Column of the labels.
        train_split: Split to train on. This and the other two may be slices, such as `train[:95%]`.
        val_split: Split to validate on.
        test_split: Split to test on.
        classes: Values of the label column, in the order of the labels. Needed if the column is no ClassLabel.
        shuffle_buffer: Training pictures that a process shuffles at a time. As many, undecoded, are in its memory.
        num_workers: Worker processes per loader: 0, 1, 2, 4 or 8. If None, as many of these as there are cores.
        predict: New data for `predict`: a split of the dataset, which needs no labels. It may also be a folder of
            pictures, or a picture.
        kwargs: The arguments of PictureDataModule, but for those that need all data at once.

    Raises:
        UserError: There is no such dataset, split or column, or an option is not for such data.
    """

    has_val = True

    def __init__(
        self,
        path: str,
        name: str | None = None,
        image_column: str = "image",
        label_column: str = "label",
        train_split: str = "train",
        val_split: str = "validation",
        test_split: str = "test",
        classes: list[str] | None = None,
        shuffle_buffer: PositiveInt = 8192,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        if num_workers is None:
            cores = suggested_max_num_workers(1)
            num_workers = max(count for count in WORKERS if count <= cores)
        super().__init__(num_workers=num_workers, **kwargs)
        refuse_options(num_workers, kwargs)
        self.path = path
        self.config_name = name
        self.columns = (image_column, label_column)
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.shuffle_buffer = shuffle_buffer
        self.pieces: dict[str, list[Piece]] = {}  # of each split that has been asked for
        if self.predict:  # the training split need not be there
            learned = read_learned(self.run)
            self._set_values(learned["values"], learned["classes"])
            return

        self._open()
        for part, split in self.splits.items():
            self._check_split(f"{part}_split", split)
        for column in self.columns:
            check_column(path, column, self.features)
        check_pictures(path, image_column, self.features[image_column])
        self._set_classes(self.features[label_column], classes)

    def _open(self) -> None:
        """Find the files of the dataset, and its columns."""
        builder = find_dataset(self.path, self.config_name, download=False)
        self.revision = builder.hash
        self.files = parquet_files(builder, self.path)
        first = next(iter(self.files.values()))[0]
        self.features = builder.info.features or Features.from_arrow_schema(schema_of(first))

    def _check_split(self, argument: str, split: str) -> None:
        """Raise UserError if there is no such split, before hours are spent on another one."""
        try:
            ReadInstruction.from_spec(split).to_absolute(dict.fromkeys(self.files, MANY))
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise UserError(
                f"{argument} of dataset {self.path}: {reason}. A slice of another one is possible, such as "
                "--data.train_split train[:95%] --data.val_split train[95%:]"
            ) from error

    def _set_classes(self, column: Any, classes: list[str] | None) -> None:
        """Take the classes from the type of the label column, or else from `classes`."""
        if isinstance(column, ClassLabel) and classes is None:
            numbers = [str(number) for number in range(column.num_classes)]
            self._set_values(numbers, column.names)
        elif isinstance(column, ClassLabel):
            problem = f"data.classes is set, but dataset {self.path} has its own"
            raise UserError(f"{problem}: leave it out")
        elif classes is None:
            problem = f"column {self.columns[1]} of dataset {self.path} does not name its classes"
            raise UserError(f"{problem}: name its values, such as --data.classes '[cat, dog]'")
        else:
            self._set_values(classes, classes)

    def setup(self, stage: str) -> None:
        """Find the rows that the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if self.predict:  # `predict_dataloader` finds them
            return
        if stage in ("fit", "validate"):
            self.train_set = self.part("train")
            self.val_set = self.part("val")
        else:
            self.test_set = self.part("test")

    def part(self, name: str) -> Any:
        """Return the set `train`, `val` or `test`, in the order of the split."""
        pieces = self._pieces_in(f"{name}_split", self.splits[name])
        return StreamedPictures(
            self._rows(pieces, self.columns),
            self._rows(pieces, self.columns[1:]),
            self.columns,
            self.label_of,
            self.input_shape,
            f"{name}_split",
        )

    def _rows(self, pieces: Sequence[Piece], columns: Sequence[str]) -> ParquetRows:
        """Return columns of rows. In memory, each loader has room for two buffers, which its workers share."""
        most_rows = 2 * self.shuffle_buffer // max(1, self.num_workers)
        return ParquetRows(pieces, columns, most_rows)

    def _pieces_in(self, argument: str, split: str) -> list[Piece]:
        """Return the row groups of a split, or of a slice such as `train[:95%]`; raise UserError if it is empty."""
        instruction = ReadInstruction.from_spec(split)
        for part in instruction.to_absolute(dict.fromkeys(self.files, MANY)):
            if part.splitname not in self.pieces:
                self.pieces[part.splitname] = pieces_of(self.files[part.splitname])
        counts = {}
        for name, pieces in self.pieces.items():
            counts[name] = sum(piece.rows for piece in pieces)
        try:
            parts = instruction.to_absolute(counts)
        except (AssertionError, ValueError) as error:
            raise UserError(f"{argument} of dataset {self.path}: {error}") from error
        found = []
        for part in parts:
            found += rows_between(self.pieces[part.splitname], part.from_, part.to)
        if not found:
            raise UserError(f"{argument} of dataset {self.path} has no rows")
        return found

    def train_dataloader(self) -> DataLoader[Batch]:
        order = partial(PieceSampler, batch_size=self.batch_size, buffer=self.shuffle_buffer)
        return self._loader(self.train_set, self._sampler(order, self.train_set, shuffle=True))

    def evaluation_loader(self, data: Any) -> DataLoader[Batch]:
        """Return a loader of a set for validation or testing: each sample once, in order."""
        check_processes(data, self.trainer.world_size if self.trainer else 1)
        return self._loader(data, self._sampler(ShareSampler, data, shuffle=False))

    def class_counts(self) -> list[int]:
        """Refuse to count the samples of each class, because all labels would have to be read."""
        raise UserError(
            "class_weights is balanced, but the labels of streamed data are not counted: name a weight for each class"
        )

    def new_samples(self, path: str) -> NewPictures:
        """Return the pictures in a folder or a file; or those in a split, with their labels if it has some."""
        if Path(path).exists():
            return super().new_samples(path)
        self._open()
        self._check_split("predict", path)
        image_column, label_column = self.columns
        check_column(self.path, image_column, self.features)
        check_pictures(self.path, image_column, self.features[image_column])
        pieces = self._pieces_in("predict", path)
        rows = self._rows(pieces, [image_column])
        columns: dict[str, Sequence[Any]] = {"row": range(len(rows))}
        if label_column in self.features:
            labels = self._rows(pieces, [label_column])
            columns["label"] = NewLabels(labels, label_column, self.label_of)
        file = partial(picture_at, rows, image_column)
        return NewPictures(file, columns, read_picture, self.input_shape, self.strict)


def refuse_options(num_workers: int, options: dict[str, Any]) -> None:
    """Raise UserError for options that need all data at once, and for other numbers of workers."""
    for name in FOR_OTHER_DATA:
        if options.get(name):
            raise UserError(
                f"data.{name} is {options[name]}, but streamed data are never there at once: leave it out"
            )
    if num_workers not in WORKERS:
        possible = ", ".join(map(str, WORKERS))
        raise UserError(
            f"data.num_workers is {num_workers}, but must be one of {possible}, "
            f"because workers share {STREAMS} streams"
        )


def parquet_files(builder: DatasetBuilder, path: str) -> dict[str, list[str]]:
    """Return the Parquet files of each split: paths, or URLs; raise UserError if the dataset has others."""
    found = {}
    for split, files in (builder.config.data_files or {}).items():
        found[str(split)] = [str(file) for file in files]
    for file in (file for files in found.values() for file in files):
        if not file.endswith(".parquet"):
            problem = f"dataset {path} has {Path(file).name}, but only Parquet can be streamed"
            raise UserError(f"{problem}: convert it, or use configs/data/huggingface.yaml")
    if not found:
        raise UserError(f"dataset {path} has no Parquet files")
    return found


def check_pictures(path: str, column: str, feature: Any) -> None:
    """Raise UserError if a column has neither pictures nor the content of picture files."""
    is_content = isinstance(feature, Value) and feature.dtype in ("binary", "large_binary")
    is_with_content = isinstance(feature, dict) and "bytes" in feature
    if not isinstance(feature, Image) and not is_content and not is_with_content:
        raise UserError(f"column {column} of dataset {path} has no pictures: it is {feature}")


def picture_at(rows: ParquetRows, column: str, position: int) -> BytesIO:
    """Return the content of the picture file at a position."""
    return stored_picture(rows[position][column], position)


def stored_picture(stored: Any, position: int) -> BytesIO:
    """Return the content of a picture file in a row; raise RowError if the row has none."""
    content = stored["bytes"] if isinstance(stored, dict) else stored
    if content:
        return BytesIO(content)
    if isinstance(stored, dict) and stored.get("path"):
        problem = f"row {position} has the path {stored['path']} instead of the picture"
        raise RowError(f"{problem}: write the content of the files into the Parquet files")
    raise RowError(f"row {position} has no picture in it")
