"""A convolutional autoencoder for small pictures."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..utils.limits import PositiveInt
from ..utils.project import UserError


def doubling(channels_in: int, channels: int, size: Sequence[int]) -> nn.ConvTranspose2d:
    """Return the convolution that undoes a halving from `size`, (H, W). Half of an odd side was rounded up."""
    padding = (1 - size[0] % 2, 1 - size[1] % 2)
    return nn.ConvTranspose2d(
        channels_in, channels, kernel_size=3, stride=2, padding=1, output_padding=padding
    )


class Autoencoder(nn.Module):
    """Encodes an image as `latent_dim` numbers, and reconstructs it from them (Hinton and Salakhutdinov, 2006).

    Two convolutions halve height and width, and two transposed convolutions double them again. Maps images, float32
    (N, C, H, W), to reconstructions of the same shape and to latents (N, latent_dim).

    Args:
        input_shape: Shape (C, H, W) of an image, of any height and width.
        latent_dim: How many numbers describe an image.
        width: Channels after the first convolution; the second one doubles them.
    """

    def __init__(
        self, input_shape: Sequence[int], latent_dim: PositiveInt = 32, width: PositiveInt = 16
    ) -> None:
        if len(input_shape) != 3:
            raise UserError(
                f"Autoencoder takes images of shape (C, H, W), not data of shape {tuple(input_shape)}"
            )
        super().__init__()
        channels, *size = input_shape
        half = [(side + 1) // 2 for side in size]
        smallest = (2 * width, *((side + 1) // 2 for side in half))
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(math.prod(smallest), latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, math.prod(smallest)),
            nn.Unflatten(1, smallest),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            doubling(2 * width, width, half),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            doubling(width, channels, size),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstructions, float32 (N, C, H, W), and the latents, float32 (N, latent_dim)."""
        latents = self.encoder(images)
        return self.decoder(latents), latents
