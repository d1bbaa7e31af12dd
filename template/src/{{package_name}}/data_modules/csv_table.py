"""A table of your own: a CSV file with a header, in which every row is a sample."""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Literal

import pandas
import torch
from lightning.pytorch.utilities import rank_zero_info
from pandas.api.types import is_numeric_dtype

from ..utils.project import UserError, project_root, shown
from .in_memory import Batch, ImageTensors, InMemoryDataModule


class CSVTableDataModule(InMemoryDataModule):
    """Columns of numbers are standardised with the training rows' mean and standard deviation, texts one-hot encoded.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, int64 of shape (N,), or targets of a
    regression, float32 of shape (N, num_outputs), as they stand in the table. The classes are the target's values,
    sorted: label 0 is the first. A text that no training row has is encoded as zeros.

    Args:
        target: Column to predict; for regression there may be several.
        task: `classification` or `regression`.
        file: The table, relative to the working directory; `data/table.csv` in the project's root if None.
        features: Columns to predict it from; all others if None.
        test_file: A table with the same columns to test on; if None, `test_size` of the rows are held out for that.
        test_size: Number of rows, or a share of them if it is below 1.
        val_size: Number, or share, of the other rows, which are held out for validation.
        split_seed: Seed of the choice of these rows.
        fold: Hold out one of several parts for validation instead: 2/5 is the second of five.
        batch_size: Rows per batch and process.
        on_device: Whether to keep all rows on the device that trains.

    Raises:
        UserError: If a file or column is missing, a cell is empty, NA or infinite, or text stands where numbers must.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        task: Literal["classification", "regression"] = "classification",
        file: str | None = None,
        features: Sequence[str] | None = None,
        test_file: str | None = None,
        test_size: float = 0.2,
        val_size: float = 0.1,
        split_seed: int = 0,
        batch_size: int = 64,
        on_device: bool = False,
        fold: str | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed=split_seed, on_device=on_device, fold=fold)
        self.targets, self.task = [target] if isinstance(target, str) else list(target), task
        path = Path(file) if file else project_root() / "data" / "table.csv"
        train = read_columns(path, self.targets, features)
        self.features = [column for column in train if column not in self.targets]
        texts = [column for column in train if not is_numeric_dtype(train[column])]
        if task == "regression":
            self.num_outputs = len(self.targets)
            if wrong := [column for column in self.targets if column in texts]:
                raise UserError(
                    f"column {wrong[0]} of {shown(path)} has texts, but regression is of numbers"
                )
        else:
            if len(self.targets) > 1:
                raise UserError(
                    f"target is {', '.join(self.targets)}, but classification is of one column"
                )
            self.labels = pandas.Index(sorted(train[self.targets[0]].unique()))
            self.num_classes, self.classes = len(self.labels), [str(value) for value in self.labels]
        if test_file:
            test = read_columns(Path(test_file), self.targets, self.features, texts)
            for column in train:
                if is_numeric_dtype(train[column]) and not is_numeric_dtype(test[column]):
                    raise UserError(
                        f"column {column} of {test_file} has texts, but that of {shown(path)} numbers"
                    )
            if task == "classification" and (new := set(test[self.targets[0]]) - set(self.labels)):
                raise UserError(
                    f"{test_file} has the class {new.pop()}, which {shown(path)} has not"
                )
        else:
            train, test = self._hold_out(train, test_size, "test_size")
        train, val = self._hold_out(train, val_size, "val_size", self.fold)
        files = [path, *([Path(test_file)] if test_file else [])]
        self.sha256 = {shown(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

        if task == "regression":
            given = train[self.targets].astype(float)
            self.target_mean, self.target_std = (
                given.mean().tolist(),
                given.std(ddof=0).replace(0, 1).tolist(),
            )
        numbers = train[[column for column in self.features if column not in texts]].astype(float)
        self.columns = pandas.get_dummies(train[self.features], prefix_sep="=").columns
        self.center = numbers.mean().reindex(self.columns, fill_value=0)
        self.scale = numbers.std(ddof=0).replace(0, 1).reindex(self.columns, fill_value=1)
        self.input_shape = (len(self.columns),)
        self.parts = [self._encode(rows) for rows in (train, val, test)]
        one_hot = ", ".join(column for column in self.features if column in texts) or "none"
        rank_zero_info(f"Features: {len(self.columns)}; columns of texts: {one_hot}")

    def load(self, train: bool) -> ImageTensors:
        """Return the rows to train on, or those to test on."""
        return self.parts[0 if train else 2]

    def setup(self, stage: str) -> None:
        """Take the three sets, which are there already: `input_shape` depends on what is in the table."""
        self.train_set, self.val_set, self.test_set = self.parts

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Return the batch as it is."""
        return batch

    def _hold_out(
        self, rows: pandas.DataFrame, size: float, name: str, fold: slice | None = None
    ) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        count = round(size if size >= 1 else size * len(rows))
        if not 0 < count < len(rows):
            raise UserError(
                f"{name} is {size}, which is {count} of {len(rows)} rows: hold out some, but not all"
            )
        labels = torch.zeros(len(rows))  # for regression, any rows
        if self.task == "classification":
            labels = torch.tensor(self.labels.get_indexer(rows[self.targets[0]]))
        parts = ImageTensors(torch.arange(len(rows)), labels).split(count, self.split_seed, fold)
        kept, held_out = (part.tensors[0].sort().values.numpy() for part in parts)
        return rows.iloc[kept], rows.iloc[held_out]

    def _encode(self, rows: pandas.DataFrame) -> ImageTensors:
        inputs = pandas.get_dummies(rows[self.features], prefix_sep="=").reindex(
            columns=self.columns, fill_value=0
        )
        inputs = torch.tensor(((inputs - self.center) / self.scale).to_numpy("float32"))
        if self.task == "regression":
            return ImageTensors(inputs, torch.tensor(rows[self.targets].to_numpy("float32")))
        return ImageTensors(inputs, torch.tensor(self.labels.get_indexer(rows[self.targets[0]])))


def read_columns(
    path: Path, targets: Sequence[str], features: Sequence[str] | None, texts: Sequence[str] = ()
) -> pandas.DataFrame:
    """Return the targets and then the features, all other columns if None; `texts` are columns that are not numbers."""
    try:
        table = pandas.read_csv(
            path, dtype=dict.fromkeys(texts, str), index_col=False, low_memory=False
        )
    except FileNotFoundError:
        raise UserError(
            f"there is no {shown(path)}: put a table with a header there, or pass --data.file"
        ) from None
    except ValueError as error:
        raise UserError(f"{shown(path)} is no CSV table: {error}") from error
    columns = list(dict.fromkeys([*targets, *(table.columns if features is None else features)]))
    for column in columns:
        if column not in table:
            nearest = get_close_matches(column, table.columns, 1, cutoff=0)[0]
            raise UserError(f"{shown(path)} has no column {column}: did you mean {nearest}?")
        empty = table[column].isna() | table[column].isin([inf, -inf])
        if empty.any():
            row = empty.argmax() + 2
            raise UserError(
                f"{shown(path)}: column {column} has no value in row {row} (the header is row 1)"
            )
    return table[columns]
