"""Transformer: a pretrained network for texts, of the library `transformers`, with a head for the classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from ..utils.project import UserError


class Transformer(nn.Module):
    """Maps texts, as numbers of tokens, to logits (N, num_classes).

    It is any network that AutoModelForSequenceClassification of `transformers` knows, such as BERT (Devlin et al.,
    2019). Its head is the usual one for the kind of network, with new weights.

    Args:
        num_classes: Number of classes.
        input_shape: Shape (L,) of a text, whose length is at most L tokens.
        name: Name of a model on the Hugging Face Hub, or a folder that `save_pretrained` has written.
        pretrained: Whether to start from its weights; otherwise from random ones, of the same network.

    Raises:
        UserError: There is no such model, it cannot classify texts, or L is more than it takes.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        name: str = "distilbert/distilbert-base-uncased",
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if len(input_shape) != 1:
            raise not_texts(f"samples of shape {tuple(input_shape)}")
        hide_messages()
        config = read_config(name, num_classes)
        check_length(name, config, input_shape[0])
        if pretrained:
            self.model = read_pretrained(name, config)
        else:
            self.model = with_random_weights(name, config)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, float32 (N, num_classes).

        Args:
            inputs: `input_ids` and `attention_mask`, both int64 (N, length).
        """
        if not isinstance(inputs, Mapping):
            raise not_texts("tensors")
        return self.model(**inputs).logits


# `transformers` is imported in the functions that need it, because its import takes seconds.


def hide_messages() -> None:
    """Hide what `transformers` prints, such as a table of all weights. `say_what_is_new` prints what matters of it."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def read_config(name: str, num_classes: int) -> Any:
    """Return the configuration of a model, with a head of this many classes. Raise UserError if it cannot be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, num_labels=num_classes)
    except (OSError, ValueError) as error:
        raise cannot_read(name, error) from error


def read_pretrained(name: str, config: Any) -> Any:
    """Return a model with its pretrained weights, and print which of its weights are new.

    Raises:
        UserError: Its weights cannot be read, or it cannot classify texts.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,  # whatever the file has, because the trainer's `precision` decides
            ignore_mismatched_sizes=True,  # the file may have a head of another number of classes
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise cannot_read(name, error) from error
    say_what_is_new(name, found)
    # It comes in evaluation mode, in which Lightning would train it without dropout.
    return model.train()


def with_random_weights(name: str, config: Any) -> Any:
    """Return a model with random weights. Raise UserError if it cannot classify texts."""
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise cannot_read(name, error) from error


def check_length(name: str, config: Any, length: int) -> None:
    """Raise UserError if a model does not take texts of so many tokens."""
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and 0 < longest < length:
        raise UserError(f"data.max_length is {length}, but {name} takes at most {longest} tokens")


def say_what_is_new(name: str, found: Mapping[str, Any]) -> None:
    """Print which weights the pretrained model lacks, or has in another shape. They begin at random.

    Args:
        name: Name of the model.
        found: What `from_pretrained` says of the weights.
    """
    new = set(found["missing_keys"])
    # The other two are the shape in the file, and the one that is needed.
    for key, _, _ in found["mismatched_keys"]:
        new.add(key)
    rank_zero_info(f"Pretrained: {name}; new weights: {', '.join(sorted(new)) or 'none'}")


def not_texts(found: str) -> UserError:
    """Return the error for data that are no texts."""
    return UserError(f"Transformer takes texts, not {found}: pass -c configs/data/text.yaml")


def cannot_read(name: str, error: Exception) -> UserError:
    """Return the error for a model that cannot be read. The library's reason has several lines, which become one."""
    reason = " ".join(str(error).split())
    return UserError(f"model.net.name is {name}, which cannot be read: {reason}")
