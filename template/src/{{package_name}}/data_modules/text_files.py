"""Reads texts and their labels from files, or from a dataset of the Hugging Face Hub, as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from ..utils.project import UserError, shown

# The number of a file's first row. The header of a CSV file is row 1, and JSONL has no header.
FIRST_ROW = {".csv": 2, ".jsonl": 1, ".parquet": 0}
# Errors of a dataset that does not exist, is not for everybody, is damaged, or cannot be downloaded
DATASET_ERRORS = (OSError, RuntimeError, ValueError)


def read_file(path: Path) -> pandas.DataFrame:
    """Return the table in a CSV, JSONL or Parquet file. Its index has the numbers of the rows.

    Raises:
        UserError: The file is missing, or is no such table.
    """
    suffix = path.suffix.lower()
    if suffix not in FIRST_ROW:
        raise UserError(f"{shown(path)} is none of the files that are read: {', '.join(FIRST_ROW)}")
    try:
        if suffix == ".csv":
            # Words such as "None" and "NA" are texts. Only an empty cell has no value.
            table = pandas.read_csv(
                path, dtype=str, index_col=False, keep_default_na=False, na_values=[""]
            )
        elif suffix == ".jsonl":
            table = pandas.read_json(path, lines=True, dtype=False, convert_dates=False)
        else:
            table = pandas.read_parquet(path)
    except FileNotFoundError:
        advice = "put a file of texts and labels there, or pass --data.file or --data.dataset"
        raise UserError(f"there is no {shown(path)}: {advice}") from None
    except ImportError:
        raise UserError(f"{shown(path)} needs the package pyarrow: pip install pyarrow") from None
    except (OSError, ValueError) as error:  # pyarrow has errors of its own, which are one of these
        reason = " ".join(str(error).split())
        raise UserError(f"{shown(path)} is no {suffix[1:]} table: {reason}") from error
    table.index = pandas.RangeIndex(len(table)) + FIRST_ROW[suffix]
    return table


def read_dataset(name: str, subset: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the splits of a dataset by name, and its revision.

    Raises:
        UserError: There is no such dataset, or it cannot be downloaded.
    """
    try:
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetsError
    except ModuleNotFoundError:
        raise UserError(
            f"data.dataset is {name}, which needs the package datasets: pip install datasets"
        ) from None
    try:
        builder = load_dataset_builder(name, subset)
        builder.download_and_prepare()
    except (DatasetsError, *DATASET_ERRORS) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"there is no dataset {name} to be had: {reason}") from error
    return builder.as_dataset(), {f"{name} (revision)": builder.hash}


def as_table(split: Any, label_column: str) -> pandas.DataFrame:
    """Return a split of a dataset as a table. Numbers of classes become their names, and -1 becomes an empty label."""
    table = split.to_pandas()
    names = getattr(split.features.get(label_column), "names", None)
    if names:
        table[label_column] = [
            names[label] if label >= 0 else None for label in table[label_column]
        ]
    return table


def check_exists(title: str, table: pandas.DataFrame, column: str, option: str) -> None:
    """Raise UserError if a table lacks the column that an option names."""
    if column not in table:
        there = ", ".join(map(str, table.columns))
        raise UserError(f"{title} has no column {column}, but {there}: name one by --data.{option}")


def are_empty(values: pandas.Series) -> pandas.Series:
    """Return for each value whether it is missing, or nothing but blanks."""
    return values.isna() | (values.astype(str).str.strip() == "")


def classes_of(labels: pandas.Series) -> list[str]:
    """Return the distinct labels as texts, sorted: whole numbers as numbers, others as texts."""
    names = {str(label) for label in labels}
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def shortened(text: str, letters: int) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    if len(line) <= letters:
        return line
    return f"{line[: letters - 1]}…"


def refuse_unused(
    dataset: str | None, files: Sequence[str | None], parts: Sequence[str | None]
) -> None:
    """Raise UserError if files are given beside a dataset, or parts of a dataset without one."""
    given_files = list(filter(None, files))
    given_parts = list(filter(None, parts))
    if dataset and given_files:
        raise UserError(
            f"data.dataset is {dataset}, and there is the file {given_files[0]}: leave one out"
        )
    if given_parts and not dataset:
        raise UserError(f"{given_parts[0]} is a part of a dataset, but data.dataset is missing")
