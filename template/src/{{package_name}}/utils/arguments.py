"""The arguments: configs read, classes that are replaced dropped, and jsonargparse's error messages in one line."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from traceback import walk_tb
from typing import Any

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException

from .project import UserError, shown

# The least of values with which a run would end in a traceback, or in nonsense
LEAST = {"trainer.val_check_interval": 1e-6, "trainer.gradient_clip_val": 0, "seed_everything": 0, "data.max_shift": 0}
LEAST |= dict.fromkeys(("model.optimizer.lr", "model.optimizer.weight_decay", "model.lr_scheduler.max_lr"), 0)
LEAST |= {"data.num_workers": 0, "data.batch_size": 1, "model.lr_scheduler.step_size": 1, "model.lr_scheduler.T_max": 1}
LEAST |= {f"trainer.{n}": 1 for n in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps")}
# Their errors are about values, not code
LIBRARIES = ("lightning.", "torch.optim.", "torch.utils.data.dataloader", "torch.utils.data.sampler")


def read_config(path: str | Path) -> dict[str, Any]:
    """Return what a config sets, by dotted key, nothing if it cannot be read; raise UserError if it is not YAML."""
    try:
        return dict(_flat(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}))
    except (AttributeError, UnicodeError, yaml.YAMLError) as error:
        raise UserError(f"{shown(path)} is not YAML with keys: {' '.join(str(error).split())}") from error
    except OSError:
        return {}


def _flat(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield from _flat(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]


def drop_replaced(args: Sequence[str]) -> list[str]:
    """Return the arguments, with resets where jsonargparse would hand a class's arguments on to one that replaces it.

    Kept are those in options, where a logger saves, and those of the model and the data module, which are the task's.
    """
    result, known = list[str](), dict[str, Any]()
    start = 0  # of the options after the last config: a reset before them drops none of them
    for before, arg in zip(["", *args], args, strict=False):
        option, value = arg.split("=", 1) if re.match("-.*=", arg) else (before, arg)
        is_config = option in ("-c", "--config")
        for path, new in (read_config(value) if is_config else {option.lstrip("-"): value}).items():
            key = path.replace(".init_args", "").removesuffix(".class_path")
            old, save_dir = known.get(f"{key}.class_path"), known.get("trainer.logger.save_dir")
            if old and "." in key and str(old).split(".")[-1] != str(new).split(".")[-1]:
                saves = {"class_path": "CSVLogger", "init_args": {"save_dir": save_dir}}  # the old class hands it on
                resets = (None, saves if save_dir and key == "trainer.logger" else None, {"class_path": old})
                result[start:start] = [word for reset in resets for word in ("-c", json.dumps({key: reset}))]
            known[path.replace(".init_args", "")] = new
        result.append(arg)
        start = len(result) if is_config else start
    return result


def check_values(config: Any) -> None:
    """Raise UserError if a number is too small."""
    for path, value in _flat(config.as_dict()):
        key = path.replace(".init_args", "")
        if isinstance(value, int | float) and value < LEAST.get(key, value):
            raise UserError(f"{key} is {value}, but must be at least {LEAST[key]}")


def answer(error: Exception) -> str | None:
    """Return in one line what an error tells the user to put right; None if it takes a traceback to find out."""
    text, mistakes = " ".join(str(error).split()), UserError | MisconfigurationException | ModuleNotFoundError | OSError
    if isinstance(error, RuntimeError) and re.search(r"gloo|NCCL|Dist\w+Error", repr(error)):
        return f"another process of this run has ended or cannot be reached ({text.partition('. This is ')[0]})"
    *_, (frame, _) = walk_tb(error.__traceback__)
    of_value = type(error) in (RuntimeError, TypeError, ValueError)
    if isinstance(error, mistakes) or (of_value and frame.f_globals.get("__name__", "").startswith(LIBRARIES)):
        return text + " (is it installed? pip install -e .)" * ("No module named" in text)
    return "compile is true, but needs a C++ compiler, such as g++" if re.search("InvalidCxx|find C c", text) else None


def explain(message: str, options: Iterable[str]) -> str:
    """Return one line that names the key, the value and what to do; of the known options it names the nearest."""
    if found := re.match(r"(?:Subcommand .* option '|unrecognized arguments: --|Option ')([\w.]+)", message):
        return f"{found[1]} is not a known key{_nearest(found[1], options)}"
    if found := re.match(r'(?:.* required: \w+\.|Parser key "(?=(?s:.)*class_path .lightning\.L))(\w+)', message):
        return f"{found[1]} is missing: pass a config that has it, such as -c configs/{found[1]}/<name>.yaml"
    message = re.sub(r"<class '(\S+)'>|typing\.|Not a valid subclass .*", r"\1", message).replace("NoneType", "null")
    message = re.sub("dot import path string: .*", "a class (package.module.Class)", message)
    # of the nested messages, each of which ends with its value, the first is the innermost
    inner, value, *_ = [*re.split(r"\. Got value: |Given value: ", message), ""]
    value = re.sub(r"NestedArg\(.*', val=(.*)\)", r"\1", value.partition("\n")[0])
    path = ".".join(re.findall(r'Parser key "([^"]+)"', inner))
    if found := re.search("Option '(class_path|init_args)' is not", message):
        return f"{path}.{found[1]} stands beside an unknown key: only class_path and init_args go together"
    if found := re.search(r"(?:class_path '(\S+)':\s+| )Option '(\S+)' is not(?:.*?class_path='(\S+)')?", message):
        bases = getattr(resolve_name(found[1] or found[3]), "__mro__", ())
        known = [name for base in bases for name in signature(base.__init__).parameters]
        return f"{path}.{found[2]} is not a known key{_nearest(found[2], known)}"
    if found := re.search(r"module '(\S+)' has no attribute '(\w+)'", message):
        return f"{path}: {found[1]} has no {found[2]}{_nearest(found[2], vars(resolve_name(found[1])))}"
    if found := re.search(r"arguments are required: (\w+)", message):
        return f"{path}.{found[1]} is missing"
    if found := re.search(r"(?<=callable class: )(?!Parser key).*[^.\n]|(No module|Multiple|Import path) .*", inner):
        return f"{path} is {value}: {found[0]}"
    if types := re.findall(r"Expected an? (?!path but)(.+)", inner.rpartition("Parser key")[2]):
        return f"{path} is {value}, but must be {' or '.join(dict.fromkeys(types))}"
    return re.sub(r'Parser key "([^"]+)"', r"\1", " ".join(message.split()))


def _nearest(name: str, known: Iterable[str]) -> str:
    return next((f": did you mean {match}?" for match in get_close_matches(name, set(known) - {name}, n=1)), "")
