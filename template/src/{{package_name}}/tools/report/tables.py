"""Makes the tables of a test's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...engine.prediction_columns import prediction_columns
from .mistakes import Wrong

Rows = list[Sequence[Any]]


def confusion(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Return how many samples, or pixels, of each class (row) were predicted as each class (column), int64 (K, K).

    Args:
        true: True classes, int64 of any shape. Those that are negative, or from `num_classes` on, do not count.
        predicted: Predicted classes, int64 of the same shape.
        num_classes: Number of classes, K.
    """
    counts = (true >= 0) & (true < num_classes)
    pairs = true[counts] * num_classes + predicted[counts]
    return pairs.bincount(minlength=num_classes**2).view(num_classes, num_classes)


def confusion_rows(matrix: Tensor, names: Sequence[str]) -> Rows:
    """Return the confusion matrix: a row for each class, and a column for each predicted class."""
    rows: Rows = [["class", *names]]
    for name, counts in zip(names, matrix.tolist(), strict=True):
        rows.append([name, *counts])
    return rows


def class_rows(matrix: Tensor, names: Sequence[str]) -> Rows:
    """Return precision, recall and F1 of each class. A class without samples has 0."""
    right = matrix.diag().double()
    samples = matrix.sum(dim=1)
    predicted = matrix.sum(dim=0)
    precision = right / predicted.clamp(min=1)
    recall = right / samples.clamp(min=1)
    f1 = 2 * right / (samples + predicted).clamp(min=1)
    columns = {
        "class": names,
        "samples": samples.tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
    }
    return rows_of(columns)


def wrong_rows(worst: Sequence[Wrong], names: Sequence[str], known: dict[str, Any]) -> Rows:
    """Return the most wrong samples.

    Args:
        worst: The samples.
        names: Names of the classes.
        known: The dataset's columns about these samples, such as their files.
    """
    known_columns, _ = prediction_columns(known, len(worst))
    columns = {
        "id": [sample.id for sample in worst],
        **known_columns,
        "true": [names[sample.true] for sample in worst],
        "predicted": [names[sample.predicted] for sample in worst],
        "p_true": [sample.p_true for sample in worst],
        "p_predicted": [sample.p_predicted for sample in worst],
    }
    return rows_of(columns)


def rows_of(columns: Mapping[str, Sequence[Any]]) -> Rows:
    """Return the rows of a table from its columns."""
    return [list(columns), *zip(*columns.values(), strict=True)]
