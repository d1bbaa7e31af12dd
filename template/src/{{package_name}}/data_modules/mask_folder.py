"""Your own pictures with masks: the class of each pixel, for segmentation."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import suggested_max_num_workers
from torch import Tensor

from ..engine.new_pictures import find_pictures
from ..engine.picture_files import files_in, names_and_sizes
from ..utils.limits import PositiveInt, Probability
from ..utils.project import UserError, project_root, shown
from .augment_masks import crop_both, mirror_both
from .in_memory import Batch, InMemoryDataModule
from .pictures_with_masks import (
    NewPicturesWithSizes,
    PicturesWithMasks,
    labels_of_numbers,
    read_picture,
)

MOST_WORKERS = 8


class MaskFolderDataModule(InMemoryDataModule):
    """Pictures in `train/images/` and `test/images/`, and in `val/images/` if there is such a folder.

    The mask of `train/images/a.jpg` is `train/masks/a.png`: a PNG file with a number for each pixel, grey or with a
    palette. Pictures and masks are resized to one size, and the loaders' workers decode them.

    Args:
        classes: Names of the classes; the first is usually the background.
        folder: The folder, relative to the working directory. If None, it is `data/masks` in the project's root.
        values: The number of each class in the masks. If None, they are 0, 1, 2 and so on.
        ignore_index: A number in the masks that marks pixels without a class. They count neither in the loss nor in
            the metrics.
        image_size: Height and width in pixels, to which pictures are resized.
        grey: Load grey images of shape (1, H, W) instead of RGB.
        crop: In training, a random window of at least this share of height and width is enlarged; 1 for none.
        flip: Mirror half of the pictures in training.
        num_workers: Worker processes per loader. If None, one less than the cores, at most 8.

    Raises:
        UserError: A folder, a picture or a mask is missing, or `values` do not fit `classes`.
    """

    # roughly those of photographs
    mean = 0.5
    std = 0.25

    def __init__(
        self,
        classes: list[str],
        folder: str | None = None,
        values: list[int] | None = None,
        ignore_index: int | None = None,
        image_size: tuple[PositiveInt, PositiveInt] = (128, 128),
        grey: bool = False,
        crop: Probability = 1.0,
        flip: bool = False,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        if num_workers is None:
            num_workers = min(MOST_WORKERS, suggested_max_num_workers(1))
        super().__init__(num_workers=num_workers, **kwargs)
        self.folder = project_root() / "data" / "masks"
        if folder:
            self.folder = Path(folder)
        self.classes = classes
        self.num_classes = len(classes)
        self.labels = labels_of_numbers(values or range(len(classes)), len(classes), ignore_index)
        channels = 1 if grey else 3
        self.input_shape = (channels, *image_size)
        self.crop = crop
        self.flip = flip
        self.has_val = (self.folder / "val").is_dir()
        if not self.predict:  # the training pictures need not be there
            # If the folder is missing, this raises UserError before the network is built.
            self._folder("train", "images")

    @property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of the names and sizes of all files in the folder."""
        return names_and_sizes(self.folder)

    def load(self, train: bool) -> PicturesWithMasks:
        """Return the training set, or the test set."""
        return self.part("train" if train else "test")

    def setup(self, stage: str) -> None:
        """Find the pictures that the stage, `fit`, `validate`, `test` or `predict`, needs."""
        if self.predict or not self.has_val or stage in ("test", "predict"):
            super().setup(stage)
            return
        if self.fold:
            advice = "leave it out, or remove them"
            raise UserError(f"fold is set, but there are pictures for validation: {advice}")
        self.train_set = self.part("train")
        self.val_set = self.part("val")

    def part(self, name: str) -> PicturesWithMasks:
        """Return the set `train`, `val` or `test`, sorted by the files' names."""
        pictures = self._files(name, "images")
        mask_of_stem = {path.stem: path for path in self._files(name, "masks")}
        masks = []
        for path in pictures:
            if path.stem not in mask_of_stem:
                folder = shown(self.folder / name / "masks")
                raise UserError(f"{shown(path)} has no mask: {folder}/{path.stem}.png is missing")
            masks.append(mask_of_stem[path.stem])
        names = [path.relative_to(self.folder).as_posix() for path in pictures]
        positions = torch.arange(len(pictures))
        return PicturesWithMasks(pictures, masks, names, self.input_shape, self.labels, positions)

    def new_samples(self, path: str) -> NewPicturesWithSizes:
        """Return the pictures in a folder to predict, or the one in a file."""
        files, names = find_pictures(Path(path))
        return NewPicturesWithSizes(
            files.__getitem__, {"file": names}, read_picture, self.input_shape, self.strict
        )

    def augment_batch(self, images: Tensor, labels: Tensor) -> Batch:
        """Mirror half of the images with their masks if `flip` is set, and enlarge a random window of both."""
        if self.flip:
            images, labels = mirror_both(images, labels)
        return crop_both(images, labels, self.crop)

    def _files(self, name: str, kind: str) -> list[Path]:
        """Return the files of the `images` or `masks` of a set. Raise UserError if there are none."""
        folder = self._folder(name, kind)
        files = files_in(folder)
        if not files:
            raise UserError(f"{shown(folder)} has no files in it")
        return files

    def _folder(self, name: str, kind: str) -> Path:
        """Return the folder of the `images` or `masks` of a set. Raise UserError if there is none."""
        folder = self.folder / name / kind
        if not folder.is_dir():
            needed = "train/images, train/masks, test/images and test/masks"
            raise UserError(f"there is no {shown(folder)}: {shown(self.folder)} needs {needed}")
        return folder
