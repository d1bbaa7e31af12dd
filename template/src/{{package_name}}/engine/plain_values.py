"""Keeps checkpoints to tensors and plain values, so that they load with `weights_only=True`.

Read this when a message says that a checkpoint needs `--weights_only false`.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    torch.Size,
    torch.device,
    torch.dtype,
)
MAPPINGS = (dict, OrderedDict, Counter)
SEQUENCES = (list, tuple, set)
HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


def with_plain_values(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Convert NumPy numbers to Python numbers, and arrays in hyperparameters to lists.

    Parts without such values are not copied.
    """
    changed = with_plain_numbers(checkpoint)
    for key in HYPERPARAMETERS:
        if key in changed:
            changed = {**changed, key: with_plain_numbers(changed[key], arrays=True)}
    return dict(changed)


def with_plain_numbers(value: Any, arrays: bool = False) -> Any:
    """Convert NumPy numbers in a value to Python numbers, and, if `arrays`, arrays to lists."""
    if isinstance(value, np.generic) or (arrays and isinstance(value, np.ndarray)):
        return value.tolist()
    if type(value) in MAPPINGS:
        items = {
            with_plain_numbers(name): with_plain_numbers(item, arrays)
            for name, item in value.items()
        }
        is_same = all(
            name is new_name and item is new_item
            for (name, item), (new_name, new_item) in zip(
                value.items(), items.items(), strict=False
            )
        )
        # No copy without a change, because a copy of a state_dict would lose its version metadata.
        return value if is_same and len(items) == len(value) else items
    if type(value) in (list, tuple):
        parts = [with_plain_numbers(item, arrays) for item in value]
        is_same = all(item is part for item, part in zip(value, parts, strict=True))
        return value if is_same else type(value)(parts)
    return value


def foreign_values(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the type name of each value that `weights_only` refuses to load."""
    if type(value) in MAPPINGS:
        for name, item in value.items():
            yield from foreign_values(item, f"{key}.{name}".removeprefix("."))
    elif type(value) in SEQUENCES:
        for number, item in enumerate(value):
            yield from foreign_values(item, f"{key}.{number}")
    elif isinstance(value, torch.Tensor) or type(value) in PLAIN:
        return
    elif type(value) not in torch.serialization.get_safe_globals():
        yield key, type(value).__name__


def foreign_types(path: Path) -> list[str]:
    """Return the types in a checkpoint file that `weights_only` refuses to load; none for a damaged file."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a damaged file may raise anything
        return []
