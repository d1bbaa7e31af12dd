"""SimpleNet: a small convolutional network for small pictures."""

from collections.abc import Sequence

from torch import nn

from ..utils.project import UserError


class SimpleNet(nn.Sequential):
    """LeNet-5 (LeCun et al., 1998) with batch normalisation, ReLU and max pooling.

    Maps images, float32 of shape (N, C, H, W), to logits of shape (N, num_classes).

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image.

    Raises:
        UserError: The images are less than 12 pixels high or wide.
    """

    def __init__(self, num_classes: int, input_shape: Sequence[int]) -> None:
        if len(input_shape) != 3 or min(input_shape[1:]) < 12:
            raise UserError(
                f"SimpleNet takes images of at least 12x12 pixels, not data of shape {tuple(input_shape)}"
            )
        channels, height, width = input_shape
        # The first convolution keeps the size, the second takes 4 pixels, and each pooling halves it.
        features = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
        super().__init__(
            nn.Conv2d(channels, 6, kernel_size=5, padding=2, bias=False),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2),
            nn.ReLU(),  # after pooling: the same result, from a quarter of the values
            nn.Conv2d(6, 16, kernel_size=5, bias=False),
            nn.BatchNorm2d(16),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(features, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )
