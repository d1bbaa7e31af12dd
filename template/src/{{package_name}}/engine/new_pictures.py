"""New pictures to predict, without labels. Read it if one is missing in predictions.csv, or is said to be damaged."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..utils.project import UserError, shown
from .picture_files import files_in, read_pixels
from .samples import values_at

File = Path | BytesIO
UNKNOWN = -1  # the label in a batch; predictions do not depend on it


class PictureError(UserError):
    """A file that is no picture.

    PyTorch raises a worker's error again with its traceback in the text. Only the message is kept here.
    """

    def __init__(self, text: str) -> None:
        message = text.rpartition("PictureError: ")[2]
        super().__init__(message.strip())


def picture_error(file: File, position: int, error: Exception) -> PictureError:
    """Return the error for a picture that cannot be read: with its file, or else its position."""
    name = f"picture {position}"
    if isinstance(file, Path):
        name = shown(file)
    return PictureError(f"{name} is no picture that can be read: {error}")


def read_picture(file: File, shape: tuple[int, ...]) -> Tensor:
    """Return a picture as an image, uint8 of a shape (C, H, W)."""
    return torch.from_numpy(read_pixels(file, shape))


class NewPictures(Dataset[tuple[Tensor, ...]]):
    """Pictures to predict. One that cannot be read becomes a black image, whose predictions are left empty.

    Args:
        file: Returns the file, or its content, at a position. The workers get a copy of it, so it must be picklable.
        columns: What predictions.csv says of the pictures, by the name of the column, with a value for each.
        read: Returns a file as an image, uint8 of shape (C, H, W). It must be picklable, too.
        shape: That shape.
        strict: Whether to raise PictureError for a picture that cannot be read.
    """

    def __init__(
        self,
        file: Callable[[int], File],
        columns: Mapping[str, Sequence[Any]],
        read: Callable[[File, tuple[int, ...]], Tensor],
        shape: tuple[int, ...],
        strict: bool,
    ) -> None:
        self.file = file
        self.columns = columns
        self.read = read
        self.shape = shape
        self.strict = strict
        size = len(next(iter(columns.values())))
        flags: Any = torch.zeros(size, dtype=torch.bool)
        # in shared memory, because the workers' processes write it and this process reads it
        self.is_unreadable: Tensor = flags.share_memory_()

    def __len__(self) -> int:
        return len(self.is_unreadable)

    def __getitems__(self, positions: Sequence[int]) -> tuple[Tensor, ...]:
        """Return a whole batch: images, uint8 of shape (N, C, H, W), and labels, of which none is known."""
        images = [self.image(position) for position in positions]
        return torch.stack(images), torch.full((len(images),), UNKNOWN)

    def image(self, position: int) -> Tensor:
        """Return the picture at a position, or a black image in its place."""
        # Pillow raises many kinds of errors if a file is damaged, SyntaxError among them
        try:
            return self.read(self.file(position), self.shape)
        except Exception as error:
            if self.strict:
                raise picture_error(self.file(position), position, error) from error
            self.is_unreadable[position] = True
            return torch.zeros(self.shape, dtype=torch.uint8)

    def sample_columns(self, positions: Sequence[int]) -> dict[str, list[Any]]:
        """Return the columns about pictures for predictions.csv. `problem` says why one cannot be read."""
        found = values_at(self.columns, positions)
        found["problem"] = [self.problem(position) for position in positions]
        return found

    def problem(self, position: int) -> str:
        """Return why a picture cannot be read; an empty text if it can."""
        if not self.is_unreadable[position]:
            return ""
        try:
            self.read(self.file(position), self.shape)
        except Exception as error:
            return " ".join(str(error).split()) or type(error).__name__
        return "it could not be read"  # but now it can, because somebody has changed it


def pictures_at(
    path: Path,
    read: Callable[[File, tuple[int, ...]], Tensor],
    shape: tuple[int, ...],
    strict: bool,
) -> NewPictures:
    """Return the pictures in a folder and its folders, or the one in a file.

    Raises:
        UserError: There is no such folder or file, or it is empty.
    """
    files, names = find_pictures(path)
    return NewPictures(files.__getitem__, {"file": names}, read, shape, strict)


def find_pictures(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files in a folder and its folders, or the one file, and their names for predictions.csv.

    Raises:
        UserError: There is no such folder or file, or it is empty.
    """
    if path.is_dir():
        files = files_in(path)
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files = [path]
        names = [path.name]
    if not path.exists():
        raise UserError(f"there is no {shown(path)}: name a folder of pictures, or a picture")
    if not files:
        raise UserError(f"{shown(path)} has no pictures in it")
    return files, names
