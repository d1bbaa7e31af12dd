"""Reads CSV tables, and says in one line what is wrong with one."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import inf
from pathlib import Path

import pandas
from pandas.api.types import is_numeric_dtype

from ..utils.project import UserError, shown
from .table_encoding import Kind, as_numbers, as_texts, exception_among, kind_of, listed

HEADER_ROWS = 1  # in a file, before the first sample
UNNAMED = "Unnamed: "  # begins the name that pandas gives to a column without one
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
FEW_TEXTS = 10  # of a column that may all be different
# Columns that predictions.csv has anyway, such as id, label_name and p0
TAKEN = re.compile(r"id|loader|row|problem|label\w*|class\w*|prediction\d*|p\d*")


def read_table(path: Path, texts: Iterable[str], option: str = "--data.file") -> pandas.DataFrame:
    """Return the content of a file. Raise UserError if it is no table.

    Args:
        path: The file.
        texts: Columns that are read as texts, even if they look like numbers.
        option: The option that names the file.
    """
    types = dict.fromkeys(texts, str)
    try:
        table = pandas.read_csv(path, dtype=types, index_col=False, low_memory=False)
    except FileNotFoundError:
        advice = f"put a table with a header there, or name another file with {option}"
        raise UserError(f"there is no {shown(path)}: {advice}") from None
    except ValueError as error:
        raise UserError(f"{shown(path)} is no CSV table: {error}") from error
    check_separator(path, list(table))
    return table


def check_separator(path: Path, columns: Sequence[str]) -> None:
    """Raise UserError if a table has one column, in whose name another separator stands."""
    for separator, name in SEPARATORS.items():
        if len(columns) == 1 and separator in columns[0]:
            problem = f"the columns of {shown(path)} are separated by {name}"
            raise UserError(f"{problem}: save the table with commas")


def feature_kinds(
    path: Path,
    table: pandas.DataFrame,
    features: Sequence[str] | None,
    set_aside: Mapping[str, Sequence[str]],
    of_splits: Sequence[str],
) -> dict[str, Kind]:
    """Return the columns to predict from, and what each of them has.

    Args:
        path: The file of the table.
        table: The table.
        features: The columns to predict from; all others if None.
        set_aside: The columns that are no features, by the options that name them.
        of_splits: The columns that divide the rows. They are features only if `features` has them.

    Raises:
        UserError: A column is missing, has no name, is an identifier, or has an infinite number, or none is left.
    """
    others = {column: option for option, columns in set_aside.items() for column in columns}
    for column in [*others, *(features or ())]:
        check_exists(path, table, column)
    for column in others.keys() & set(features or ()):
        problem = f"column {column} is in features, and in {others[column]}"
        raise UserError(f"{problem}: leave it out of one")
    names = features
    if names is None:
        names = [column for column in table if column not in of_splits]
    kinds = {column: kind_of(table[column]) for column in names if column not in others}
    if not kinds:
        raise UserError(f"{shown(path)} has no column to predict from")
    for column, kind in kinds.items():
        check_named(path, column)
        check_finite(path, table, column)
        if kind == "text":
            check_no_identifier(path, table, column)
    return kinds


def check_targets(
    path: Path, table: pandas.DataFrame, targets: Sequence[str], task: str, log_target: bool
) -> None:
    """Raise UserError if a column to predict is missing, has no value somewhere, or is not what the task is about.

    Args:
        path: The file of the table.
        table: The table.
        targets: The columns.
        task: `classification` or `regression`.
        log_target: Whether their logarithms are learned.
    """
    if task == "classification" and len(targets) > 1:
        problem = f"target is {', '.join(targets)}"
        raise UserError(f"{problem}, but classification is of one column")
    if task == "classification" and log_target:
        raise UserError("log_target is for a regression, but task is classification: leave it out")
    for column in targets:
        check_exists(path, table, column)
        check_filled(path, table, column)
        check_finite(path, table, column)
        if task == "regression" and not is_numeric_dtype(table[column]):
            problem = f"column {column} of {shown(path)} has texts"
            raise UserError(f"{problem}, but regression is of numbers")
        if log_target:
            problem = f"column {column} is not above 0, but log_target is true"
            raise_at_first(path, table, table[column] <= 0, problem)


def read_test_table(
    path: Path, kinds: Mapping[str, Kind], texts: Sequence[str], other: Path
) -> pandas.DataFrame:
    """Return the table of a file to test on; raise UserError if it lacks what the training table has.

    Args:
        path: The file.
        kinds: The columns of the features, and what those of the training table have.
        texts: Further columns that are read as texts.
        other: The file of the training table.
    """
    not_numbers = [column for column, kind in kinds.items() if kind != "number"]
    table = read_table(path, [*not_numbers, *texts])
    for column, kind in kinds.items():
        check_exists(path, table, column)
        check_finite(path, table, column)
        known = table[column].dropna()
        if kind != "text" and as_numbers(known, kind).isna().any():
            problem = f"column {column} of {shown(path)} has texts"
            raise UserError(f"{problem}, but that of {shown(other)} has {kind}s")
    return table


def check_classes(
    path: Path, values: pandas.Series, classes: pandas.Index | None, other: Path
) -> None:
    """Raise UserError if a table to test on has a class that the training table, `other`, has not."""
    new = set() if classes is None else set(values) - set(classes)
    if new:
        problem = f"{shown(path)} has the class {new.pop()}"
        raise UserError(f"{problem}, which {shown(other)} has not")


def text_targets(targets: Sequence[str], classes: pandas.Index | None) -> list[str]:
    """Return the target if its classes are texts, which a table may have to read as such."""
    if classes is not None and isinstance(classes[0], str):
        return list(targets)
    return []


def check_exists(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a table lacks a column."""
    if column not in table:
        problem = f"{shown(path)} has no column {column}"
        close = get_close_matches(column, table.columns, 1)
        if close:
            raise UserError(f"{problem}: did you mean {close[0]}?")
        raise UserError(f"{problem}: there are {listed(list(table))}")


def check_named(path: Path, column: str) -> None:
    """Raise UserError if a column has no name, because R and pandas write such a column to number the rows."""
    if column.startswith(UNNAMED):
        problem = f"a column of {shown(path)} has no name, as one that numbers the rows"
        raise UserError(f"""{problem}: pass --data.ids '["{column}"]', or give it a name""")


def check_filled(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a cell of a column has no value."""
    raise_at_first(path, table, table[column].isna(), f"column {column} has no value")


def check_finite(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a number of a column is infinite."""
    is_infinite = table[column].isin([inf, -inf])
    raise_at_first(path, table, is_infinite, f"column {column} is infinite")


def raise_at_first(
    path: Path, table: pandas.DataFrame, is_wrong: pandas.Series, problem: str
) -> None:
    """Raise UserError if a row of a table is wrong, and name the first."""
    if is_wrong.any():
        row = numbers_of(table)[is_wrong.argmax()]
        raise UserError(f"{shown(path)}: {problem} in row {row} (the header is row 1)")


def check_some_values(path: Path, rows: pandas.DataFrame) -> None:
    """Raise UserError if a column has no value in any of the training rows."""
    for column in rows:
        if rows[column].isna().all():
            problem = f"column {column} of {shown(path)} has no value in the training rows"
            raise UserError(f"{problem}: name the other columns with --data.features")


def check_no_identifier(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if most texts of a column are different, because nothing can be learned from such.

    If it has numbers or dates, and a few texts among them, these are named instead.
    """
    count = int(table[column].count())
    distinct = table[column].nunique()
    if distinct > max(FEW_TEXTS, count / 2):
        check_all_alike(path, table, column)
        problem = f"column {column} of {shown(path)} has {distinct} different texts in {count} rows"
        advice = f"pass --data.ids {column}, or name the columns to learn from with --data.features"
        raise UserError(f"{problem}, as an identifier has: {advice}")


def check_all_alike(path: Path, table: pandas.DataFrame, column: str) -> None:
    """Raise UserError if a column has numbers or dates, and a text among them."""
    found = exception_among(table[column])
    if found is None:
        return
    kind, index = found
    problem = f"column {column} has {kind}s, but {table[column][index]}"
    advice = f"make it a {kind}, or leave the cell empty"
    row = numbers_of(table.loc[[index]])[0]
    raise UserError(f"{shown(path)}: {problem} in row {row} (the header is row 1): {advice}")


def numbers_of(rows: pandas.DataFrame) -> list[int]:
    """Return the numbers of rows in their file, in which the header is row 1."""
    numbers: list[int] = (rows.index + 1 + HEADER_ROWS).tolist()
    return numbers


def ids_in(rows: pandas.DataFrame, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return those of the columns `ids` that a table has, for predictions.csv.

    Names such as `id` have another meaning there, so that such a column is called `table_id`.
    """
    columns = {}
    for name in ids:
        if name in rows:
            name_there = f"table_{name}" if TAKEN.fullmatch(name) else name
            columns[name_there] = as_texts(rows[name]).tolist()
    return columns


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
