"""Classes that are replaced in the arguments."""

import json
import re
from collections.abc import Sequence
from typing import Any

from .configs import flat, read_config


def drop_replaced(args: Sequence[str]) -> list[str]:
    """Return the arguments, with resets where jsonargparse would hand a class's arguments on to one that replaces it.

    Kept are those in options, where a logger saves, and those of the model and the data module, which are the task's.
    """
    result, known = list[str](), dict[str, Any]()
    start = 0  # of the options after the last config: a reset before them drops none of them
    for before, arg in zip(["", *args], args, strict=False):
        option, value = arg.split("=", 1) if re.match("-.*=", arg) else (before, arg)
        is_config = option in ("-c", "--config")
        for path, new in flat(read_config(value)) if is_config else [(option.lstrip("-"), value)]:
            key = path.replace(".init_args", "").removesuffix(".class_path")
            old, save_dir = known.get(f"{key}.class_path"), known.get("trainer.logger.save_dir")
            if old and "." in key and str(old).split(".")[-1] != str(new).split(".")[-1]:
                saves = {
                    "class_path": "CSVLogger",
                    "init_args": {"save_dir": save_dir},
                }  # the old class hands it on
                resets = (
                    None,
                    saves if save_dir and key == "trainer.logger" else None,
                    {"class_path": old},
                )
                result[start:start] = [
                    word for reset in resets for word in ("-c", json.dumps({key: reset}))
                ]
            known[path.replace(".init_args", "")] = new
        result.append(arg)
        start = len(result) if is_config else start
    return result
