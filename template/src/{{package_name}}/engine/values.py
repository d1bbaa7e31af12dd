"""Checks values that have the right type, but lead to a traceback or a useless run.

Read this when a value is refused, or to add a limit.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..utils.project import UserError
from .classes import arguments_of, find_class, takes_none
from .configs import Given, after_place, described, place_of, plain_key

MINIMUMS = {
    "seed_everything": 0,
    "data.batch_size": 1,
    "data.max_shift": 0,
    "data.num_workers": 0,
    "model.lr_scheduler.T_max": 1,
    "model.lr_scheduler.max_lr": 0,
    "model.lr_scheduler.step_size": 1,
    "model.lr_scheduler.total_steps": 1,
    "model.lr_scheduler.warmup": 0,
    "model.lr_scheduler.cooldown": 0,
    "model.optimizer.lr": 0,
    "model.optimizer.weight_decay": 0,
    "model.param_groups.freeze": 0,
    "model.param_groups.layer_decay": 0,
    "model.param_groups.lr_scale": 0,
    "model.param_groups.weight_decay": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.gradient_clip_val": 0,
    "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 1e-6,
}
MAXIMUMS = {"data.split_seed": 2**63 - 1}  # limit of torch.Generator.manual_seed


def check_values(
    config: dict[str, Any], values: Sequence[Given], linked: Collection[str] = ()
) -> None:
    """Raise UserError for the first value that no run can use.

    Args:
        config: The configuration of a sub-command, nested.
        values: The values from configs and options, to name the place of a value.
        linked: Keys that get their values later, by links.
    """
    known = {*linked, *(one.key for one in values)}
    for key, value, cls in _leaves(config, known):
        problem = _problem(key, value, cls)
        if problem:
            raise UserError(told(key, f"is {described(value)}, but must be {problem}", values))


def told(key: str, what: str, values: Sequence[Given], value: Any = None) -> str:
    """Return a message about a key, after the place where the key was given."""
    here = place_of(key, values, value)
    message = f"{key} {what}"
    if here is None:
        return message
    return after_place(here.place, message)


def _problem(key: str, value: Any, cls: Any) -> str | None:
    """Return the requirement that a value does not meet; None if the value is fine."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if numeric:
        return _problem_of_number(key, value, cls)
    if key == "ckpt_path" and value == "":
        return "a file, best or last"
    if value is None:
        return _problem_of_none(key.rpartition(".")[2], cls)
    return None


def _problem_of_number(key: str, value: float, cls: Any) -> str | None:
    if not math.isfinite(value):
        if _needs_finite(key, value, cls):
            return "a finite number"
        return None
    if value < MINIMUMS.get(key, value):
        return f"at least {MINIMUMS[key]}"
    if value > MAXIMUMS.get(key, value):
        return f"at most {MAXIMUMS[key]}"
    return None


def _problem_of_none(name: str, cls: Any) -> str | None:
    argument = arguments_of(cls).get(name)
    if argument is None or argument.default in (None, argument.empty):
        return None
    if takes_none(cls, name):
        return None
    return f"a value, such as {described(argument.default)}"


def _needs_finite(key: str, value: float, cls: Any) -> bool:
    """Return whether NaN or infinity makes no sense here. The user's own classes may accept them."""
    if isinstance(cls, type) and issubclass(cls, Optimizer | LRScheduler):
        return True
    of_lightning = str(getattr(cls, "__module__", "")).startswith("lightning.")
    of_trainer = cls is None and key.startswith("trainer.")
    return math.isnan(value) and (of_lightning or of_trainer)


def _leaves(
    config: Any, known: Collection[str], key: str = "", cls: Any = None
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each value with its key, as on the command line, and the class that has it as an argument."""
    if isinstance(config, dict):
        if "class_path" in config:
            cls = find_class(config["class_path"])
            check_types(cls, config.get("init_args") or {}, key, known)
        for name, value in config.items():
            yield from _leaves(value, known, plain_key(f"{key}.{name}".removeprefix(".")), cls)
    elif isinstance(config, list):
        for value in config:
            yield from _leaves(value, known, key, cls)
    elif not key.endswith("."):
        yield key, config, cls


def check_types(cls: Any, init_args: dict[str, Any], key: str, known: Collection[str]) -> None:
    """Raise UserError if an argument without a type hint is missing, or should be a class.

    jsonargparse would fill in None, and would not build the class. `known` are the keys that have a value.
    """
    for name, parameter in arguments_of(cls).items():
        if parameter.annotation is not parameter.empty or name not in init_args:
            continue
        value = init_args[name]
        is_given = f"{key}.{name}" in known
        if value is None and parameter.default is parameter.empty and not is_given:
            raise UserError(f"{key}.{name} is missing: {cls.__name__} has no default for it")
        if isinstance(value, dict) and "class_path" in value:
            problem = f"argument {name} of {cls.__name__} has no type"
            effect = f"so that {value['class_path']} is not built"
            advice = f"Write its type in the class, such as {name}: nn.Module"
            raise UserError(f"{key}: {problem}, {effect}. {advice}")
