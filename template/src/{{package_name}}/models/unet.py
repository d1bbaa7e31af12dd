"""U-Net: a convolutional network that gives a class to each pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..utils.limits import PositiveInt
from ..utils.project import UserError


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two convolutions of 3x3 pixels, each with batch normalisation and ReLU. They keep height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) with padding, batch normalisation, and resizing in place of up-convolutions.

    Maps images, float32 (N, C, H, W) of any height and width, to logits (N, num_classes, H, W). The encoder halves
    height and width `depth` times, and doubles the channels each time. The decoder goes the way back, and a skip
    connection gives it the features of the encoder at each size.

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
        widths = [width * 2**level for level in range(depth + 1)]  # channels, from full size down
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        channels = input_shape[0]
        for out_channels in widths:
            self.encoder.append(block(channels, out_channels))
            channels = out_channels
        for skip_channels in reversed(widths[:-1]):
            self.decoder.append(block(skip_channels + channels, skip_channels))
            channels = skip_channels
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)
        self.halve = nn.MaxPool2d(2, ceil_mode=True)  # half of an odd side is rounded up

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 of shape (N, num_classes, H, W)."""
        skips = []  # features of the encoder, from full size down
        features = images
        for level, encode in enumerate(self.encoder):
            if level > 0:
                features = self.halve(features)
            features = encode(features)
            skips.append(features)

        skips.pop()  # the smallest features, with which the decoder begins
        for decode in self.decoder:
            skip = skips.pop()
            features = nn.functional.interpolate(features, size=skip.shape[2:])
            features = decode(torch.cat([skip, features], dim=1))
        return self.head(features)
