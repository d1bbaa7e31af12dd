"""Fashion-MNIST: 70,000 pictures of clothes, 28x28 pixels, in MNIST's file format (Xiao, Rasul and Vollgraf, 2017)."""

from collections.abc import Sequence
from typing import Any

from .mnist import MNISTDataModule

MIRRORS = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


class FashionMNISTDataModule(MNISTDataModule):
    """As MNIST, with the four files in `fashion_mnist/` in the data folder.

    Args:
        data_dir: The data folder, relative to the working directory; `data` in the project's root if None.
        mirrors: Base URLs to download from, tried in this order.
    """

    mean, std = 0.2860, 0.3530
    name, sha256 = "fashion_mnist", SHA256

    def __init__(self, data_dir: str | None = None, mirrors: Sequence[str] = MIRRORS, **kwargs: Any) -> None:
        super().__init__(data_dir, mirrors, **kwargs)
