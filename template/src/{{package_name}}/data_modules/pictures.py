"""Base of the data modules whose pictures are decoded when a batch needs them."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import suggested_max_num_workers
from PIL import Image, ImageOps
from torch import Tensor

from ..utils.project import UserError, shown
from .augment import mirror, shift
from .in_memory import Batch, ImageTensors, InMemoryDataModule


class PictureError(UserError):
    """A file that is no picture. A worker's error is raised again with its traceback as text, which is cut off here."""

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition("PictureError: ")[2].strip())


class Pictures(ImageTensors):
    """Pictures in files, and their labels.

    Args:
        file: Returns the file, or its content, at a position. The workers get a copy of it, so it must be picklable.
        shape: Shape (C, H, W) of the images.
        positions: Positions of the pictures that belong to this set, int64 of shape (N,).
        labels: Labels, int64 of shape (N,).
        names: Names of all pictures for predictions.csv, by position; they have none there if None.
    """

    def __init__(
        self,
        file: Callable[[int], Path | BytesIO],
        shape: tuple[int, ...],
        positions: Tensor,
        labels: Tensor,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(positions, labels)
        self.file, self.shape, self.names = file, shape, names

    def sample_columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return what predictions.csv says of pictures: their files, if they have names, and their labels."""
        labels = super().sample_columns(positions)
        if self.names is None:
            return labels
        chosen = self.tensors[0][list(positions)].tolist()
        return {"file": [self.names[position] for position in chosen], **labels}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""
        positions, labels = self[indices]
        return torch.stack([self.read(position) for position in positions.tolist()]), labels

    def read(self, position: int) -> Tensor:
        """Return a picture as an image, uint8 of shape (C, H, W); raise PictureError if it cannot be read."""
        channels, height, width = self.shape
        file = self.file(position)
        try:
            with Image.open(file) as opened:
                opened.draft(
                    None, (2 * width, 2 * height)
                )  # a large JPEG is decoded at half its size or less
                picture = ImageOps.exif_transpose(opened)
                if picture.mode in ("I", "F"):
                    raise ValueError(
                        f"what is black and white in mode {picture.mode} is unknown: save 8 or 16 bits"
                    )
            if picture.mode.startswith("I;16"):
                picture = picture.point(
                    lambda value: value * (1 / 256)
                )  # Pillow would make all that is over 255 white
            if (
                picture.has_transparency_data
            ):  # on white, instead of colours that are not meant to be seen
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = ImageOps.fit(
                picture.convert("L" if channels == 1 else "RGB"), (width, height)
            )
        except (
            Exception
        ) as error:  # Pillow raises many kinds, SyntaxError among them, if a file is damaged
            name = shown(file) if isinstance(file, Path) else f"picture {position}"
            raise PictureError(f"{name} is no picture that can be read: {error}") from error
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        return pixels.view(height, width, channels).permute(2, 0, 1)


class PictureDataModule(InMemoryDataModule):
    """Serves pictures of any size, which the loaders' workers decode; on the device they are treated as all images.

    A subclass sets `num_classes` and `has_val`, and implements `part`. Transparent parts become white.

    Args:
        image_size: Height and width, in pixels, to which the largest square in a picture's middle is resized.
        grey: Whether the images are grey, of shape (1, H, W), instead of RGB, (3, H, W).
        max_shift: In training, shift each image by up to so many pixels in both directions.
        flip: Whether to mirror half of the images in training.
        num_workers: Worker processes per loader; if None, one less than there are cores, and 8 at most.
    """

    mean, std = 0.5, 0.25  # roughly those of photographs
    has_val: bool  # whether there is a set for validation; if not, `val_size` training pictures are held out

    def __init__(
        self,
        image_size: int = 64,
        grey: bool = False,
        max_shift: int = 0,
        flip: bool = False,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_workers=min(8, suggested_max_num_workers(1))
            if num_workers is None
            else num_workers,
            **kwargs,
        )
        self.input_shape = (1 if grey else 3, image_size, image_size)
        self.max_shift, self.flip = max_shift, flip

    @abstractmethod
    def part(self, name: str) -> Pictures:
        """Return the set `train`, `val` (if there is one) or `test`."""

    def load(self, train: bool) -> Pictures:
        """Return the training set, or the test set."""
        return self.part("train" if train else "test")

    def setup(self, stage: str) -> None:
        """Find the pictures that the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if self.has_val and self.fold:
            raise UserError(
                "fold is set, but there are pictures for validation: leave it out, or remove them"
            )
        if self.has_val and stage in ("fit", "validate"):
            self.train_set, self.val_set = self.part("train"), self.part("val")
        else:
            super().setup(stage)

    def augment(self, images: Tensor) -> Tensor:
        """Mirror half of the images if `flip` is set, and shift all."""
        return shift(mirror(images) if self.flip else images, self.max_shift)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder and its folders, sorted, but for hidden ones and those in hidden folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def names_and_sizes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the names and sizes of all files in a folder, which is quick, unlike that of the files."""
    files = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    text = "".join(f"{name} {files[name].stat().st_size}\n" for name in sorted(files))
    return {
        f"{folder.resolve().name}/ (names and sizes)": hashlib.sha256(text.encode()).hexdigest()
    }
