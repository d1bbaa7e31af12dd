"""Finds the misclassified samples whose true class has the lowest probability."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

WORST = 25  # samples in the report
CHANNELS = (1, 3)  # of an image that can be drawn


class Wrong(NamedTuple):
    """A misclassified sample."""

    id: int  # position in the test set
    true: int
    predicted: int
    p_true: float  # probability of the true class
    p_predicted: float
    image: Tensor | None  # uint8 (C, H, W)


def most_wrong(found: Iterable[Wrong]) -> list[Wrong]:
    """Return the samples whose true class has the lowest probability, lowest first. Ties keep the test set's order."""
    in_order = sorted(found, key=lambda sample: (sample.p_true, sample.id))
    return in_order[:WORST]


def wrong_in_batch(
    inputs: Any, labels: Tensor, classes: Tensor, probabilities: Tensor, ids: Tensor, data: Any
) -> list[Wrong]:
    """Return the most wrong samples of a batch.

    Args:
        inputs: The inputs, on any device.
        labels: Labels, int64 (N,). A sample whose label is negative is not wrong.
        classes: Predicted classes, int64 (N,).
        probabilities: Probability of each class, float32 (N, K).
        ids: Positions in the test set, int64 (N,).
        data: The data module, with the mean and the standard deviation of images.
    """
    true = labels.clamp(min=0)
    p_true = probabilities.gather(1, true.unsqueeze(1)).squeeze(1)
    p_predicted = probabilities.gather(1, classes.unsqueeze(1)).squeeze(1)
    is_wrong = (labels >= 0) & (labels != classes)
    positions = is_wrong.nonzero().squeeze(1)
    order = p_true[positions].argsort(stable=True)
    positions = positions[order[:WORST]]

    images: Sequence[Tensor | None] = [None] * len(positions)
    if is_images(inputs):
        images = pixels(inputs[positions.to(inputs.device)], data)
    found = []
    for position, image in zip(positions.tolist(), images, strict=True):
        sample = Wrong(
            id=int(ids[position]),
            true=int(labels[position]),
            predicted=int(classes[position]),
            p_true=float(p_true[position]),
            p_predicted=float(p_predicted[position]),
            image=image,
        )
        found.append(sample)
    return found


def is_images(inputs: Any) -> bool:
    """Return whether inputs are grey or RGB images, (N, C, H, W)."""
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        return False
    return inputs.shape[1] in CHANNELS


def pixels(images: Tensor, data: Any) -> list[Tensor]:
    """Undo the normalisation of images, floating point (N, C, H, W). Return each as uint8 (C, H, W).

    `mean` and `std` of the data module are numbers, or one number for each channel. Without them, each image is
    scaled to the full range from 0 to 255.
    """
    images = images.float().cpu()
    mean = getattr(data, "mean", None)
    std = getattr(data, "std", None)
    if mean is None or std is None:
        images = full_range(images)
    else:
        images = images * per_channel(std) + per_channel(mean)
    scaled = images.clamp(0, 1) * 255
    rounded = scaled.round().byte()
    # Cloned, because a view would keep the whole batch in memory.
    return [image.clone() for image in rounded]


def full_range(images: Tensor) -> Tensor:
    """Scale each image so that its smallest value is 0, and its largest is 1."""
    low = images.amin((1, 2, 3), keepdim=True)
    high = images.amax((1, 2, 3), keepdim=True)
    width = (high - low).clamp(min=1e-12)
    return (images - low) / width


def per_channel(value: Any) -> Tensor:
    """Return one number (C = 1), or one for each channel, as float32 of shape (C, 1, 1)."""
    values = torch.as_tensor(value, dtype=torch.float32)
    return values.cpu().view(-1, 1, 1)
