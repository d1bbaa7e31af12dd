"""SimpleNet: a small convolutional network for small pictures."""

from collections.abc import Sequence

from torch import nn

from ..utils.project import UserError


class SimpleNet(nn.Sequential):
    """LeNet-5 (LeCun et al., 1998) with batch normalisation, ReLU and max pooling.

    Maps images, float32 (N, C, H, W), to logits (N, num_classes).

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image, at least 12 pixels high and wide.
    """

    def __init__(self, num_classes: int, input_shape: Sequence[int]) -> None:
        if len(input_shape) != 3 or min(input_shape[1:]) < 12:
            raise UserError(
                f"SimpleNet takes images of at least 12x12 pixels, not data of shape {tuple(input_shape)}"
            )
        layers: list[nn.Module] = []
        for channels_in, channels, padding in ((input_shape[0], 6, 2), (6, 16, 0)):
            convolution = nn.Conv2d(
                channels_in, channels, kernel_size=5, padding=padding, bias=False
            )
            # ReLU after pooling: the same result from a quarter of the values
            layers += [convolution, nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()]
        height, width = (
            (side // 2 - 4) // 2 for side in input_shape[1:]
        )  # that is left of the image
        layers += [
            nn.Flatten(),
            nn.Linear(16 * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        ]
        super().__init__(*layers, nn.Linear(84, num_classes))
