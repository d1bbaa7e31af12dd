"""Pictures that `python -m <package>.pack` has decoded. A batch reads only its own from the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..tools.pack.files import (
    IMAGES,
    INFO,
    LABELS,
    NAMES,
    MappedArray,
    MappedNames,
    check_array,
    read_info,
)
from ..utils.new_data import read_learned
from ..utils.project import UserError, project_root, shown
from .augment import OFF, Augmentation
from .in_memory import Batch, ImageTensors
from .pictures import NamedPictures, PictureDataModule


class PackedPictures(NamedPictures):
    """Decoded pictures in a file that is mapped into memory, and their labels.

    Args:
        images: The pictures of the whole set, uint8 of shape (N, C, H, W).
        labels: Their labels, int64 of shape (N,).
        names: The names of their files for predictions.csv. If None, they have none there.
    """

    def __init__(
        self, images: MappedArray, labels: Tensor, names: Sequence[str] | None = None
    ) -> None:
        # Positions instead of pictures, so that a split copies the positions alone
        super().__init__(torch.arange(len(labels)), labels, names)
        self.images = images
        self.held: ImageTensors | None = None  # the same on the training device

    def hold(self, device: torch.device) -> None:
        """Read all pictures of this set, and keep them on a device from now on."""
        images = torch.from_numpy(self.images.array[self.tensors[0].numpy()])
        self.held = ImageTensors(images.to(device), self.tensors[1].to(device))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""
        if self.held is not None:
            return self.held.__getitems__(indices)
        positions, labels = super().__getitems__(indices)
        return torch.from_numpy(self.images.array[positions.numpy()]), labels


class PackedDataModule(PictureDataModule):
    """Serves packed pictures as if they were in memory. Their sets, classes and size are those that were packed.

    Args:
        folder: The folder that `pack` has written, relative to the working directory. If None, it is `data/packed` in
            the project's root.
        mean: Mean of the pixels, from 0 to 1, for the normalisation. If None, that of the training pictures.
        std: Standard deviation of the pixels. If None, that of the training pictures.
        max_shift: Largest random shift in training, in pixels.
        flip: Mirror half of the images in training.
        augmentation: More random changes in training; see Augmentation.
        num_workers: Worker processes per loader; 0 is fastest.

    Raises:
        UserError: The folder is missing or damaged.
    """

    def __init__(
        self,
        folder: str | None = None,
        mean: float | None = None,
        std: float | None = None,
        max_shift: int = 0,
        flip: bool = False,
        augmentation: Augmentation = OFF,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        # `image_size` and `grey` stand here because they are no options of packed pictures.
        super().__init__(
            image_size=1,
            grey=False,
            max_shift=max_shift,
            flip=flip,
            augmentation=augmentation,
            num_workers=num_workers,
            **kwargs,
        )
        self.folder = project_root() / "data" / "packed"
        if folder:
            self.folder = Path(folder)
        self.sets: dict[str, int] = {}  # the number of pictures of each set
        self.sha256: dict[str, str] = {}  # of what the pictures were packed from
        if self.predict:  # the packed pictures need not be there
            known = read_learned(self.run)
        else:
            known = self._read_info()
        self.classes = known["classes"]
        self.num_classes = len(self.classes)
        self.input_shape = tuple(known["shape"])
        self.mean = known["mean"] if mean is None else mean
        self.std = known["std"] if std is None else std

    def _read_info(self) -> dict[str, Any]:
        """Return what the folder says of its pictures, and remember which sets there are, and their origin."""
        if not (self.folder / INFO).exists():
            package = __name__.partition(".")[0]
            advice = f"python -m {package}.pack makes such a folder from pictures"
            raise UserError(f"there is no {shown(self.folder / INFO)}: {advice}")
        info = read_info(self.folder)
        self.sets = info.sets
        self.sha256 = info.origin
        self.has_val = "val" in info.sets
        return vars(info)

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new pictures need of the packed ones."""
        return {
            "classes": self.classes,
            "shape": list(self.input_shape),
            "mean": self.mean,
            "std": self.std,
        }

    def part(self, name: str) -> PackedPictures:
        """Return the set `train`, `val` or `test`, in the order in which it was packed."""
        if name not in self.sets:
            raise UserError(f"{shown(self.folder)} has no pictures of {name}")
        folder = self.folder / name
        count = self.sets[name]
        images = MappedArray(folder / IMAGES)
        check_array(images, [count, *self.input_shape], "uint8")
        labels = MappedArray(folder / LABELS)
        check_array(labels, [count], "int64")
        names = None
        if (folder / NAMES).exists():
            names = MappedNames(folder / NAMES)
        return PackedPictures(images, torch.tensor(labels.array), names)

    def _on_training_device(self, data: Any) -> Any:
        """Keep a set on the training device if `on_device` is set."""
        if self.on_device and self.trainer and isinstance(data, PackedPictures):
            data.hold(self.trainer.strategy.root_device)
        return data
