"""A table of your own: a CSV file with a header, in which every row is a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..utils.new_data import read_learned
from ..utils.project import UserError, project_root, shown
from .in_memory import Batch, ImageTensors, InMemoryDataModule
from .table_encoding import Column, Kind, described, encode, learn, problems_of, read_as_texts
from .table_files import (
    check_classes,
    check_exists,
    check_some_values,
    check_targets,
    feature_kinds,
    ids_in,
    numbers_of,
    read_table,
    read_test_table,
    sha256,
    text_targets,
)
from .table_splits import TableSplits


class CSVTableDataModule(InMemoryDataModule):
    """Columns of numbers and dates are standardised, and texts one-hot encoded, as `table_encoding.py` says.

    A batch is a pair of inputs, float32 of shape (N, *input_shape), and labels, int64 of shape (N,). For a regression,
    the second part are targets, float32 of shape (N, num_outputs), as they stand in the table. The classes are the
    target's values, sorted: label 0 is the first.

    Args:
        target: Column to predict; for regression also a list of columns.
        task: `classification` or `regression`.
        file: The table, relative to the working directory; the project's `data/table.csv` if None.
        features: Columns to predict from; all others if None.
        test_file: Table with the same columns to test on.
        test_size: Number of rows for testing, or a share below 1, if neither a file nor `split` has them.
        val_size: Number, or share, of the other rows for validation, if `split` has none.
        split_seed: Seed that chooses the held-out rows.
        batch_size: Rows per batch and process.
        on_device: Keep all rows on the training device.
        fold: Hold out a part for validation instead: 2/5 is the second of five.
        predict: A table to predict with `predict`. It needs the features' columns alone.
        run: Directory of the run that predicts it. The command line fills it in.
        strict: Whether to end at a row that cannot be predicted, instead of leaving its predictions empty.
        ids: Columns that tell rows apart, such as a customer's number: no features, but in predictions.csv.
        split: Column that says where a row belongs: train, val or test. It is no feature, like the next two.
        group: Column whose rows of one value are never divided, such as a customer.
        time: Column of dates or numbers. The newest rows are for testing, and the newest others for validation.
        log_target: Whether a regression learns the target's logarithm, as of prices. All else is in the target's unit.

    Raises:
        UserError: A file or column is missing, the target has an empty cell, a number is infinite, a feature is an
            identifier, there is text in place of a number, or options contradict each other.
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
        ids: str | Sequence[str] | None = None,
        split: str | None = None,
        group: str | None = None,
        time: str | None = None,
        log_target: bool = False,
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
        self.targets = as_list(target)
        self.ids = as_list(ids or ())
        self.log_target = log_target
        self.labels: pandas.Index | None = None  # of a classification
        if predict:  # the training table need not be there
            self._recall(read_learned(run))
            return
        files = [Path(file) if file else project_root() / "data" / "table.csv"]
        if test_file:
            files.append(Path(test_file))
        splits = TableSplits(split_seed, self.fold, split, group, time)
        self._read(files, features, splits, test_size, val_size)
        self.sha256 = {shown(path): sha256(path) for path in files}

    def _read(
        self,
        files: Sequence[Path],
        features: Sequence[str] | None,
        splits: TableSplits,
        test_size: float,
        val_size: float,
    ) -> None:
        """Read the table, and the one to test on if there is one, and make the three sets of their rows."""
        path = files[0]
        table = read_table(path, self.ids)
        splits.check(path, table)
        set_aside = {"target": self.targets, "ids": self.ids}
        kinds = feature_kinds(path, table, features, set_aside, splits.columns)
        check_targets(path, table, self.targets, self.task, self.log_target)
        if self.task == "regression":
            self.num_outputs = len(self.targets)
        else:
            self._set_classes(sorted(table[self.targets[0]].unique()))
        test = None
        if len(files) > 1:
            test = self._read_test_table(files[1], kinds, path)
            splits.check_test(files[1], test)
        parts = splits.divide(table, test, test_size, val_size, self._labels_of)

        train = parts[0]
        check_some_values(path, train[list(kinds)])
        self._set_columns(learn(train, kinds))
        if self.task == "regression":
            self._set_target_statistics(train[self.targets].astype(float))
        self.parts = [self._encode(rows) for rows in parts]
        rank_zero_info(described(self.columns, train, table))

    def _read_test_table(
        self, path: Path, kinds: Mapping[str, Kind], other: Path
    ) -> pandas.DataFrame:
        """Return the rows of a file to test on; raise UserError if they do not fit those to train on."""
        texts = [*self.ids, *text_targets(self.targets, self.labels)]
        test = read_test_table(path, kinds, texts, other)
        check_targets(path, test, self.targets, self.task, self.log_target)
        check_classes(path, test[self.targets[0]], self.labels, other)
        return test

    def _set_target_statistics(self, targets: pandas.DataFrame) -> None:
        """Take what standardises the targets, or their logarithms, from those of the training rows."""
        if self.log_target:
            targets = np.log(targets)
        self.target_mean = targets.mean().tolist()
        self.target_std = targets.std(ddof=0).replace(0, 1).tolist()

    def _set_classes(self, values: Sequence[Any]) -> None:
        """Take the classes of a classification from the values of its target."""
        self.labels = pandas.Index(values)
        self.num_classes = len(values)
        self.classes = [str(value) for value in values]

    def _set_columns(self, columns: list[Column]) -> None:
        """Take how columns are encoded."""
        self.columns = columns
        self.input_shape = (sum(column.size for column in columns),)

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new rows need of the training rows: the encoding, and the classes."""
        learned: dict[str, Any] = {"encoding": [asdict(column) for column in self.columns]}
        if self.labels is not None:
            learned["classes"] = self.labels.tolist()
        return learned

    def _recall(self, learned: dict[str, Any]) -> None:
        """Take the encoding and the classes of the training rows from what the run has kept."""
        if "encoding" not in learned:
            problem = "the run is of an earlier csv_table.py, which encodes in another way"
            raise UserError(f"{problem}: predict with that file, or train a new run")
        self._set_columns([Column(**column) for column in learned["encoding"]])
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

    def _labels_of(self, rows: pandas.DataFrame) -> Tensor:
        """Return classes, int64 of shape (N,), of which an unknown one is -1, or targets, float32 (N, num_outputs)."""
        if self.labels is None:
            return torch.tensor(rows[self.targets].to_numpy("float32"))
        return torch.tensor(self.labels.get_indexer(rows[self.targets[0]]))

    def _encode(self, rows: pandas.DataFrame) -> ImageTensors:
        """Return rows as inputs and labels, or targets."""
        inputs = torch.from_numpy(encode(rows, self.columns))
        about: dict[str, Any] = {"row": numbers_of(rows), **ids_in(rows, self.ids)}
        return ImageTensors(inputs, self._labels_of(rows), columns=about)

    def new_samples(self, path: str) -> ImageTensors:
        """Return the rows of a table to predict, with their labels if it has the target's column."""
        texts = [*read_as_texts(self.columns), *self.ids, *text_targets(self.targets, self.labels)]
        table = read_table(Path(path), texts, "--data.predict")
        if table.empty:
            raise UserError(f"{shown(path)} has no rows")
        for column in self.columns:
            check_exists(Path(path), table, column.name)
        numbers = numbers_of(table)
        problems = problems_of(table, self.columns)
        for number, problem in zip(numbers, problems, strict=True):
            if self.strict and problem:
                raise UserError(f"{shown(path)}: {problem} in row {number} (the header is row 1)")
        about: dict[str, Any] = {"row": numbers, **ids_in(table, self.ids), "problem": problems}
        about |= self._known_labels(table)
        inputs = torch.from_numpy(encode(table, self.columns))
        return ImageTensors(inputs, torch.zeros(len(table)), columns=about, labelled=False)

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


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return a name, or several, as a list."""
    return [names] if isinstance(names, str) else list(names)
