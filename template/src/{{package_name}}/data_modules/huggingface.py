"""Any dataset of pictures and labels on the Hugging Face Hub, or in one of its formats on your disk."""

from difflib import get_close_matches
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Image, load_dataset_builder
from datasets.exceptions import DatasetsError

from ..utils.project import UserError
from .pictures import PictureDataModule, Pictures, names_and_sizes


class HuggingFaceDataModule(PictureDataModule):
    """A dataset that is downloaded once, into a cache that all your projects share; HF_HOME in `.env` moves it.

    The classes are those of the label column, or, if it is no ClassLabel, its values in the training split, sorted.
    UserError is raised if there is no such dataset, split or column, or if a label is none of the classes.

    Args:
        path: Name of a dataset on the Hub, or a folder with Parquet files, relative to the working directory.
        name: Name of a part (a configuration) of the dataset, if it has several.
        image_column: Column of the pictures.
        label_column: Column of the labels.
        train_split: Split to train on. This and the other two may be slices, such as `train[:80%]`.
        val_split: Split to validate on; if None, `validation`, and `val_size` pictures of `train_split` without that.
        test_split: Split to test on.
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
        self.path, self.image_column, self.label_column = path, image_column, label_column
        try:
            builder = load_dataset_builder(path, name)
            builder.download_and_prepare()
        except (DatasetsError, OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"there is no dataset {path} to be had: {' '.join(str(error).split())}"
            ) from error
        if val_split is None and "validation" in builder.info.splits:
            val_split = "validation"
        self.has_val = val_split is not None
        splits = {"train": train_split, "test": test_split} | (
            {"val": val_split} if val_split else {}
        )
        try:
            self.splits: dict[str, Dataset] = {
                part: builder.as_dataset(split) for part, split in splits.items()
            }
        except ValueError as error:
            raise UserError(f"dataset {path}: {error}") from error
        columns = self.splits["train"].features
        for column in (image_column, label_column):
            if column not in columns:
                nearest = get_close_matches(column, columns, 1, cutoff=0)[0]
                raise UserError(f"dataset {path} has no column {column}: did you mean {nearest}?")
        label = columns[label_column]
        named = isinstance(label, ClassLabel)
        known = range(label.num_classes) if named else sorted(set(self._labels("train")))
        self.label_of = {value: i for i, value in enumerate(known)}
        self.num_classes, self.classes = (
            len(known),
            label.names if named else [str(value) for value in known],
        )
        self.revision = builder.hash

    @property
    def sha256(self) -> dict[str, str]:
        """The dataset's revision on the Hub, or the SHA-256 of the names and sizes of all files in the folder."""
        folder = Path(self.path)
        return (
            names_and_sizes(folder)
            if folder.is_dir()
            else {f"{self.path} (revision)": self.revision}
        )

    def part(self, name: str) -> Pictures:
        """Return the set `train`, `val` or `test`, in the order of the split."""
        values = self._labels(name)
        if unknown := set(values) - self.label_of.keys():
            raise UserError(
                f"{name}_split of dataset {self.path} has the label {unknown.pop()}, which is no class"
            )
        try:
            rows = self.splits[name].select_columns(self.image_column)
            rows = rows.cast_column(self.image_column, Image(decode=False))
        except NotImplementedError as error:
            raise UserError(
                f"column {self.image_column} of dataset {self.path} has no pictures: {error}"
            ) from error
        file = partial(stored_file, rows, self.image_column)
        labels = torch.tensor([self.label_of[value] for value in values])
        return Pictures(file, self.input_shape, torch.arange(len(rows)), labels)

    def _labels(self, name: str) -> list[Any]:
        return list(self.splits[name][self.label_column])


def stored_file(rows: Dataset, column: str, position: int) -> Path | BytesIO:
    """Return the content of a row's picture file, or, if it is stored beside the table, where it is."""
    stored = rows[position][column]
    return BytesIO(stored["bytes"]) if stored["bytes"] else Path(stored["path"])
