"""Parameter groups: settings for some of a module's parameters, chosen by their names.

`configure_optimizers` in optim.py uses them for every module that has an attribute `param_groups`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, Required, TypedDict

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Parameter

from .project import UserError

NORMS_AND_BIASES = "norms_and_biases"


class ParamGroup(TypedDict, total=False):
    """Settings of the parameters that `params` names.

    If several entries name a parameter, its learning rate is multiplied by the scales of all. Of its other settings,
    the last entry counts.
    """

    params: Required[str | list[str]]
    """Names of parameters or modules, such as `net.head`; `*` stands for any text. `norms_and_biases` names all
    parameters with fewer than two dimensions."""
    lr_scale: float
    """Multiplies the learning rate."""
    layer_decay: float
    """Multiplies the learning rate once for each layer between a parameter and the last layer that `params` names."""
    weight_decay: float
    """Replaces the optimizer's weight decay."""
    freeze: bool | int
    """Freezes the parameters: `true` for the whole training, a number for so many epochs."""


def optimizer_groups(
    module: LightningModule, entries: Sequence[ParamGroup]
) -> list[dict[str, Any]]:
    """Return the groups for the optimizer: parameters with the same scale of the learning rate and weight decay.

    They do not depend on what is frozen, so that a resumed run has the groups of its checkpoint.
    """
    parameters = dict(module.named_parameters())
    scales = lr_scales(parameters, entries)
    groups: dict[Any, dict[str, Any]] = {}
    for name, parameter in parameters.items():
        lr_name = "-".join(scales[name]) or "rest"
        settings = {"lr_name": lr_name, "lr_scale": math.prod(scales[name].values())}
        decay = last_setting("weight_decay", name, parameter, entries)
        if decay is not None:
            settings["weight_decay"] = decay
        group = groups.setdefault((lr_name, decay), {**settings, "params": []})
        group["params"].append(parameter)
    return list(groups.values())


def lr_scales(
    parameters: Mapping[str, Parameter], entries: Sequence[ParamGroup]
) -> dict[str, dict[str, float]]:
    """Return for each parameter the factors of its learning rate, by the labels of their entries."""
    scales: dict[str, dict[str, float]] = {name: {} for name in parameters}
    for entry in entries:
        named = names_of(entry, parameters)
        label = "-".join(pattern.strip("*.") for pattern in patterns_of(entry))
        if "layer_decay" in entry:
            layers = layers_of(named)
        elif "lr_scale" in entry:
            layers = [named]
        else:
            continue
        for number, layer in enumerate(layers):
            distance = len(layers) - 1 - number
            factor = entry.get("lr_scale", 1.0) * entry.get("layer_decay", 1.0) ** distance
            own_label = f"{label}.layer_{number}".strip(".") if "layer_decay" in entry else label
            for name in layer:
                scales[name][own_label] = scales[name].get(own_label, 1.0) * factor
    return scales


def layers_of(names: Sequence[str]) -> list[list[str]]:
    """Return names of parameters by layer, in their order.

    A layer is a numbered block, such as `net.layers.3`, or all parameters before, between or after such blocks.
    """
    return [list(layer) for _, layer in groupby(names, key=block_of)]


def block_of(name: str) -> str:
    """Return the numbered block of a parameter, such as net.layers.3 of net.layers.3.norm1.weight; "" without one."""
    parts = name.split(".")
    for number, part in enumerate(parts):
        if part.isdecimal():
            return ".".join(parts[: number + 1])
    return ""


def last_setting(key: str, name: str, tensor: Tensor, entries: Sequence[ParamGroup]) -> Any:
    """Return a setting of the last entry that has it and names this parameter; None if there is none."""
    found = None
    for entry in entries:
        if key in entry and is_named(name, tensor, entry):
            found = dict(entry)[key]
    return found


def names_of(entry: ParamGroup, parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the names of an entry's parameters. Raise UserError for a pattern that fits none."""
    for pattern in patterns_of(entry):
        if not any(fits(pattern, name, parameter) for name, parameter in parameters.items()):
            raise UserError(
                f"param_groups: no parameter is named {pattern}{nearest_names(pattern, parameters)}"
            )
    return [name for name, parameter in parameters.items() if is_named(name, parameter, entry)]


def is_named(name: str, tensor: Tensor, entry: ParamGroup) -> bool:
    return any(fits(pattern, name, tensor) for pattern in patterns_of(entry))


def patterns_of(entry: ParamGroup) -> list[str]:
    params = entry["params"]
    return [params] if isinstance(params, str) else list(params)


def fits(pattern: str, name: str, tensor: Tensor) -> bool:
    """Return whether a pattern fits the name of a parameter, or of a module that contains it."""
    if pattern == NORMS_AND_BIASES:
        return tensor.ndim < 2
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def nearest_names(pattern: str, parameters: Mapping[str, Parameter]) -> str:
    """Return the names of parameters and modules that are closest to a pattern, as the end of a message."""
    known = [*beginnings(parameters), NORMS_AND_BIASES]
    close = get_close_matches(pattern.strip("*."), known, n=3)
    if close:
        return f": did you mean {', '.join(close)}?"
    return f": there are {', '.join(list(parameters)[:5])} …"


def beginnings(names: Iterable[str]) -> list[str]:
    """Return all beginnings of dotted names: `net`, `net.head` and `net.head.bias` of `net.head.bias`."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            found[".".join(parts[:length])] = None
    return list(found)
