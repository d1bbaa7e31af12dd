"""Turns the columns of a table into inputs of a network: learned from the training rows, the same for any rows.

It needs nothing of the project, so that a script may use a copy of this file with an exported model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, Literal

import numpy as np
import pandas
from pandas.api.types import infer_dtype, is_numeric_dtype

Kind = Literal["number", "date", "text"]

MOST_TEXTS = 100  # of a column that have an input each
MOST_NAMES = 20  # of columns that a line names
DATE = r"\d{4}-\d{2}-\d{2}([T ].+)?"  # matches 2026-11-29 and 2026-11-29T18:23Z
FIRST_DAY = pandas.Timestamp("1970-01-01", tz="UTC")
TOLD_APART: tuple[Kind, ...] = ("number", "date")
# What pandas reads as true and false
TRUTH = {"true": 1, "True": 1, "TRUE": 1, "false": 0, "False": 0, "FALSE": 0}
NOUNS = {"number": "number", "date": "date", "text": "value"}


@dataclass
class Column:
    """How a column is encoded.

    A date is a number: days since 1970, in UTC. A number is standardised. In an empty cell stands the median, and a
    further input is 1 there and else 0, if a training row has such a cell. A text has an input that is 1, and the
    other texts of its column 0. An empty cell among texts is a text of its own.

    Args:
        name: Its name in the table.
        kind: Whether it has numbers, dates or texts.
        has_gaps: Whether a cell of the training rows is empty.
        median: Of the training rows' numbers.
        mean: Of the same numbers, after gaps are filled.
        std: Their standard deviation; 1 if they are constant.
        texts: The texts that have an input, of which the empty one is that of empty cells.
    """

    name: str
    kind: Kind
    has_gaps: bool
    median: float = 0
    mean: float = 0
    std: float = 1
    texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of its inputs."""
        if self.kind == "text":
            return len(self.texts)
        return 2 if self.has_gaps else 1


def kind_of(values: pandas.Series) -> Kind:
    """Return what a column has. Dates are those of ISO 8601, with or without a time."""
    known = values.dropna()
    if is_numeric_dtype(known) or infer_dtype(known) == "boolean":
        return "number"
    if known.str.fullmatch(DATE).all() and as_numbers(known, "date").notna().all():
        return "date"
    return "text"


def as_numbers(values: pandas.Series, kind: Kind) -> pandas.Series:
    """Return numbers, or dates as days since 1970, float64. What is neither, or infinite, is NaN."""
    if kind == "date":
        times = pandas.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
        return (times - FIRST_DAY) / pandas.Timedelta(days=1)
    if not is_numeric_dtype(values):
        # pandas reads them as such only where a column has nothing else
        values = values.map(lambda value: TRUTH.get(value, value))
    return pandas.to_numeric(values, errors="coerce").astype(float).replace([inf, -inf], nan)


def as_texts(values: pandas.Series) -> pandas.Series:
    """Return texts, of which an empty cell has the empty one."""
    return values.fillna("").astype(str)


def exception_among(values: pandas.Series) -> tuple[Kind, Any] | None:
    """Return what most texts of a column are, and the index of the first that is not; None if they are texts.

    It is "number" for a column of numbers in which a text such as ? stands for an empty cell.
    """
    known = values.dropna()
    for kind in TOLD_APART:
        is_wrong = as_numbers(known, kind).isna()
        if 0 < is_wrong.sum() < len(known) / 2:
            return kind, is_wrong.idxmax()
    return None


def learn(rows: pandas.DataFrame, kinds: Mapping[str, Kind]) -> list[Column]:
    """Return how columns are encoded: first those of numbers and dates, then those of texts.

    Args:
        rows: The training rows. Each column has a value in at least one of them.
        kinds: The columns to encode, and what they have.
    """
    numbers = []
    texts = []
    for name, kind in kinds.items():
        if kind == "text":
            texts.append(learn_texts(rows[name], name))
        else:
            numbers.append(learn_numbers(rows[name], name, kind))
    return numbers + texts


def learn_texts(values: pandas.Series, name: str) -> Column:
    """Return how a column of texts is encoded. Its most frequent texts get an input."""
    counts = values.dropna().value_counts()
    # Among equally frequent ones, the alphabet decides.
    counts = counts.sort_index().sort_values(ascending=False, kind="stable")
    texts = sorted(counts.index[:MOST_TEXTS])
    has_gaps = bool(values.isna().any())
    if has_gaps:
        texts = ["", *texts]
    return Column(name, "text", has_gaps, texts=texts)


def learn_numbers(values: pandas.Series, name: str, kind: Kind) -> Column:
    """Return how a column of numbers or dates is encoded."""
    numbers = as_numbers(values, kind)
    median = numbers.median()
    filled = numbers.fillna(median)
    std = filled.std(ddof=0) or 1.0
    has_gaps = bool(numbers.isna().any())
    return Column(name, kind, has_gaps, float(median), float(filled.mean()), float(std))


def encode(rows: pandas.DataFrame, columns: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Return rows as inputs, float32 of shape (N, number of inputs)."""
    inputs: list[pandas.Series] = []
    for column in columns:
        values = rows[column.name]
        if column.kind == "text":
            texts = as_texts(values)
            inputs += [texts == text for text in column.texts]
            continue
        numbers = as_numbers(values, column.kind)
        inputs.append((numbers.fillna(column.median) - column.mean) / column.std)
        if column.has_gaps:
            inputs.append(numbers.isna())
    return np.stack([values.to_numpy("float32") for values in inputs], axis=1)


def problems_of(rows: pandas.DataFrame, columns: Sequence[Column]) -> list[str]:
    """Return of each row which of its cells cannot be encoded; an empty text if all can.

    Such a cell has a text in a column of numbers or dates, or is empty in a column that no training row has empty.
    """
    problems = [""] * len(rows)
    for column in columns:
        values = rows[column.name]
        known = values if column.kind == "text" else as_numbers(values, column.kind)
        is_wrong = known.isna()
        if column.has_gaps:
            is_wrong &= values.notna()
        for position in is_wrong.to_numpy().nonzero()[0]:
            problems[position] = f"column {column.name} has no {NOUNS[column.kind]}"
    return problems


def read_as_texts(columns: Sequence[Column]) -> dict[str, type[str]]:
    """Return the types with which `pandas.read_csv` reads a table, so that a text such as 007 stays one."""
    return {column.name: str for column in columns if column.kind != "number"}


def described(columns: Sequence[Column], rows: pandas.DataFrame, table: pandas.DataFrame) -> str:
    """Return a line about the inputs: how many there are, and which columns are more than numbers.

    Args:
        columns: How the columns are encoded.
        rows: The training rows.
        table: All rows.
    """
    parts = [f"Features: {sum(column.size for column in columns)}"]
    texts = [column for column in columns if column.kind == "text"]
    names = [with_exception(column.name, table[column.name]) for column in texts]
    dates = [column.name for column in columns if column.kind == "date"]
    gaps = [f"{column.name} ({filling(column)})" for column in columns if column.has_gaps]
    cut = []
    for column in texts:
        distinct = rows[column.name].nunique()
        if distinct > MOST_TEXTS:
            cut.append(f"{column.name} ({distinct}, of which the {MOST_TEXTS} most frequent)")
    lists = {"of texts": names, "of many texts": cut, "of dates": dates, "with gaps": gaps}
    parts += [f"columns {name}: {listed(found)}" for name, found in lists.items() if found]
    return "; ".join(parts)


def with_exception(name: str, texts: pandas.Series) -> str:
    """Return the name of a column of texts. If most are numbers or dates, the text that is none follows."""
    found = exception_among(texts)
    if found is None:
        return name
    kind, index = found
    return f"{name} ({kind}s, but for {texts[index]})"


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them. Of many, the first are named and the others counted."""
    more = len(names) - MOST_NAMES
    if more <= 0:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMES])} and {more} more"


def filling(column: Column) -> str:
    """Return what stands in the empty cells of a column."""
    if column.kind == "text":
        return "a text of its own"
    if column.kind == "date":
        return f"the median {pandas.Timestamp(column.median, unit='D').date()}"
    return f"the median {column.median:g}"
