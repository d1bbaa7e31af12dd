"""U-Net: a convolutional network that gives a class to each pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..utils.limits import PositiveInt
from ..utils.project import UserError


def block(channels_in: int, channels: int) -> nn.Sequential:
    """Return two convolutions of 3x3 pixels, each with batch normalisation and ReLU. They keep height and width."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) with padding, batch normalisation, and resizing in place of up-convolutions.

    Maps images, float32 (N, C, H, W) of any height and width, to logits (N, num_classes, H, W). The encoder halves
    height and width `depth` times, and doubles the channels each time. The decoder doubles the size again. At each
    size, it gets what the encoder has found there.

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image.
        width: Channels at full size.
        depth: How many times height and width are halved.

    Raises:
        UserError: The data are no images.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        width: PositiveInt = 32,
        depth: PositiveInt = 4,
    ) -> None:
        if len(input_shape) != 3:
            raise UserError(
                f"UNet takes images of shape (C, H, W), not data of shape {tuple(input_shape)}"
            )
        super().__init__()
        sizes = [width * 2**level for level in range(depth + 1)]  # channels, from full size down
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        channels = input_shape[0]
        for size in sizes:
            self.encoder.append(block(channels, size))
            channels = size
        for size in reversed(sizes[:-1]):
            self.decoder.append(block(channels + size, size))
            channels = size
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)
        self.halve = nn.MaxPool2d(2, ceil_mode=True)  # half of an odd side is rounded up

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes, H, W)."""
        features, *deeper = self.encoder
        outputs = [features(images)]
        for encode in deeper:
            outputs.append(encode(self.halve(outputs[-1])))

        pixels = outputs.pop()
        for decode in self.decoder:
            seen = outputs.pop()
            pixels = nn.functional.interpolate(pixels, size=seen.shape[2:])
            pixels = decode(torch.cat([seen, pixels], dim=1))
        return self.head(pixels)
