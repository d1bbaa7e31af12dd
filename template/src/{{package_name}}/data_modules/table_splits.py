"""Divides the rows of a table into those to train, to validate and to test on: at random, or as columns say."""

from collections.abc import Callable
from pathlib import Path

import pandas
import torch
from torch import Tensor

from ..utils.project import UserError, shown
from .in_memory import ImageTensors
from .table_encoding import as_numbers, as_texts, kind_of
from .table_files import check_exists, check_filled, raise_at_first

PARTS = ("train", "val", "test")


class TableSplits:
    """How rows are divided.

    Args:
        seed: Seed of random splits.
        fold: Positions to validate on instead of `val_size` rows, in a random order of the rows, or of the groups.
        split: Column that says of each row where it belongs: train, val or test. Without val, rows to train on are
            held out. Without test, there is a file to test on.
        group: Column whose rows of one value stay together, such as a customer.
        time: Column of dates or numbers. The newest rows are to test on, and the newest others to validate on.

    Raises:
        UserError: Two of them contradict each other.
    """

    def __init__(
        self, seed: int, fold: slice | None, split: str | None, group: str | None, time: str | None
    ) -> None:
        self.seed = seed
        self.fold = fold
        self.split = split
        self.group = group
        self.time = time
        if time and group:
            raise UserError(f"rows are split by group, {group}, or by time, {time}: leave out one")
        if time and fold:
            raise UserError(f"rows are split by time, {time}, which has no folds: leave out fold")

    @property
    def columns(self) -> list[str]:
        """The columns that decide."""
        return [column for column in (self.split, self.group, self.time) if column]

    def check(self, path: Path, table: pandas.DataFrame) -> None:
        """Raise UserError if a column of a table cannot divide its rows."""
        for column in self.columns:
            check_exists(path, table, column)
            check_filled(path, table, column)
        if self.split:
            is_wrong = ~table[self.split].isin(PARTS)
            problem = f"column {self.split} is none of {', '.join(PARTS)}"
            raise_at_first(path, table, is_wrong, problem)
        if self.time and kind_of(table[self.time]) == "text":
            problem = f"column {self.time} of {shown(path)} has texts"
            raise UserError(f"{problem}, but time needs numbers, or dates such as 2026-11-29")

    def check_test(self, path: Path, table: pandas.DataFrame) -> None:
        """Raise UserError if a table to test on lacks the groups."""
        if self.group:
            check_exists(path, table, self.group)
            check_filled(path, table, self.group)

    def divide(
        self,
        rows: pandas.DataFrame,
        test: pandas.DataFrame | None,
        test_size: float,
        val_size: float,
        labels_of: Callable[[pandas.DataFrame], Tensor],
    ) -> tuple[pandas.DataFrame, pandas.DataFrame, pandas.DataFrame]:
        """Return the rows to train, to validate and to test on, in the order of the table.

        Args:
            rows: The rows to divide.
            test: The rows of another table to test on, if there is one.
            test_size: How many rows to test on, or a share below 1, where nothing else decides.
            val_size: How many of the others to validate on, or a share.
            labels_of: Returns the labels of rows, of shape (N,). Class numbers keep their shares in random splits.
        """
        val = None
        if self.split:
            rows, val, test = self.given_parts(rows, test)
        if test is None:
            rows, test = self.hold_out(rows, test_size, "test_size", labels_of)
        elif self.group:
            check_apart(rows, test, self.group)
        if val is None:
            rows, val = self.hold_out(rows, val_size, "val_size", labels_of, self.fold)
        return rows, val, test

    def given_parts(
        self, rows: pandas.DataFrame, test: pandas.DataFrame | None
    ) -> tuple[pandas.DataFrame, pandas.DataFrame | None, pandas.DataFrame]:
        """Return the parts that the column `split` names. There may be no rows to validate on."""
        train, val, own_test = (rows[rows[self.split] == part] for part in PARTS)
        if train.empty:
            raise UserError(f"no row of column {self.split} is train")
        if test is None and own_test.empty:
            advice = "write test in some, or pass --data.test_file"
            raise UserError(f"no row of column {self.split} is test: {advice}")
        if test is not None and len(own_test):
            raise UserError(f"column {self.split} has rows to test on: leave out test_file")
        others = {"fold": self.fold, "group": self.group, "time": self.time}
        for option, value in others.items():
            if value and len(val):
                raise UserError(f"column {self.split} has rows to validate on: leave out {option}")
        return train, None if val.empty else val, own_test if test is None else test

    def hold_out(
        self,
        rows: pandas.DataFrame,
        size: float,
        name: str,
        labels_of: Callable[[pandas.DataFrame], Tensor],
        fold: slice | None = None,
    ) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """Return the rows that are kept, and those that are held out.

        Args:
            rows: The rows.
            size: How many to hold out, or a share below 1.
            name: Name of the option that says so.
            labels_of: Returns the labels of rows.
            fold: Positions to hold out instead.
        """
        count = count_of(size, len(rows), name)
        if self.group:
            is_held_out = self.held_out_groups(rows[self.group], count, fold)
            return rows[~is_held_out], rows[is_held_out]
        if self.time:
            times = as_numbers(rows[self.time], kind_of(rows[self.time]))
            order = torch.tensor(times.to_numpy()).argsort(stable=True)
            return rows_at(rows, order[:-count]), rows_at(rows, order[-count:])
        numbered = ImageTensors(torch.arange(len(rows)), labels_of(rows))
        kept, held_out = numbered.split(count, self.seed, fold)
        return rows_at(rows, kept.tensors[0]), rows_at(rows, held_out.tensors[0])

    def held_out_groups(
        self, values: pandas.Series, count: int, fold: slice | None
    ) -> pandas.Series:
        """Return of each row whether its group is held out: a fold of them, or about `count` rows."""
        sizes = values.value_counts(sort=False).sort_index()
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(sizes), generator=generator).numpy()
        if fold:
            chosen = order[fold]
        else:
            totals = sizes.iloc[order].cumsum()
            number = int((totals - count).abs().argmin()) + 1  # nearest to the rows asked for
            chosen = order[:number]
        if not 0 < len(chosen) < len(sizes):
            held_out = f"{len(chosen)} of {len(sizes)} would be held out"
            problem = f"column {self.group} has too few groups, {held_out}"
            raise UserError(f"{problem}: leave out group")
        return values.isin(sizes.index[chosen])


def check_apart(train: pandas.DataFrame, test: pandas.DataFrame, group: str) -> None:
    """Raise UserError if rows of one group are to train on and to test on."""
    both = sorted(set(as_texts(train[group])) & set(as_texts(test[group])))
    if both:
        raise UserError(
            f"{group} {both[0]} is among the rows to train on and among those to test on"
        )


def count_of(size: float, rows: int, name: str) -> int:
    """Return how many rows to hold out; raise UserError if these are none, or all.

    Args:
        size: Their number, or a share below 1.
        rows: The number of all.
        name: Name of the option.
    """
    count = round(size) if size >= 1 else round(size * rows)
    if not 0 < count < rows:
        problem = f"{name} is {size}, which is {count} of {rows} rows"
        raise UserError(f"{problem}: hold out some, but not all")
    return count


def rows_at(rows: pandas.DataFrame, positions: Tensor) -> pandas.DataFrame:
    """Return the rows at some positions, in the order of the table."""
    return rows.iloc[positions.sort().values.numpy()]
