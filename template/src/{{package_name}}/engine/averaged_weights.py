"""Weight averaging belongs to training. An evaluation measures the weights that the checkpoint names."""

from collections.abc import Sequence

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import WeightAveraging


def without_averaging(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks without those that average weights.

    A checkpoint of WeightAveraging (EMA) holds the averaged weights as its `state_dict`. After a fit, the callback
    would load the weights of the last step in their place. The test would measure other weights than it names.
    """
    return [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
