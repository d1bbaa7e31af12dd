"""Any dataset of pictures and labels on the Hugging Face Hub, or in one of its formats on your disk."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, DatasetBuilder, Image, load_dataset_builder
from datasets.exceptions import DatasetsError

from ..engine.new_pictures import NewPictures
from ..engine.picture_files import names_and_sizes
from ..utils.new_data import read_learned
from ..utils.project import UserError
from .pictures import PictureDataModule, Pictures, read_picture

# Errors of a dataset that does not exist, is not for everybody, is damaged, or cannot be downloaded
DATASET_ERRORS = (DatasetsError, OSError, RuntimeError, ValueError)


class HubPictureDataModule(PictureDataModule):
    """What data modules of datasets on the Hub have in common: the classes, and the origin of the data.

    Its attributes are `path`, the name of the dataset or its folder, and `revision`, which the Hub gives it.
    """

    path: str
    revision: str

    def _set_values(self, values: Sequence[Any], classes: Sequence[str]) -> None:
        """Take the values of the label column, in the order of the labels, and the names of the classes."""
        self.num_classes = len(values)
        self.classes = list(classes)
        self.label_of = {value: label for label, value in enumerate(values)}

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new pictures need of the training split."""
        return {"values": list(self.label_of), "classes": self.classes}

    @property
    def sha256(self) -> dict[str, str]:
        """The dataset's revision on the Hub, or the SHA-256 of the names and sizes of all files in the folder."""
        folder = Path(self.path)
        if folder.is_dir():
            return names_and_sizes(folder)
        return {f"{self.path} (revision)": self.revision}


class HuggingFaceDataModule(HubPictureDataModule):
    """A dataset that is downloaded once, into a cache that all your projects share. HF_HOME in `.env` moves the cache.

    The classes are those of the label column. If it is no ClassLabel, they are its values in the training split,
    sorted.

    Args:
        path: Name of a dataset on the Hub, or a folder with Parquet files, relative to the working directory.
        name: Name of a part (a configuration) of the dataset, if it has several.
        image_column: Column of the pictures.
        label_column: Column of the labels.
        train_split: Split to train on. This and the other two may be slices, such as `train[:80%]`.
        val_split: Split to validate on. If None, it is `validation`. Without that, `val_size` pictures of `train_split`
            are held out.
        test_split: Split to test on.
        predict: New data for `predict`: a split of the dataset, which needs no labels. It may also be a folder of
            pictures, or a picture.

    Raises:
        UserError: There is no such dataset, split or column, or a label is none of the classes.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        image_column: str = "image",
        label_column: str = "label",
        train_split: str = "train",
        val_split: str | None = None,
        test_split: str = "test",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.image_column = image_column
        self.label_column = label_column
        self.config_name = name
        if self.predict:  # the training split need not be there
            learned = read_learned(self.run)
            self._set_values(learned["values"], learned["classes"])
            return

        builder = find_dataset(path, name, download=True)
        self.revision = builder.hash
        names = {"train": train_split, "test": test_split}
        if val_split is None and "validation" in builder.info.splits:
            val_split = "validation"
        self.has_val = val_split is not None
        if val_split:
            names["val"] = val_split
        self.splits = read_splits(builder, path, names)

        columns = self.splits["train"].features
        for column in (image_column, label_column):
            check_column(path, column, columns)
        self._set_classes(columns[label_column])

    def _set_classes(self, column: Any) -> None:
        """Take the classes from the type of the label column, or from its values."""
        if isinstance(column, ClassLabel):
            self._set_values(range(column.num_classes), column.names)
        else:
            values = sorted(set(self._labels("train")))
            self._set_values(values, [str(value) for value in values])

    def new_samples(self, path: str) -> NewPictures:
        """Return the pictures in a folder or a file; or those in a split, with their labels if it has some."""
        if Path(path).exists():
            return super().new_samples(path)
        builder = find_dataset(self.path, self.config_name, download=True)
        rows = read_splits(builder, self.path, {"new": path})["new"]
        check_column(self.path, self.image_column, rows.features)
        columns: dict[str, list[Any]] = {"row": list(range(len(rows)))}
        if self.label_column in rows.features:
            columns["label"] = [self.label_of.get(value) for value in rows[self.label_column]]
        file = partial(stored_file, self._undecoded(rows), self.image_column)
        return NewPictures(file, columns, read_picture, self.input_shape, self.strict)

    def part(self, name: str) -> Pictures:
        """Return the set `train`, `val` or `test`, in the order of the split."""
        values = self._labels(name)
        unknown = set(values) - self.label_of.keys()
        if unknown:
            problem = f"{name}_split of dataset {self.path} has the label {unknown.pop()}"
            raise UserError(f"{problem}, which is no class")
        rows = self._undecoded(self.splits[name])
        file = partial(stored_file, rows, self.image_column)
        labels = torch.tensor([self.label_of[value] for value in values])
        return Pictures(file, self.input_shape, torch.arange(len(rows)), labels)

    def _undecoded(self, rows: Dataset) -> Dataset:
        """Return a split's pictures as their files; raise UserError if the column has no pictures."""
        try:
            rows = rows.select_columns(self.image_column)
            return rows.cast_column(self.image_column, Image(decode=False))
        except NotImplementedError as error:
            problem = f"column {self.image_column} of dataset {self.path} has no pictures"
            raise UserError(f"{problem}: {error}") from error

    def _labels(self, name: str) -> list[Any]:
        """Return the values of a set's label column."""
        return list(self.splits[name][self.label_column])


def find_dataset(path: str, name: str | None, download: bool) -> DatasetBuilder:
    """Return what is known of a dataset; raise UserError if it cannot be had.

    Args:
        path: Its name or folder.
        name: Name of a part of it, if it has several.
        download: Whether to download its files into the cache.
    """
    try:
        builder = load_dataset_builder(path, name)
        if download:
            builder.download_and_prepare()
    except DATASET_ERRORS as error:
        reason = " ".join(str(error).split())
        raise UserError(f"there is no dataset {path} to be had: {reason}") from error
    return builder


def read_splits(builder: DatasetBuilder, path: str, names: dict[str, str]) -> dict[str, Dataset]:
    """Return the sets by the names `train`, `val` and `test`; raise UserError if there is no such split.

    Args:
        builder: The dataset.
        path: Its name or folder.
        names: The split of each set.
    """
    try:
        return {part: builder.as_dataset(split) for part, split in names.items()}
    except ValueError as error:
        raise UserError(f"dataset {path}: {error}") from error


def check_column(path: str, column: str, columns: Iterable[str]) -> None:
    """Raise UserError if a dataset has no such column."""
    if column in columns:
        return
    problem = f"dataset {path} has no column {column}"
    close = get_close_matches(column, columns, 1)
    if close:
        raise UserError(f"{problem}: did you mean {close[0]}?")
    raise UserError(f"{problem}: there are {', '.join(columns)}")


def stored_file(rows: Dataset, column: str, position: int) -> Path | BytesIO:
    """Return the content of a row's picture file, or its path if it is stored beside the table."""
    stored = rows[position][column]
    if stored["bytes"]:
        return BytesIO(stored["bytes"])
    return Path(stored["path"])
