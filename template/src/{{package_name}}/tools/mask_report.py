"""Builds the content of a segmentation's report. callbacks/mask_report.py collects the data and writes the files."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..engine.masks import palette
from ..engine.prediction_columns import prediction_columns
from .report.mistakes import is_images, pixels
from .report.tables import Rows, confusion, rows_of

WORST = 10  # images in the report


class BadImage(NamedTuple):
    """An image, and how well its mask was predicted."""

    id: int  # position in the test set
    iou: float  # mean over the classes in its mask or in its prediction
    image: Tensor | None  # uint8 (C, H, W)
    true: Tensor  # the mask, int64 (H, W)
    predicted: Tensor  # int64 (H, W)


def worst_of(images: Iterable[BadImage]) -> list[BadImage]:
    """Return the images with the lowest IoU, lowest first. Ties keep the test set's order."""
    in_order = sorted(images, key=lambda image: (image.iou, image.id))
    return in_order[:WORST]


def images_of_batch(
    inputs: Any, masks: Tensor, predicted: Tensor, ids: Tensor, data: Any
) -> tuple[Tensor, list[BadImage]]:
    """Return the confusion matrix of a batch's pixels, int64 (K, K), and the worst of its images.

    Args:
        inputs: The inputs, on any device.
        masks: The true masks, int64 (N, H, W).
        predicted: The predicted masks, int64 (N, H, W).
        ids: Positions in the test set, int64 (N,).
        data: The data module, with the number of classes, and mean and standard deviation of images.
    """
    matrices = [confusion(*pair, data.num_classes) for pair in zip(masks, predicted, strict=True)]
    scores = [class_iou(matrix).nanmean().item() for matrix in matrices]
    # An image without a pixel that counts has no score.
    scored = [position for position, score in enumerate(scores) if not math.isnan(score)]
    chosen = sorted(scored, key=lambda position: scores[position])[:WORST]

    images: Sequence[Tensor | None] = [None] * len(chosen)
    if is_images(inputs):
        positions = torch.tensor(chosen, dtype=torch.int64, device=inputs.device)
        images = pixels(inputs[positions], data)
    found = []
    for position, image in zip(chosen, images, strict=True):
        bad = BadImage(
            id=int(ids[position]),
            iou=scores[position],
            image=image,
            true=masks[position].clone(),  # because a view would keep the whole batch in memory
            predicted=predicted[position].clone(),
        )
        found.append(bad)
    return torch.stack(matrices).sum(dim=0), found


def class_iou(matrix: Tensor) -> Tensor:
    """Return the intersection over union of each class, float64 (K,); NaN for a class that does not occur."""
    right = matrix.diag().double()
    return right / (matrix.sum(dim=0) + matrix.sum(dim=1) - right)


def class_rows(matrix: Tensor, names: Sequence[str]) -> Rows:
    """Return IoU, precision and recall of each class. They are empty for a class that does not occur."""
    right = matrix.diag().double()
    columns = {
        "class": names,
        "pixels": matrix.sum(dim=1).tolist(),
        "iou": cells(class_iou(matrix)),
        "precision": cells(right / matrix.sum(dim=0)),
        "recall": cells(right / matrix.sum(dim=1)),
    }
    return rows_of(columns)


def cells(values: Tensor) -> list[float | str]:
    """Return numbers as cells of a table. NaN becomes an empty cell."""
    return ["" if math.isnan(value) else value for value in values.tolist()]


def image_rows(images: Sequence[BadImage], known: dict[str, Any]) -> Rows:
    """Return the worst images.

    Args:
        images: The images.
        known: The dataset's columns about these images, such as their files.
    """
    known_columns, _ = prediction_columns(known, len(images))
    columns = {
        "id": [image.id for image in images],
        **known_columns,
        "iou": [image.iou for image in images],
    }
    return rows_of(columns)


def draw(matrix: Tensor, images: Sequence[BadImage], names: Sequence[str]) -> dict[str, Any]:
    """Return Pillow's pictures by their names: the confusion matrix, and the worst images if they are pictures."""
    # Imported only here, because importing Pillow slows down every start.
    from .mask_drawing import draw_overlays
    from .report.drawing import draw_confusion, drawable

    labels = drawable(names)
    pictures = {"confusion": draw_confusion(matrix, labels)}
    rows = []
    for image in images:
        if image.image is not None:
            title = f"{image.id}: IoU {image.iou:.2f}"
            rows.append((title, image.image, image.true, image.predicted))
    if rows:
        pictures["worst"] = draw_overlays(rows, labels, palette())
    return pictures
