"""The operators without which torchvision cannot be imported, apart from all else: the warm server imports this."""

from contextlib import suppress

from torch import library


def declare_operators() -> None:
    """Declare two operators of torchvision's compiled part, which fits the build of PyTorch for CUDA alone.

    What is written in Python, of torchvision as of timm, is the real one. No test runs an operator of the compiled
    part, and no network of timm needs one.
    """
    for name in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        with suppress(RuntimeError):  # it is declared already
            library.define(f"torchvision::{name}", schema)
