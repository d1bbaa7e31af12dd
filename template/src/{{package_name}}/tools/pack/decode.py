"""Decodes all pictures of a set in worker processes, and writes them to a file in the order of the set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...utils.project import UserError
from .files import IMAGES, LABELS, LEVELS, NAMES, write_names

BATCH = 32  # pictures that a worker decodes at a time
NAMED = 5  # pictures that are named if several cannot be read

Problem = tuple[int, str]  # the position of a picture, and why it cannot be read


class DecodedPictures(Dataset[tuple[Tensor, ...]]):
    """The pictures of a set, decoded. One that cannot be read is black, and its problem is kept.

    Args:
        pictures: The set, as a data module's `part` returns it.
        shape: Shape (C, H, W) of the images.
    """

    def __init__(self, pictures: Any, shape: Sequence[int]) -> None:
        self.pictures = pictures
        self.shape = tuple(shape)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitems__(self, positions: Sequence[int]) -> tuple[Tensor, list[Problem]]:
        """Return images, uint8 of shape (N, C, H, W), and the problems."""
        images = torch.zeros(len(positions), *self.shape, dtype=torch.uint8)
        problems = []
        for row, position in enumerate(positions):
            try:
                images[row] = self.image(position)
            except UserError as error:
                problems.append((position, str(error)))
        return images, problems

    def image(self, position: int) -> Tensor:
        """Return a picture as an image, uint8 (C, H, W). Raise UserError if it cannot be read."""
        image: Tensor = self.pictures.__getitems__([position])[0][0]
        if image.dtype != torch.uint8 or tuple(image.shape) != self.shape:
            found = f"{image.dtype} {tuple(image.shape)}"
            raise UserError(f"picture {position} is {found}, but must be uint8 {self.shape}")
        return image


class Decoder:
    """Writes decoded sets, and counts the values of the training pixels.

    Args:
        data: The data module, whose `num_workers` processes decode.
    """

    def __init__(self, data: Any) -> None:
        self.shape = tuple(data.input_shape)
        self.num_workers = data.num_workers
        # The number of training pixels of each value
        self.levels = np.zeros(LEVELS, dtype=np.int64)
        self.unreadable: list[str] = []  # names of pictures
        self.first_problem = ""

    def decode(self, name: str, pictures: Any, folder: Path) -> None:
        """Write the files of a set into a folder, and show the progress in a terminal."""
        loader = DataLoader(
            DecodedPictures(pictures, self.shape),
            batch_size=BATCH,
            num_workers=self.num_workers,
            collate_fn=tuple,  # because the dataset returns whole batches
        )
        count = len(pictures)
        # `disable=None` is tqdm's way to show nothing outside of a terminal.
        progress = tqdm(total=count, desc=name, unit=" pictures", leave=False, disable=None)
        # Written as a stream, because a full disk would kill a process that writes to a mapped file.
        with (folder / IMAGES).open("wb") as file, progress:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for images, problems in loader:
                file.write(images.numpy().tobytes())
                self.note(name, pictures, problems)
                if name == "train":
                    self.levels += np.bincount(images.numpy().ravel(), minlength=LEVELS)
                progress.update(len(images))

        np.save(folder / LABELS, pictures.tensors[1].numpy())
        columns = pictures.sample_columns(range(count))
        if "file" in columns:
            write_names(folder / NAMES, columns["file"])

    def note(self, name: str, pictures: Any, problems: Sequence[Problem]) -> None:
        """Keep the names of pictures that cannot be read."""
        for position, problem in problems:
            columns = pictures.sample_columns([position])
            (file,) = columns.get("file", [f"picture {position} of {name}"])
            self.unreadable.append(file)
            self.first_problem = self.first_problem or problem

    def check_all_are_read(self) -> None:
        """Raise UserError if some pictures could not be read."""
        if not self.unreadable:
            return
        others = self.unreadable[1:]
        if not others:
            raise UserError(self.first_problem)
        named = ", ".join(others[:NAMED])
        if len(others) > NAMED:
            named = f"{named}, …"
        raise UserError(f"{self.first_problem}. Nor are {len(others)} others: {named}")

    def mean_and_std(self) -> tuple[float, float]:
        """Return the mean and the standard deviation of the training pixels, from 0 to 1."""
        values = np.arange(LEVELS) / (LEVELS - 1)
        shares = self.levels / self.levels.sum()
        mean = float((shares * values).sum())
        variance = float((shares * (values - mean) ** 2).sum())
        return mean, variance**0.5
