"""TimmNet: any network of timm, by its name, with the weights that it was pretrained with."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import timm
import torch
from lightning.pytorch.utilities import rank_zero_info
from timm.models import load_state_dict
from torch import Tensor, nn

from ..utils.limits import Probability
from ..utils.project import UserError, shown

# What timm raises, depending on the network, for weights that cannot be had or do not fit, and for unknown arguments
TIMM_ERRORS = (
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)


class TimmNet(nn.Module):
    """A network of timm (Wightman, 2019) without its last layer, `backbone`, and a new last layer, `head`.

    Maps images, float32 (N, C, H, W), to logits (N, num_classes). Images come as the data module has normalised them,
    and the backbone gets them as it did in its pretraining: `images * scale + offset` is the step between.

    Args:
        num_classes: Number of classes.
        input_shape: Shape (C, H, W) of an image. If C is 1, the first layer's weights are summed over the colours.
        name: Name of the network, such as resnet18.a1_in1k; `timm.list_pretrained()` has those with weights.
        pretrained: Whether to download its weights; or a file that has them.
        drop_path_rate: Probability that training skips a residual branch (stochastic depth; Huang et al., 2016).

    Raises:
        UserError: There is no such network, it does not take such images, or its weights cannot be had.
    """

    # float32 of shape (C, 1, 1), in checkpoints. Until `on_new_run`, they are for images from 0 to 1.
    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        name: str = "resnet18.a1_in1k",
        pretrained: bool | str = True,
        drop_path_rate: Probability = 0.0,
    ) -> None:
        super().__init__()
        check_name(name)
        check_shape(name, input_shape)
        self.backbone = create_backbone(name, pretrained, input_shape[0], drop_path_rate)
        self.head = nn.Linear(self.backbone.head_hidden_size, num_classes)
        if pretrained:
            say_pretrained(name, input_shape)

        config: Any = timm.get_pretrained_cfg(name)
        self.mean = per_channel(config.mean, input_shape[0])
        self.std = per_channel(config.std, input_shape[0])
        self.register_buffer("scale", 1 / self.std)
        self.register_buffer("offset", -self.mean / self.std)

    def on_new_run(self, data: Any) -> None:
        """Undo the normalisation by a data module's `mean` and `std` from now on. Without them, images are from 0 to 1.

        The command line calls it when a new run begins. A run that continues has the values in its checkpoint.

        Args:
            data: The data module.
        """
        mean = getattr(data, "mean", 0.0)
        std = getattr(data, "std", 1.0)
        self.scale.copy_(std / self.std)
        self.offset.copy_((mean - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (N, num_classes)."""
        return self.head(self.backbone(images * self.scale + self.offset))


def check_name(name: str) -> None:
    """Raise UserError if timm has no network of this name, or no weights with its tag."""
    known = timm.list_models() + timm.list_pretrained()
    if name not in known:
        close = ", ".join(get_close_matches(name, known, n=3, cutoff=0))
        raise UserError(f"timm has no network {name}: did you mean {close}?")


def check_shape(name: str, input_shape: Sequence[int]) -> None:
    """Raise UserError if a network does not take samples of a shape."""
    if len(input_shape) != 3:
        shape = tuple(input_shape)
        raise UserError(f"TimmNet takes images of shape (C, H, W), not data of shape {shape}")
    config: Any = timm.get_pretrained_cfg(name)
    _, height, width = config.input_size
    if config.fixed_input_size and (height, width) != tuple(input_shape[1:]):
        raise UserError(
            f"{name} takes images of {pixels(config.input_size)}, not {pixels(input_shape)}: "
            f"set data.image_size to {height}, or take a network for any size, such as resnet50"
        )


def create_backbone(name: str, pretrained: bool | str, channels: int, drop_path_rate: float) -> Any:
    """Return a network without its last layer. Raise UserError if its weights, or its arguments, do not fit it.

    Args:
        name: Name of the network.
        pretrained: Whether to download its weights; or a file that has them.
        channels: Channels of an image.
        drop_path_rate: Probability of stochastic depth. If it is 0, the network need not have this argument.
    """
    arguments: dict[str, Any] = {"pretrained": bool(pretrained)}
    if drop_path_rate:
        arguments["drop_path_rate"] = drop_path_rate
    if isinstance(pretrained, str):
        arguments["pretrained_cfg_overlay"] = weights_from(pretrained, name)
        advice = f"is {shown(pretrained)} of another network, or of a run (--init_from)?"
    else:
        advice = "model.net.pretrained may also be a file with weights, or false"
    try:
        backbone: Any = timm.create_model(name, num_classes=0, in_chans=channels, **arguments)
    except TIMM_ERRORS as error:
        problem = shorten(str(error), 200, placeholder=" …").rstrip(".")
        raise UserError(f"timm cannot make {name}: {problem}; {advice}") from error
    backbone.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    return backbone


def weights_from(file: str, name: str) -> dict[str, Any]:
    """Return settings with which timm takes weights from a file, and refuses a file that lacks some.

    Args:
        file: A file that timm or PyTorch has saved: the weights by their names.
        name: Name of the network.

    Raises:
        UserError: There is no such file, or it cannot be read.
    """
    if not Path(file).is_file():
        raise UserError(f"there is no {shown(file)}, which model.net.pretrained names")
    config: Any = timm.get_pretrained_cfg(name)
    last_layers = config.classifier or ()  # names; some networks have several
    if isinstance(last_layers, str):
        last_layers = (last_layers,)
    try:
        saved = load_state_dict(file)
    except TIMM_ERRORS as error:
        raise UserError(f"{shown(file)} is damaged, or holds more than weights") from error
    weights = {}
    for key, value in saved.items():
        layer = key.rpartition(".")[0]
        if layer not in last_layers:
            weights[key] = value
    # Without a classifier in the settings, timm does not look for its weights.
    return {"state_dict": weights, "classifier": None}


def say_pretrained(name: str, input_shape: Sequence[int]) -> None:
    """Print the size of the images that the network was pretrained on, and that of yours if it is another one."""
    config: Any = timm.get_pretrained_cfg(name)
    size = pixels(config.input_size)
    line = f"Pretrained: {name}, on images of {size}"
    if size != pixels(input_shape):
        line += f"; yours have {pixels(input_shape)}"
    rank_zero_info(line)


def pixels(shape: Sequence[int]) -> str:
    """Return the height and width of an image of shape (C, H, W) as text."""
    return f"{shape[1]}x{shape[2]} pixels"


def per_channel(values: Sequence[float], channels: int) -> Tensor:
    """Return values of red, green and blue as shape (C, 1, 1); their mean for other channels."""
    if channels != len(values):
        values = [sum(values) / len(values)] * channels
    return torch.tensor(values).view(-1, 1, 1)
