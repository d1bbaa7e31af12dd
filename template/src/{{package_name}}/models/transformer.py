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
            raise UserError(not_texts(f"samples of shape {tuple(input_shape)}"))
        # Imported here, because it takes seconds.
        from transformers import AutoConfig, AutoModelForSequenceClassification
        from transformers.utils import logging

        # Of what it prints, a line below says what matters: which weights are new.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            config = AutoConfig.from_pretrained(name, num_labels=num_classes)
            check_length(name, config, input_shape[0])
            if pretrained:
                self.model, found = AutoModelForSequenceClassification.from_pretrained(
                    name,
                    config=config,
                    dtype=torch.float32,  # of the weights, whatever the file has; the trainer's `precision` decides
                    ignore_mismatched_sizes=True,  # a head of another number of classes
                    output_loading_info=True,
                )
                say_what_is_new(name, found)
            else:
                self.model = AutoModelForSequenceClassification.from_config(
                    config, dtype=torch.float32
                )
        except (OSError, ValueError) as error:
            raise cannot_read(name, error) from error
        # `from_pretrained` returns it in evaluation mode, in which Lightning would train it without dropout.
        self.model.train()

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, float32 (N, num_classes).

        Args:
            inputs: `input_ids` and `attention_mask`, both int64 (N, length).
        """
        if not isinstance(inputs, Mapping):
            raise UserError(not_texts("tensors"))
        return self.model(**inputs).logits


def check_length(name: str, config: Any, length: int) -> None:
    """Raise UserError if a model does not take texts of so many tokens."""
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and 0 < longest < length:
        raise UserError(f"data.max_length is {length}, but {name} takes at most {longest} tokens")


def say_what_is_new(name: str, found: Mapping[str, Any]) -> None:
    """Print which weights the pretrained model does not have, so that they begin at random."""
    mismatched = [str(key) for key, *_ in found["mismatched_keys"]]
    new = sorted([*found["missing_keys"], *mismatched])
    rank_zero_info(f"Pretrained: {name}; new weights: {', '.join(new) or 'none'}")


def not_texts(what: str) -> str:
    return f"Transformer takes texts, not {what}: pass -c configs/data/text.yaml"


def cannot_read(name: str, error: Exception) -> UserError:
    """Return the error for a model that cannot be read, which has a reason of several lines."""
    if isinstance(error, UserError):
        return error
    reason = " ".join(str(error).split())
    return UserError(f"model.net.name is {name}, which cannot be read: {reason}")
