"""SimpleNet: a small convolutional network for small pictures."""

from torch import nn


class SimpleNet(nn.Sequential):
    """LeNet-5's layout (LeCun et al., 1998) with batch normalisation, ReLU and max pooling.

    Maps images, float32 (N, in_channels, image_size, image_size), to logits (N, num_classes).

    Args:
        num_classes: Number of classes.
        in_channels: Number of image channels.
        image_size: Height and width of the images in pixels, at least 12.
    """

    def __init__(self, num_classes: int, in_channels: int = 1, image_size: int = 28) -> None:
        side = (image_size // 2 - 4) // 2  # the first convolution pads, the second does not
        super().__init__(
            nn.Conv2d(in_channels, 6, kernel_size=5, padding=2, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )
