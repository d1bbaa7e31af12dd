"""Augmentation: random changes to a batch of training images, on the device."""

import torch
from torch import Tensor
from torch.nn import functional as F


def shift(images: Tensor, max_shift: int) -> Tensor:
    """Shift each image, (N, C, H, W), by up to so many pixels in both directions; zeros come in from outside."""
    if not max_shift:  # and draw no random numbers
        return images
    windows = (
        F.pad(images, [max_shift] * 4).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    )
    down, right = torch.randint(2 * max_shift + 1, (2, len(images)), device=images.device)
    return windows[torch.arange(len(images), device=images.device), :, down, right]


def mirror(images: Tensor) -> Tensor:
    """Mirror each image, (N, C, H, W), with a probability of one half."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)
