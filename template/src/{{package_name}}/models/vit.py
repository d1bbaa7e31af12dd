"""ViT: a small vision transformer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..utils.limits import PositiveInt, Probability
from ..utils.project import UserError


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021), with layer normalisation before attention and before the MLP.

    Instead of a class token, the mean of all tokens is classified (Beyer et al., 2022). Maps images, float32
    (N, C, H, W), to logits (N, num_classes).

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image; height and width are multiples of `patch_size`.
        patch_size: Height and width of a patch in pixels. Each patch becomes a token.
        dim: Size of a token, a multiple of `heads`.
        depth: Number of transformer layers.
        heads: Attention heads per layer.
        dropout: Probability of dropout in every layer.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        patch_size: PositiveInt = 4,
        dim: PositiveInt = 64,
        depth: PositiveInt = 6,
        heads: PositiveInt = 4,
        dropout: Probability = 0.0,
    ) -> None:
        if len(input_shape) != 3 or any(side % patch_size for side in input_shape[1:]):
            shape = tuple(input_shape)
            raise UserError(
                f"ViT takes images whose sides are multiples of patch_size {patch_size}, not {shape}"
            )
        if dim % heads:
            raise UserError(f"dim is {dim}, but must be a multiple of heads, {heads}")
        super().__init__()
        channels, height, width = input_shape
        tokens = (height // patch_size) * (width // patch_size)
        self.patches = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, dim))
        # not nn.TransformerEncoder, whose layers start as copies of one another
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (N, num_classes)."""
        tokens = self.patches(images).flatten(2).mT + self.positions  # (N, tokens, dim)
        return self.head(self.norm(self.layers(tokens)).mean(dim=1))
