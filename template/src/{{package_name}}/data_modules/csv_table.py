"""A table of your own: a CSV file with a header, in which every row is a sample."""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

import pandas
import torch
from lightning.pytorch.utilities import rank_zero_info
from pandas.api.types import is_numeric_dtype
from torch import Tensor

from ..utils.new_data import read_learned
from ..utils.project import UserError, project_root, shown
from .in_memory import Batch, ImageTensors, InMemoryDataModule

HEADER_ROWS = 1  # in a file, before the first sample


class CSVTableDataModule(InMemoryDataModule):
    """Columns of numbers are standardised with the training rows' mean and standard deviation, texts one-hot encoded.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, int64 of shape (N,). For a regression,
    the second part are targets, float32 of shape (N, num_outputs), as they stand in the table. The classes are the
    target's values, sorted: label 0 is the first. A text that no training row has is encoded as zeros.

    Args:
        target: Column to predict; for regression also a list of columns.
        task: `classification` or `regression`.
        file: The table, relative to the working directory; the project's `data/table.csv` if None.
        features: Columns to predict from; all others if None.
        test_file: Table with the same columns to test on; `test_size` rows if None.
        test_size: Number of rows for testing, or a share below 1.
        val_size: Number, or share, of the other rows for validation.
        split_seed: Seed that chooses the held-out rows.
        fold: Hold out a part for validation instead: 2/5 is the second of five.
        batch_size: Rows per batch and process.
        on_device: Keep all rows on the training device.
        predict: A table to predict with `predict`. It needs the features' columns alone.
        run: Directory of the run that predicts it. The command line fills it in.
        strict: Whether to end at a row that cannot be predicted, instead of leaving its predictions empty.

    Raises:
        UserError: A file or column is missing, a cell is empty, NA or infinite, or there is text in place of a number.
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
        predict: str | None = None,
        run: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(
            batch_size,
            split_seed=split_seed,
            on_device=on_device,
            fold=fold,
            predict=predict,
            run=run,
            strict=strict,
        )
        self.task = task
        if isinstance(target, str):
            target = [target]
        self.targets = list(target)
        if predict:  # the training table need not be there
            self._recall(read_learned(run))
            return
        path = Path(file) if file else project_root() / "data" / "table.csv"
        self._read(path, features, test_file, test_size, val_size)

    def _read(
        self,
        path: Path,
        features: Sequence[str] | None,
        test_file: str | None,
        test_size: float,
        val_size: float,
    ) -> None:
        """Read the tables, and make the three sets of their rows."""
        train = read_columns(path, self.targets, features)
        self.features = [column for column in train if column not in self.targets]
        self.texts = [column for column in train if not is_numeric_dtype(train[column])]
        if self.task == "regression":
            self._set_outputs(path)
        else:
            self._check_target()
            self._set_classes(sorted(train[self.targets[0]].unique()))

        files = [path]
        if test_file:
            files.append(Path(test_file))
            test = self._read_test_rows(*files)
        else:
            train, test = self._hold_out(train, test_size, "test_size")
        train, val = self._hold_out(train, val_size, "val_size", self.fold)
        self.sha256 = {shown(path): sha256(path) for path in files}

        self._set_statistics(train)
        self.parts = [self._encode(rows) for rows in (train, val, test)]
        self._print_features()

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new rows need of the training rows: the encoding, and the classes."""
        learned = {
            "features": self.features,
            "texts": self.texts,
            "columns": self.columns.tolist(),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
        }
        if self.task == "classification":
            learned["classes"] = self.labels.tolist()
        return learned

    def _recall(self, learned: dict[str, Any]) -> None:
        """Take the encoding and the classes of the training rows from what the run has kept."""
        self.features = learned["features"]
        self.texts = learned["texts"]
        self.columns = pandas.Index(learned["columns"])
        self.center = pandas.Series(learned["center"], self.columns)
        self.scale = pandas.Series(learned["scale"], self.columns)
        self.input_shape = (len(self.columns),)
        if self.task == "classification":
            self._set_classes(learned["classes"])
        else:
            self.num_outputs = len(self.targets)

    def load(self, train: bool) -> ImageTensors:
        """Return the rows to train on, or those to test on."""
        return self.parts[0 if train else 2]

    def setup(self, stage: str) -> None:
        """Take the three sets. They exist already, because `input_shape` depends on the values in the table."""
        if self.predict:  # `predict_dataloader` reads that table
            return
        self.train_set, self.val_set, self.test_set = self.parts

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Return the batch as it is."""
        return batch

    def _print_features(self) -> None:
        """Print how many features there are, and which columns are encoded as texts."""
        texts = [column for column in self.features if column in self.texts]
        names = ", ".join(texts) or "none"
        rank_zero_info(f"Features: {len(self.columns)}; columns of texts: {names}")

    def _set_outputs(self, path: Path) -> None:
        """Take the number of outputs of a regression; raise UserError if a target has texts."""
        self.num_outputs = len(self.targets)
        for column in self.targets:
            if column in self.texts:
                problem = f"column {column} of {shown(path)} has texts"
                raise UserError(f"{problem}, but regression is of numbers")

    def _check_target(self) -> None:
        """Raise UserError if a classification has several targets."""
        if len(self.targets) > 1:
            targets = ", ".join(self.targets)
            raise UserError(f"target is {targets}, but classification is of one column")

    def _set_classes(self, values: Sequence[Any]) -> None:
        """Take the classes of a classification from the values of its target."""
        self.labels = pandas.Index(values)
        self.num_classes = len(values)
        self.classes = [str(value) for value in values]

    def _read_test_rows(self, train_path: Path, test_path: Path) -> pandas.DataFrame:
        """Return the rows of a file to test on; raise UserError if they do not fit the training rows."""
        test = read_columns(test_path, self.targets, self.features, self.texts)
        for column in test:
            if column not in self.texts and not is_numeric_dtype(test[column]):
                problem = f"column {column} of {test_path} has texts"
                raise UserError(f"{problem}, but that of {shown(train_path)} numbers")
        if self.task == "classification":
            values = set(test[self.targets[0]])
            new = values - set(self.labels)
            if new:
                problem = f"{test_path} has the class {new.pop()}"
                raise UserError(f"{problem}, which {shown(train_path)} has not")
        return test

    def _hold_out(
        self, rows: pandas.DataFrame, size: float, name: str, fold: slice | None = None
    ) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """Split rows; return the others, and `size` of them or a fold. Classes keep their shares."""
        if size >= 1:
            count = round(size)
        else:
            count = round(size * len(rows))
        if not 0 < count < len(rows):
            problem = f"{name} is {size}, which is {count} of {len(rows)} rows"
            raise UserError(f"{problem}: hold out some, but not all")
        labels = torch.zeros(len(rows))  # for regression, any rows
        if self.task == "classification":
            labels = self._labels_of(rows)
        numbered = ImageTensors(torch.arange(len(rows)), labels)
        kept, held_out = numbered.split(count, self.split_seed, fold)
        return rows_of(rows, kept), rows_of(rows, held_out)

    def _labels_of(self, rows: pandas.DataFrame) -> Tensor:
        """Return the labels of rows, int64 of shape (N,)."""
        values = rows[self.targets[0]]
        return torch.tensor(self.labels.get_indexer(values))

    def _set_statistics(self, train: pandas.DataFrame) -> None:
        """Take mean and standard deviation of the numbers, and the texts that there are, from the training rows."""
        if self.task == "regression":
            targets = train[self.targets].astype(float)
            self.target_mean = targets.mean().tolist()
            self.target_std = deviation(targets).tolist()
        self.columns = one_hot(train[self.features]).columns
        self.input_shape = (len(self.columns),)
        names = [column for column in self.features if column not in self.texts]
        numbers = train[names].astype(float)
        center = numbers.mean()
        scale = deviation(numbers)
        # one-hot columns stay as they are
        self.center = center.reindex(self.columns, fill_value=0)
        self.scale = scale.reindex(self.columns, fill_value=1)

    def _encode(self, rows: pandas.DataFrame) -> ImageTensors:
        """Return rows as inputs and labels, or targets."""
        inputs = self._inputs_of(rows[self.features])
        if self.task == "regression":
            labels = torch.tensor(rows[self.targets].to_numpy("float32"))
        else:
            labels = self._labels_of(rows)
        return ImageTensors(inputs, labels, columns={"row": numbers_of(rows)})

    def _inputs_of(self, rows: pandas.DataFrame) -> Tensor:
        """Return features standardised and one-hot encoded, float32 of shape (N, *input_shape)."""
        columns = one_hot(rows).reindex(columns=self.columns, fill_value=0)
        standardised = (columns - self.center) / self.scale
        return torch.tensor(standardised.to_numpy("float32"))

    def new_samples(self, path: str) -> ImageTensors:
        """Return the rows of a table to predict, with their labels if it has the target's column."""
        table = read_table(Path(path), self.texts)
        if table.empty:
            raise UserError(f"{shown(path)} has no rows")
        rows, problems = self._filled(Path(path), table)
        numbers = numbers_of(table)
        for number, problem in zip(numbers, problems, strict=True):
            if self.strict and problem:
                raise UserError(f"{shown(path)}: {problem} in row {number} (the header is row 1)")
        columns: dict[str, list[Any]] = {"row": numbers, "problem": problems}
        columns |= self._known_labels(table)
        inputs = self._inputs_of(rows)
        return ImageTensors(inputs, torch.zeros(len(rows)), columns=columns, labelled=False)

    def _filled(self, path: Path, table: pandas.DataFrame) -> tuple[pandas.DataFrame, list[str]]:
        """Return the features without empty cells, and of each row which column has no value, if any."""
        rows = pandas.DataFrame(index=table.index)
        problems = [""] * len(table)
        for column in self.features:
            check_exists(path, table, column)
            is_text = column in self.texts
            values = table[column] if is_text else as_numbers(table[column])
            kind = "value" if is_text else "number"
            rows[column] = values.fillna("" if is_text else 0)
            for position in values.isna().to_numpy().nonzero()[0]:
                problems[position] = f"column {column} has no {kind}"
        return rows, problems

    def _known_labels(self, table: pandas.DataFrame) -> dict[str, list[Any]]:
        """Return the labels, or the targets, in a table of new rows. A class that no training row has is None."""
        if not all(column in table for column in self.targets):
            return {}
        if self.task == "classification":
            labels = self._labels_of(table).tolist()
            return {"label": [label if label >= 0 else None for label in labels]}
        if len(self.targets) == 1:
            return {"label": table[self.targets[0]].tolist()}
        return {f"label{i}": table[target].tolist() for i, target in enumerate(self.targets)}


def numbers_of(rows: pandas.DataFrame) -> list[int]:
    """Return the numbers of rows in their file, in which the header is row 1."""
    numbers: list[int] = (rows.index + 1 + HEADER_ROWS).tolist()
    return numbers


def as_numbers(values: pandas.Series) -> pandas.Series:
    """Return a column as numbers. What is no number, or infinite, is missing."""
    return pandas.to_numeric(values, errors="coerce").replace([inf, -inf], nan)


def read_columns(
    path: Path, targets: Sequence[str], features: Sequence[str] | None, texts: Sequence[str] = ()
) -> pandas.DataFrame:
    """Return columns of a file: the targets and then the features.

    Args:
        path: The file.
        targets: Columns of the targets.
        features: Columns of the features. If None, they are all others.
        texts: Columns that are read as texts, even if they look like numbers.
    """
    table = read_table(path, texts)
    if features is None:
        features = list(table.columns)
    columns = list(dict.fromkeys([*targets, *features]))
    for column in columns:
        check_column(path, table, column)
    return table[columns]


def read_table(path: Path, texts: Sequence[str]) -> pandas.DataFrame:
    """Return the content of a file; raise UserError if it is no table."""
    types = dict.fromkeys(texts, str)
    try:
        return pandas.read_csv(path, dtype=types, index_col=False, low_memory=False)
    except FileNotFoundError:
        advice = "put a table with a header there, or pass --data.file"
        raise UserError(f"there is no {shown(path)}: {advice}") from None
    except ValueError as error:
        raise UserError(f"{shown(path)} is no CSV table: {error}") from error


def check_column(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a table lacks a column, or one of its cells has no value."""
    check_exists(path, table, column)
    values = table[column]
    infinite = values.isin([inf, -inf])
    empty = values.isna() | infinite
    if empty.any():
        row = empty.argmax() + 1 + HEADER_ROWS
        problem = f"column {column} has no value in row {row}"
        raise UserError(f"{shown(path)}: {problem} (the header is row 1)")


def check_exists(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a table lacks a column."""
    if column not in table:
        nearest = get_close_matches(column, table.columns, 1, cutoff=0)[0]
        raise UserError(f"{shown(path)} has no column {column}: did you mean {nearest}?")


def rows_of(rows: pandas.DataFrame, numbered: ImageTensors) -> pandas.DataFrame:
    """Return the rows whose numbers are in a part of a split, in the order of the table."""
    numbers = numbered.tensors[0].sort().values
    return rows.iloc[numbers.numpy()]


def one_hot(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Return rows in which each text of a column has a column of its own, such as `colour=red`."""
    return pandas.get_dummies(rows, prefix_sep="=")


def deviation(numbers: pandas.DataFrame) -> pandas.Series:
    """Return the standard deviation of each column, and 1 for one that is constant."""
    return numbers.std(ddof=0).replace(0, 1)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
