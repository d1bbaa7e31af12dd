"""Starts a new run from weights that another run, or somebody else, has trained: `fit --init_from`.

Read it to see which weights are taken, or why a file is refused.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from ..utils.param_groups import beginnings
from ..utils.project import UserError, shown
from .checkpoints import best_or_last, load_file
from .configs import Given, place_of
from .runs import find_run
from .saved_config import given_here
from .values import told

Weights = dict[str, Tensor]

# Keys under which files keep the weights: Lightning and many others; PyTorch's tutorials; timm and others
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model")
COMPILED = "_orig_mod."  # what torch.compile inserts into the names of a compiled network's weights
NAMES_SHOWN = 3


class InitialWeights(NamedTuple):
    """The weights that a new run starts from."""

    path: Path  # the file
    run: Path | None  # the run that the file belongs to
    include: Sequence[str]  # beginnings of names in the model; all weights if empty
    rename: Mapping[
        str, str
    ]  # beginnings of names in the file, and what stands for them in the model
    weights_only: bool  # whether the file may hold only weights and plain data

    def facts(self) -> dict[str, Any]:
        """Return what `run.json` records about the origin of the weights."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "run": self.run.name if self.run else None,
            "checkpoint": shown(self.path),
            "sha256": digest,
        }


def initial_weights(config: Any, logs: Path) -> InitialWeights | None:
    """Return the weights that the configuration of a fit names; None if it names none.

    Raises:
        UserError: There is no such file or run, or the run has no checkpoint.
    """
    if not config.init_from:
        for option in ("init_include", "init_rename"):
            if config[option]:
                raise UserError(f"--{option} selects weights of --init_from, which is missing")
        return None
    path = find_weights(config.init_from, logs)
    run = path.parent.parent
    return InitialWeights(
        path,
        run if (run / "config.yaml").exists() else None,
        as_names(config.init_include),
        config.init_rename or {},
        config.weights_only is not False,
    )


def refuse_with_checkpoint(values: Sequence[Given], saved: Path | None) -> None:
    """Raise UserError if `--init_from` is given to a command that continues from a checkpoint.

    Args:
        values: The values from configs and options.
        saved: The config.yaml of the run that `--run` names. It may name the weights that the run started from.
    """
    here = values
    if saved:
        here = given_here(saved, values)
    asked = place_of("init_from", here)
    if asked and asked.value not in (None, "null"):
        problem = (
            "starts a new run from weights alone, but --run and --ckpt_path continue a training: "
            "leave out one of them"
        )
        raise UserError(told("init_from", problem, here))


def as_names(value: str | list[str] | None) -> list[str]:
    """Return one name or several as a list."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    return value


def find_weights(wanted: str, logs: Path) -> Path:
    """Return the absolute path of the file that `--init_from` names.

    Args:
        wanted: A file, or a run: its directory, its id, its name, or `last`.
        logs: The folder of all runs.

    Raises:
        UserError: There is no such file or run, or the run has no checkpoint.
    """
    path = Path(wanted).expanduser()
    if path.is_file():
        return path.absolute()
    if (path / ".metadata").exists():
        raise UserError(
            f"{shown(path)} is a sharded checkpoint, which only FSDP can read: turn it into a file with "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch <folder> <file>"
        )
    if path.suffix and not path.exists():
        raise UserError(f"init_from is {wanted}, but there is no such file")
    run = find_run(wanted, logs, option="--init_from")
    checkpoint = best_or_last(run)
    if not checkpoint:
        raise UserError(
            f"{shown(run)} has no best checkpoint: name a file in its checkpoints/, or another run"
        )
    return checkpoint.absolute()


def load_initial_weights(model: LightningModule, source: InitialWeights) -> None:
    """Copy weights of the same name and shape into the model, and print which are taken and which are not.

    Raises:
        UserError: The file is damaged or holds no weights, no weight fits, or a name is in neither.
    """
    if is_overridden("configure_model", model):
        raise UserError(
            f"--init_from cannot reach the layers of {type(model).__name__}, which it makes in configure_model: "
            "make them in __init__, or load the weights there"
        )
    saved = renamed(read_weights(source.path, source.weights_only), source.rename, source.path)
    own = model.state_dict()
    own_names = {name.replace(COMPILED, ""): name for name in own}
    here = {plain: own[name] for plain, name in own_names.items()}
    fit = compare(saved, here, source.include)
    if not fit.taken:
        raise UserError(nothing_fits(source.path, saved, here, fit))

    weights = {own_names[name]: saved[name] for name in fit.taken}
    model.load_state_dict(weights, strict=False)
    parts = [
        f"Weights: {len(fit.taken)} of {len(here)} from {shown(source.path)}",
        counted(fit.misshapen, "of another shape there"),
        counted(fit.missing, "not there"),
        counted(fit.left_over, "there alone"),
    ]
    rank_zero_info("; ".join(part for part in parts if part))


class Fit(NamedTuple):
    """How the weights in a file fit those of the model, by name."""

    taken: list[str]
    misshapen: list[str]  # with both shapes
    missing: list[str]  # in the file
    left_over: list[str]  # not in the model


def compare(saved: Weights, here: Weights, include: Sequence[str]) -> Fit:
    """Compare the weights in a file with those of the model whose names begin with one of `include`."""
    fit = Fit([], [], [], [])
    for name in included(here, include):
        if name not in saved:
            fit.missing.append(name)
        elif saved[name].shape != here[name].shape:
            there = tuple(saved[name].shape)
            fit.misshapen.append(f"{name} {there} for {tuple(here[name].shape)}")
        else:
            fit.taken.append(name)
    fit.left_over.extend(name for name in saved if name not in here)
    return fit


def read_weights(path: Path, weights_only: bool) -> Weights:
    """Return the weights in a checkpoint of Lightning, a file of a state_dict, or a safetensors file, by name.

    Raises:
        UserError: The file is damaged, or holds more than weights and plain data, or no weights.
    """
    if path.suffix == ".safetensors":
        weights = read_safetensors(path)
    else:
        weights = load_file(path, weights_only)
        for key in WEIGHT_KEYS:
            if isinstance(weights, dict) and isinstance(weights.get(key), dict):
                weights = weights[key]
                break
    if not isinstance(weights, dict):
        raise UserError(f"{shown(path)} holds no weights by name, but one {type(weights).__name__}")
    found = {}
    for name, value in weights.items():
        if isinstance(value, Tensor):
            found[str(name).replace(COMPILED, "")] = value
    if not found:
        raise UserError(f"{shown(path)} holds no weights")
    return found


def read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file as load_safetensors
    except ModuleNotFoundError:
        raise UserError(
            f"{shown(path)} needs the package safetensors: pip install safetensors"
        ) from None
    try:
        return load_safetensors(path)
    except SafetensorError as error:
        raise UserError(f"{shown(path)} is damaged: {error}") from error


def renamed(weights: Weights, prefixes: Mapping[str, str], path: Path) -> Weights:
    """Return weights under their names in the model.

    Args:
        weights: Weights by their names in the file.
        prefixes: Beginnings of names in the file, and what stands for them in the model. An empty one is of all names.
        path: The file, for messages.

    Raises:
        UserError: No name begins with one of the prefixes.
    """
    by_length = sorted(prefixes, key=len, reverse=True)  # the longest that fits counts
    used: set[str] = set()
    found = {}
    for name, weight in weights.items():
        new = name
        for prefix in by_length:
            if begins_with(name, prefix):
                rest = name.removeprefix(prefix).removeprefix(".")
                new = f"{prefixes[prefix]}.{rest}".strip(".")
                used.add(prefix)
                break
        found[new] = weight
    for prefix in by_length:
        if prefix not in used:
            raise UserError(
                f"init_rename has {prefix}, but no name in {shown(path)} begins so: {some(weights)}"
            )
    return found


def included(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """Return the names that begin with one of the prefixes; all names if there are no prefixes.

    Raises:
        UserError: No name begins with one of the prefixes.
    """
    names = list(names)
    if not prefixes:
        return names
    for prefix in prefixes:
        if not any(begins_with(name, prefix) for name in names):
            near = get_close_matches(prefix, beginnings(names), cutoff=0.5)
            advice = some(names)
            if near:
                advice = f"such as {', '.join(near)}"
            raise UserError(
                f"init_include has {prefix}, but no name in the model begins so: {advice}"
            )
    return [name for name in names if any(begins_with(name, prefix) for prefix in prefixes)]


def begins_with(name: str, prefix: str) -> bool:
    """Return whether a dotted name begins with the parts of another one: `net.head.bias` with `net.head`."""
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def nothing_fits(path: Path, saved: Iterable[str], here: Iterable[str], fit: Fit) -> str:
    """Return the message for a file of which no weight fits."""
    if fit.misshapen:
        return f"no weight of {shown(path)} has the shape of the model's: {some(fit.misshapen)}"
    return (
        f"no weight of {shown(path)} has a name of the model's. There: {some(saved)}; here: {some(here)}. "
        "--init_rename '{there: here}' renames their beginnings"
    )


def counted(names: Sequence[str], what: str) -> str:
    """Return a count and the first names: `2 not there (net.head.weight, net.head.bias)`; empty if there are none."""
    if not names:
        return ""
    return f"{len(names)} {what} ({some(names)})"


def some(names: Iterable[str]) -> str:
    """Return the first names, separated by commas."""
    names = list(names)
    first = ", ".join(names[:NAMES_SHOWN])
    if len(names) > NAMES_SHOWN:
        return f"{first}, …"
    return first
