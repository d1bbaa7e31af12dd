"""What a checkpoint may hold, so that it loads with `weights_only`: tensors and plain values.

Read this when a line says that a checkpoint loads with `--weights_only false` alone.
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
    """Return a checkpoint in which NumPy's numbers are Python's, and arrays among hyperparameters are lists.

    What holds none is the same object as before.
    """
    changed = with_plain_numbers(checkpoint)
    for key in HYPERPARAMETERS:
        if key in changed:
            changed = {**changed, key: with_plain_numbers(changed[key], arrays=True)}
    return dict(changed)


def with_plain_numbers(value: Any, arrays: bool = False) -> Any:
    """Return a value in which NumPy's numbers are Python's, and, if asked, arrays are lists."""
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
        # Only a change makes a copy: that of a model's state would lose its versions.
        return value if is_same and len(items) == len(value) else items
    if type(value) in (list, tuple):
        parts = [with_plain_numbers(item, arrays) for item in value]
        is_same = all(item is part for item, part in zip(value, parts, strict=True))
        return value if is_same else type(value)(parts)
    return value


def foreign_values(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value that `weights_only` refuses to load, by its dotted key, with the name of its type."""
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
    """Return the types in a checkpoint file that `weights_only` refuses to load; none if the file is damaged."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # whatever a damaged file leads to
        return []
