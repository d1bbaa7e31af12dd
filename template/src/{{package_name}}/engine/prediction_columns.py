"""Turns the output of `predict_step` into columns of predictions.csv.

Read this when a column is missing, or has an unexpected name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Columns = dict[str, list[Any]]

ARRAYS = (Tensor, np.ndarray)
LISTS = (list, tuple)
NUMBERS_AND_TEXTS = (str, bool, int, float, np.generic)


def prediction_columns(prediction: Any, count: int) -> tuple[Columns, dict[str, str]]:
    """Return the columns of a batch of `count` samples, and the reasons why values are left out, by name."""
    columns: Columns = {}
    left_out: dict[str, str] = {}
    for name, values in by_name(prediction).items():
        problem = problem_of(values, count)
        if problem:
            left_out[name] = problem
        else:
            columns |= columns_of(name, values)
    return columns, left_out


def by_name(prediction: Any) -> dict[str, Any]:
    """Return the values of a prediction by name. A value without a name is called `prediction`."""
    if is_mapping_per_sample(prediction):
        prediction = per_name(prediction)
    if isinstance(prediction, Mapping):
        return {str(name): values for name, values in prediction.items()}
    return {"prediction": prediction}


def per_name(predictions: Sequence[Mapping[Any, Any]]) -> dict[Any, list[Any]]:
    """Return the values of all samples by name. A sample that lacks a name has None there."""
    names: dict[Any, None] = {}  # in the order in which they first occur
    for one in predictions:
        names |= dict.fromkeys(one)
    values = {}
    for name in names:
        values[name] = [one.get(name) for one in predictions]
    return values


def samples_of(prediction: Any) -> int:
    """Return the number of samples in a prediction: the length of its first value with a length, else 1."""
    for values in by_name(prediction).values():
        if not is_single(values) and hasattr(values, "__len__"):
            return len(values)
    return 1


def with_class_names(columns: Columns, classes: Sequence[Any]) -> Columns:
    """Insert a column of class names after `class` and `label`, if these are class numbers."""
    named: Columns = {}
    for name, values in columns.items():
        named[name] = values
        if name in ("class", "label") and are_numbers_of(classes, values):
            named[f"{name}_name"] = names_of(values, classes)
    return named


def names_of(values: Sequence[int | None], classes: Sequence[Any]) -> list[Any]:
    """Return the names of class numbers; an empty text for None, which is an unknown one."""
    names = []
    for value in values:
        if value is None:
            names.append("")
        else:
            names.append(classes[value])
    return names


def without_problems(columns: Columns, problems: Sequence[str]) -> Columns:
    """Return the columns with empty cells for samples with a problem."""
    found: Columns = {}
    for name, values in columns.items():
        cells = zip(values, problems, strict=True)
        found[name] = [None if problem else value for value, problem in cells]
    return found


def are_numbers_of(classes: Sequence[Any], values: Sequence[Any]) -> bool:
    """Return whether all values are valid indices into `classes`, or None, which is for unknown ones."""
    if len(classes) == 0:
        return False
    for value in values:
        if value is None:
            continue
        if not isinstance(value, int) or not 0 <= value < len(classes):
            return False
    return True


def is_mapping_per_sample(prediction: Any) -> bool:
    """Return whether a prediction is a list of mappings, one per image, as detectors return it."""
    if not isinstance(prediction, list) or not prediction:
        return False
    return all(isinstance(one, Mapping) for one in prediction)


def problem_of(values: Any, count: int) -> str | None:
    """Return why a value cannot become columns; None if it can."""
    if is_single(values) and count == 1:
        return None
    if is_single(values):
        return f"is one value for {count} samples"
    if not isinstance(values, ARRAYS + LISTS):
        return f"is of type {type(values).__name__}"
    if isinstance(values, ARRAYS) and values.ndim > 2:
        return f"has the shape {tuple(values.shape)}, and more than two dimensions"
    if len(values) != count:
        return f"has {len(values)} values for {count} samples"
    return None


def is_single(values: Any) -> bool:
    """Return whether a value is a text, a number, or a tensor or array without dimensions."""
    if isinstance(values, ARRAYS):
        return values.ndim == 0
    return isinstance(values, NUMBERS_AND_TEXTS)


def columns_of(name: str, values: Any) -> Columns:
    """Return one column for a value per sample, and K columns for a tensor of shape (N, K)."""
    if is_single(values):
        return {name: [plain(values)]}
    if not isinstance(values, ARRAYS) or values.ndim < 2:
        return {name: cells(values)}
    columns = {}
    for number, column in enumerate(values.T):
        columns[f"{name}{number}"] = plain(column)
    return columns


def cells(values: Sequence[Any]) -> list[Any]:
    """Return the cell of each sample. Lists and dictionaries become JSON."""
    if isinstance(values, ARRAYS):
        return list(plain(values))
    found = []
    for value in map(plain, values):
        if isinstance(value, LISTS + (dict,)):
            value = json.dumps(value, default=plain, ensure_ascii=False)
        found.append(value)
    return found


def plain(value: Any) -> Any:
    """Convert a tensor, an array or a NumPy number to Python numbers."""
    if isinstance(value, ARRAYS + (np.generic,)):
        return value.tolist()
    return value
