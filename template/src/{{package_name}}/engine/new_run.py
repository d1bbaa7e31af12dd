"""Tells the parts of a model that a new run begins. Read it if a network does not know the data of its run."""

from typing import Any

from lightning.pytorch import LightningModule


def announce_new_run(model: LightningModule, data: Any) -> None:
    """Call `on_new_run(data)` of the model and of each part of it that has this method.

    It is called once, before the training. What it changes has to be in the checkpoint, because a run that continues,
    is tested or is exported does not call it.

    Args:
        model: The model, with the weights of `--init_from` if there are some.
        data: The data module.
    """
    for part in model.modules():
        on_new_run = getattr(part, "on_new_run", None)
        if callable(on_new_run):
            on_new_run(data)
