"""Base of the data modules whose pictures are decoded when a batch needs them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import suggested_max_num_workers
from torch import Tensor

from ..engine.new_pictures import NewPictures, picture_error, pictures_at
from ..engine.picture_files import read_pixels
from ..utils.limits import PositiveInt
from ..utils.project import UserError
from .augment import OFF, Augmentation, mirror, shift
from .in_memory import Batch, ImageTensors, InMemoryDataModule

MOST_WORKERS = 8


class NamedPictures(ImageTensors):
    """Positions of pictures that are read when a batch needs them, and their labels. A subclass reads them.

    Args:
        positions: Positions of the pictures that belong to this set, int64 of shape (N,).
        labels: Labels, int64 of shape (N,).
        names: Names of all pictures for predictions.csv, by position. If None, they have none there.
    """

    def __init__(
        self, positions: Tensor, labels: Tensor, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(positions, labels)
        self.names = names

    def sample_columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return what predictions.csv says of pictures: their files, if they have names, and their labels."""
        labels = super().sample_columns(positions)
        if self.names is None:
            return labels
        chosen = self.tensors[0][list(positions)].tolist()
        return {"file": [self.names[position] for position in chosen], **labels}


class Pictures(NamedPictures):
    """Pictures in files, and their labels.

    Args:
        file: Returns the file, or its content, at a position. The workers get a copy of it, so it must be picklable.
        shape: Shape (C, H, W) of the images.
        positions: Positions of the pictures that belong to this set, int64 of shape (N,).
        labels: Labels, int64 of shape (N,).
        names: Names of all pictures for predictions.csv, by position. If None, they have none there.
    """

    def __init__(
        self,
        file: Callable[[int], Path | BytesIO],
        shape: tuple[int, ...],
        positions: Tensor,
        labels: Tensor,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(positions, labels, names)
        self.file = file
        self.shape = shape

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""
        positions, labels = self[indices]
        images = [
            read_or_name(self.file(position), position, self.shape)
            for position in positions.tolist()
        ]
        return torch.stack(images), labels


class PictureDataModule(InMemoryDataModule):
    """Serves pictures of any size. The loaders' workers decode them; on the device they are treated as all images.

    A subclass sets `num_classes` and `has_val`, and implements `part`. Transparent parts become white.

    Args:
        image_size: Height and width in pixels; the largest central square is resized.
        grey: Load grey images of shape (1, H, W) instead of RGB.
        max_shift: Largest random shift in training, in pixels.
        flip: Mirror half of the images in training.
        augmentation: More random changes in training; see Augmentation.
        num_workers: Worker processes per loader. If None, one less than the cores, at most 8.
    """

    # roughly those of photographs
    mean = 0.5
    std = 0.25
    has_val: bool  # whether there is a set for validation; if not, `val_size` training pictures are held out

    def __init__(
        self,
        image_size: PositiveInt = 64,
        grey: bool = False,
        max_shift: int = 0,
        flip: bool = False,
        augmentation: Augmentation = OFF,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        if num_workers is None:
            num_workers = min(MOST_WORKERS, suggested_max_num_workers(1))
        super().__init__(num_workers=num_workers, **kwargs)
        channels = 1 if grey else 3
        self.input_shape = (channels, image_size, image_size)
        self.max_shift = max_shift
        self.flip = flip
        self.augmentation = augmentation

    @abstractmethod
    def part(self, name: str) -> ImageTensors:
        """Return the set `train`, `val` (if there is one) or `test`."""

    def load(self, train: bool) -> ImageTensors:
        """Return the training set, or the test set."""
        return self.part("train" if train else "test")

    def new_samples(self, path: str) -> NewPictures:
        """Return the pictures in a folder to predict, or the one in a file."""
        return pictures_at(Path(path), read_picture, self.input_shape, self.strict)

    def setup(self, stage: str) -> None:
        """Find the pictures that the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if self.predict:  # `predict_dataloader` finds them
            return
        if self.has_val and self.fold:
            advice = "leave it out, or remove them"
            raise UserError(f"fold is set, but there are pictures for validation: {advice}")
        if self.has_val and stage in ("fit", "validate"):
            self.train_set = self.part("train")
            self.val_set = self.part("val")
        else:
            super().setup(stage)

    def augment(self, images: Tensor) -> Tensor:
        """Mirror half of the images if `flip` is set, shift all, and change them as `augmentation` says."""
        if self.flip:
            images = mirror(images)
        return self.augmentation.change(shift(images, self.max_shift))

    def augment_batch(self, images: Tensor, labels: Tensor) -> Batch:
        """Augment the images, and mix them and their labels if `augmentation` says so."""
        return self.augmentation.mix(self.augment(images), labels, self.num_classes)


def read_or_name(file: Path | BytesIO, position: int, shape: tuple[int, ...]) -> Tensor:
    """Return a picture as an image, uint8 of shape (C, H, W); raise PictureError if it cannot be read.

    Args:
        file: The file, or its content.
        position: Position of the picture in the data, for the message.
        shape: That shape.
    """
    try:
        return read_picture(file, shape)
    # Pillow raises many kinds of errors if a file is damaged, SyntaxError among them
    except Exception as error:
        raise picture_error(file, position, error) from error


def read_picture(file: Path | BytesIO, shape: tuple[int, ...]) -> Tensor:
    """Return a picture as an image, uint8 of a shape (C, H, W). Change it to read pictures differently."""
    return torch.from_numpy(read_pixels(file, shape))
