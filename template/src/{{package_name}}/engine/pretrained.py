"""Keeps a network from reading its pretrained weights where a checkpoint has its weights.

Read this when a command reads, or downloads, weights that it does not need.
"""

from typing import Any

from lightning.pytorch import LightningModule


def arguments_of_network(model: Any) -> Any:
    """Return the arguments of a module's network, `net`; an empty dictionary without one.

    Args:
        model: The module's block of a configuration, or None.
    """
    arguments = (model and model.get("init_args")) or {}
    net: Any = arguments.get("net")
    if not hasattr(net, "get"):  # a module of the user's own may have something else of this name
        return {}
    return net.get("init_args") or {}


def read_no_pretrained_weights(model: Any) -> None:
    """Set the network's argument `pretrained` to false, if it has one, because a checkpoint has the weights.

    Args:
        model: The module's block of a configuration, or None.
    """
    arguments = arguments_of_network(model)
    if "pretrained" in arguments:
        arguments["pretrained"] = False


def keep_without_pretrained(model: LightningModule) -> None:
    """Change the hyperparameters in a module's checkpoints, so that `load_from_checkpoint` reads no other weights."""
    read_no_pretrained_weights({"init_args": model.hparams})
