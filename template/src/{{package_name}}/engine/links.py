"""Checks the arguments of the model that are linked to the data module, or to `checkpoint`.

Read this when such an argument is refused, or is missing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import UserError
from .classes import arguments_of, find_class
from .configs import Given, described, place_of
from .new_data import arguments_of_data
from .pretrained import arguments_of_network
from .values import told


def plain_sizes(shape: Iterable[int]) -> list[int]:
    """Return sizes as plain numbers. No checkpoint may hold the type that `--data.image_size` has."""
    return [int(size) for size in shape]


FROM_DATA: dict[str, Callable[[Any], Any]] = {
    "num_classes": int,
    "num_outputs": int,
    "input_shape": plain_sizes,
    "log_target": bool,
}
NOT_CONVERTED = (TypeError, ValueError)
FROM_CHECKPOINT = {"model.monitor": "checkpoint.monitor", "model.mode": "checkpoint.mode"}


def name_of_metric(monitor: str | None) -> str:
    """Return the model's `monitor`; an empty text if `checkpoint.monitor` is null."""
    return monitor or ""


def check_linked(key: str, value: Any, advice: str, values: Sequence[Given]) -> None:
    """Raise UserError if a linked argument was given another value than its source has."""
    asked = place_of(key, values)
    if asked is None or asked.value in (None, "null"):
        return
    if plain(asked.value) != plain(value):
        problem = f"is {described(asked.value)}, but {advice}"
        raise UserError(told(key, problem, values))


def check_checkpoint_links(config: Any, values: Sequence[Given]) -> None:
    """Raise UserError if the model's `monitor` or `mode` was given, and differs from that of `checkpoint`."""
    for key, source in FROM_CHECKPOINT.items():
        value = config.checkpoint[source.removeprefix("checkpoint.")]
        advice = f"it follows {source}, {described(value)}: set --{source} instead"
        check_linked(key, value, advice, values)


def check_data_link(name: str, value: Any, config: Any, values: Sequence[Given]) -> None:
    """Raise UserError if an argument was given another value than the data module provides.

    Args:
        name: The argument.
        value: What the data module provides.
        config: The configuration of a sub-command.
        values: The values from configs and options.
    """
    mend = "leave it out"
    if name in arguments_of_data(config):
        mend = f"set --data.{name} instead"
    advice = f"the data say {described(value)}: {mend}"
    check_linked(f"model.{name}", value, advice, values)


def checked_value(key: str, value: Any) -> Any:
    """Return an argument that a data module provides, as a plain value, because not every logger accepts others.

    Raises:
        UserError: The data module has something else in this attribute.
    """
    try:
        return FROM_DATA[key](value)
    except NOT_CONVERTED:
        kind = "a whole number"
        if FROM_DATA[key] is plain_sizes:
            kind = "whole numbers"
        problem = f"{key} of the data module is {described(value)}"
        raise UserError(f"{problem}, but must be {kind}") from None


def pass_network_to_data(config: Any, values: Sequence[Given]) -> None:
    """Pass the network's argument `name` to the data module, if that has an argument `tokenizer`.

    Texts become the numbers that this network was trained with, so both have to be of one name.

    Raises:
        UserError: The data module was given another tokenizer.
    """
    name = arguments_of_network(config.get("model")).get("name")
    arguments = arguments_of_data(config)
    if not isinstance(name, str) or "tokenizer" not in arguments:
        return
    advice = f"it follows model.net.name, {described(name)}: leave it out"
    check_linked("data.tokenizer", name, advice, values)
    arguments["tokenizer"] = name


def say_unused_links(links: Iterable[tuple[str, str]], data: Any, model: Any) -> None:
    """Print which links of cli.py pass nothing to the model, because the data module does not have the attribute.

    Args:
        links: The source and the target of each link.
        data: The data module.
        model: The model.
    """
    taken = arguments_of(type(model))
    for source, target in links:
        block, _, attribute = source.partition(".")
        first = attribute.partition(".")[0]
        if block != "data" or first in ("init_args", *FROM_DATA) or hasattr(data, first):
            continue
        argument = target.removeprefix("model.init_args.")
        if argument in taken:
            link = f"{source} is linked to model.{argument}"
            problem = f"{type(data).__name__} has no {attribute}"
            rank_zero_info(f"{link}, but {problem}: the link passes nothing")


def missing_from_data(config: Any, found: dict[str, Any]) -> str | None:
    """Return a message that names an argument the model needs and the data module does not provide; or None."""
    data = config.get("data")
    model = config.get("model")
    if not data or not model:
        return None
    arguments = arguments_of(find_class(model["class_path"]))
    for name in FROM_DATA:
        argument = arguments.get(name)
        if argument is None or argument.default is not argument.empty:
            continue
        if name not in found:
            gives = " and ".join(found) or "nothing of the kind"
            problem = f"{short_name(model)} needs {name}, but {short_name(data)} gives {gives}"
            advice = (
                f"pass -c configs/model/<name>.yaml for such data, or give the data module {name}"
            )
            if name == "num_outputs" and "task" in arguments_of_data(config):
                advice = "pass --data.task regression, or the config of a model for classes"
            return f"{problem}: {advice}"
    return None


def short_name(block: Any) -> str:
    """Return the class name of a block of the configuration, without its modules."""
    return str(block["class_path"]).rpartition(".")[2]


def plain(value: Any) -> str:
    """Return a value without spaces, so that equal values compare equal: `[1, 8, 8]` and `[1,8,8]`."""
    return "".join(described(value).split())
