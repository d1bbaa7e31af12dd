"""ResNet: a residual network for small pictures."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.limits import PositiveInt
from ..utils.project import UserError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # in each of the four stages


def conv_bn(channels_in: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that pads, and batch normalisation."""
    padding = kernel_size // 2
    convolution = nn.Conv2d(channels_in, channels, kernel_size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


class Block(nn.Module):
    """Adds the output of two 3x3 convolutions, or of a bottleneck of 1x1, 3x3 and 1x1, to its input.

    Maps float32 (N, channels_in, H, W) to (N, channels, H / stride, W / stride), sides rounded up.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            self.residual = nn.Sequential(
                conv_bn(channels_in, channels // 4, kernel_size=1),
                nn.ReLU(),
                conv_bn(channels // 4, channels // 4, kernel_size=3, stride=stride),
                nn.ReLU(),
                conv_bn(channels // 4, channels, kernel_size=1),
            )
        else:
            self.residual = nn.Sequential(
                conv_bn(channels_in, channels, kernel_size=3, stride=stride),
                nn.ReLU(),
                conv_bn(channels, channels, kernel_size=3),
            )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = conv_bn(channels_in, channels, kernel_size=1, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.residual(images) + self.shortcut(images))


class ResNet(nn.Sequential):
    """Deep residual network (He et al., 2016), for small images: a 3x3 convolution first, and no pooling after it.

    Maps images, float32 (N, C, H, W), to logits (N, num_classes). A bottleneck has its stride in the 3x3 convolution.

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image, of any height and width.
        depth: 18 or 34 layers of basic blocks, or 50 layers of bottlenecks.
        width: Channels of the first stage; each later stage doubles them.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        depth: Literal[18, 34, 50] = 18,
        width: PositiveInt = 64,
    ) -> None:
        if len(input_shape) != 3:
            raise UserError(
                f"ResNet takes images of shape (C, H, W), not data of shape {tuple(input_shape)}"
            )
        bottleneck = depth == 50
        blocks = []
        channels_in = width
        for stage, count in enumerate(BLOCKS[depth]):
            channels = width * 2**stage
            if bottleneck:
                channels *= 4
            for index in range(count):
                halves = stage > 0 and index == 0  # the first block of each later stage
                stride = 2 if halves else 1
                blocks.append(Block(channels_in, channels, stride, bottleneck))
                channels_in = channels
        super().__init__(
            conv_bn(input_shape[0], width, kernel_size=3),
            nn.ReLU(),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels_in, num_classes),
        )
