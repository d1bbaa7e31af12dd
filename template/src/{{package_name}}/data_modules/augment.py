"""Augmentation: random changes to a batch of training images, on the device. Each image has draws of its own."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F

from ..utils.limits import NonNegativeFloat, Probability

CROP_RATIO = 4 / 3  # of the sides of a crop, at most
ERASED_AREA = (0.02, 0.33)  # of an image
ERASED_RATIO = 3.3


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images, apart from mirroring and shifting. Each is off by default.

    Args:
        crop: Smallest share of the area that is cut out and enlarged (Szegedy et al., 2015); 1 cuts out nothing.
        rotate: Largest angle in degrees, in both directions. The corners show the image mirrored at its borders.
        jitter: Largest change of brightness, contrast and saturation, as a share of them.
        erase: Probability that noise covers a rectangle of 2 to 33 % of the area (Zhong et al., 2020).
        mixup: Parameter of the Beta distribution of the share that an image and its label keep when they are mixed with
            another image (Zhang et al., 2018).
        cutmix: The same for the share of the area (Yun et al., 2019). With mixup, each image gets one of them.
    """

    crop: Probability = 1.0
    rotate: NonNegativeFloat = 0.0
    jitter: Probability = 0.0
    erase: Probability = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0

    def change(self, images: Tensor) -> Tensor:
        """Return changed images in [0, 1], of shape (N, C, H, W)."""
        images = crop_and_rotate(images, self.crop, self.rotate)
        images = jitter(images, self.jitter)
        return erase(images, self.erase)

    def mix(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return mixed images, and labels as shares of the classes, (N, num_classes); both as given if mixing is off.

        Args:
            images: Images of shape (N, C, H, W).
            labels: Class numbers, int64 of shape (N,). One of -100, which the loss ignores, has no share of any class.
            num_classes: Number of classes.
        """
        if not self.mixup and not self.cutmix:
            return images, labels
        keep = kept_shares(images, self.mixup, self.cutmix).to(images.dtype)
        other = torch.randperm(len(images), device=images.device)
        images = keep * images + (1 - keep) * images[other]

        has_class = (labels >= 0).unsqueeze(1)
        shares = F.one_hot(labels.clamp(min=0), num_classes) * has_class
        kept = keep.mean(dim=(1, 2, 3)).unsqueeze(1)
        return images, kept * shares + (1 - kept) * shares[other]


OFF = Augmentation()


def shift(images: Tensor, max_shift: int) -> Tensor:
    """Shift each image, (N, C, H, W), by up to so many pixels in both directions; zeros come in from outside."""
    if not max_shift:  # and draw no random numbers
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, [max_shift] * 4)
    # A view of all windows of an image's size, (N, C, rows, columns, H, W), of which each image gets one
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * max_shift + 1, (2, count), device=images.device)
    return windows[torch.arange(count, device=images.device), :, down, right]


def mirror(images: Tensor) -> Tensor:
    """Mirror each image, (N, C, H, W), with a probability of one half."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def crop_and_rotate(images: Tensor, smallest: float, degrees: float) -> Tensor:
    """Enlarge a crop of each image, (N, C, H, W), to its size, and rotate it, with one bilinear interpolation.

    Args:
        images: Images of shape (N, C, H, W).
        smallest: Smallest share of the area in a crop.
        degrees: Largest angle.
    """
    if smallest == 1 and not degrees:
        return images
    count, _, height, width = images.shape
    area = uniform(count, smallest, 1.0, images.device)
    ratio = uniform(count, -math.log(CROP_RATIO), math.log(CROP_RATIO), images.device).exp()
    if smallest == 1:
        ratio = torch.ones_like(area)
    angle = uniform(count, -math.radians(degrees), math.radians(degrees), images.device)

    # Width and height of a crop as shares of the image's, and its centre. Places in an image are from -1 to 1 in both
    # directions, whatever its sides.
    wide = (area * ratio).sqrt().clamp(max=1)
    high = (area / ratio).sqrt().clamp(max=1)
    across, down = uniform(2 * count, -1.0, 1.0, images.device).view(2, count)
    matrices = torch.zeros(count, 2, 3, device=images.device)
    matrices[:, 0, 0] = angle.cos() * wide
    matrices[:, 0, 1] = -angle.sin() * high * height / width
    matrices[:, 0, 2] = across * (1 - wide)
    matrices[:, 1, 0] = angle.sin() * wide * width / height
    matrices[:, 1, 1] = angle.cos() * high
    matrices[:, 1, 2] = down * (1 - high)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    grid = grid.to(images.dtype)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each image, (N, C, H, W) in [0, 1], by up to a share of them."""
    if not strength:
        return images
    factors = uniform(3 * len(images), 1 - strength, 1 + strength, images.device)
    brightness, contrast, saturation = factors.to(images.dtype).view(3, -1, 1, 1, 1)
    images = images * brightness
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + contrast * (images - mean)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    return images.clamp(0, 1)


def erase(images: Tensor, probability: float) -> Tensor:
    """Cover a rectangle of each image, (N, C, H, W) in [0, 1], with noise, with this probability."""
    if not probability:
        return images
    area = uniform(len(images), *ERASED_AREA, images.device)
    is_covered = rectangles(images, area, ERASED_RATIO)
    is_chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
    return torch.where(is_covered & is_chosen, torch.rand_like(images), images)


def kept_shares(images: Tensor, mixup: float, cutmix: float) -> Tensor:
    """Return the share of each pixel that an image keeps when it is mixed, float32 of shape (N, 1, H, W).

    Args:
        images: Images of shape (N, C, H, W).
        mixup: Parameter of the Beta distribution of mixup; 0 is off.
        cutmix: That of cutmix. At least one of them is on.
    """
    if not cutmix:
        return shares_of_mixup(images, mixup)
    if not mixup:
        return shares_of_cutmix(images, cutmix)
    is_mixup = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(is_mixup, shares_of_mixup(images, mixup), shares_of_cutmix(images, cutmix))


def shares_of_mixup(images: Tensor, parameter: float) -> Tensor:
    """Return the share that an image keeps, the same for all of its pixels, float32 of shape (N, 1, H, W)."""
    count, _, height, width = images.shape
    share = beta(count, parameter, images.device)
    return share.view(-1, 1, 1, 1).expand(-1, 1, height, width)


def shares_of_cutmix(images: Tensor, parameter: float) -> Tensor:
    """Return 0 in a random rectangle, which the other image covers, and else 1, float32 of shape (N, 1, H, W)."""
    area = 1 - beta(len(images), parameter, images.device)
    is_replaced = rectangles(images, area, ratio=1.0)
    return (~is_replaced).float()


def rectangles(images: Tensor, area: Tensor, ratio: float) -> Tensor:
    """Return where a rectangle covers each image, bool of shape (N, 1, H, W), at a random place within the image.

    Args:
        images: Images of shape (N, C, H, W).
        area: Share of the area that each rectangle covers, of shape (N,).
        ratio: Largest ratio of its sides, as shares of those of the image.
    """
    count, _, height, width = images.shape
    ratios = uniform(count, -math.log(ratio), math.log(ratio), images.device).exp()
    high = (area * ratios).sqrt().clamp(max=1)
    wide = (area / ratios).sqrt().clamp(max=1)
    rows = covered(height, high)
    columns = covered(width, wide)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def covered(size: int, share: Tensor) -> Tensor:
    """Return which of so many pixels a random interval covers, bool of shape (N, size). Its share has shape (N,)."""
    places = (torch.arange(size, device=share.device) + 0.5) / size
    start = torch.rand_like(share) * (1 - share)
    return (places >= start.unsqueeze(1)) & (places < (start + share).unsqueeze(1))


def uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    """Return random numbers from `low` to `high`, float32 of shape (count,)."""
    return low + (high - low) * torch.rand(count, device=device)


def beta(count: int, parameter: float, device: torch.device) -> Tensor:
    """Return random numbers of a symmetric Beta distribution, float32 of shape (count,)."""
    concentration = torch.full((count,), parameter, device=device)
    return Beta(concentration, concentration, validate_args=False).sample()
