"""Augmentation of images with masks: random changes to both alike, in whole training batches, on the device."""

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor]


def mirror_both(images: Tensor, masks: Tensor) -> Pair:
    """Mirror each image, (N, C, H, W), with its mask, (N, H, W), with a probability of one half."""
    is_mirrored = torch.rand(len(images), 1, 1, device=images.device) < 0.5
    masks = torch.where(is_mirrored, masks.flip(2), masks)
    images = torch.where(is_mirrored.unsqueeze(1), images.flip(3), images)
    return images, masks


def crop_both(images: Tensor, masks: Tensor, smallest: float) -> Pair:
    """Cut a random window out of each image, and the same one out of its mask, and enlarge both to full size.

    Args:
        images: Images, floating point of shape (N, C, H, W).
        masks: Masks, int64 of shape (N, H, W).
        smallest: Smallest height and width of a window, as a share of the image's, from 0 to 1.
    """
    if smallest == 1:  # and draw no random numbers
        return images, masks
    side, right, down = torch.rand(3, len(images), device=images.device)
    side = smallest + (1 - smallest) * side
    # Places are from -1 to 1 in both directions, so a window's centre may be so far from the middle.
    room = 1 - side
    matrices = torch.zeros(len(images), 2, 3, device=images.device)
    matrices[:, 0, 0] = side
    matrices[:, 1, 1] = side
    matrices[:, 0, 2] = room * (2 * right - 1)
    matrices[:, 1, 2] = room * (2 * down - 1)

    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    cut_masks = F.grid_sample(masks.unsqueeze(1).float(), grid, mode="nearest", align_corners=False)
    cut_images = F.grid_sample(
        images, grid.to(images.dtype), padding_mode="border", align_corners=False
    )
    return cut_images, cut_masks.squeeze(1).long()
