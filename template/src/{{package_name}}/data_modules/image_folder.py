"""Your own pictures, in a folder per class."""

from pathlib import Path
from typing import Any

import torch

from ..utils.project import UserError, project_root, shown
from .pictures import PictureDataModule, Pictures, files_in, names_and_sizes


class ImageFolderDataModule(PictureDataModule):
    """Pictures in `train/<class>/` and `test/<class>/`, and in `val/<class>/` if there is such a folder.

    The classes are the folders' names, sorted: label 0 is the first one. Hidden files and folders are left out.
    UserError is raised if a folder is missing or empty, or if there is a class that `train` has not.

    Args:
        folder: The folder, relative to the working directory; `data/pictures` in the project's root if None.
    """

    def __init__(self, folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder) if folder else project_root() / "data" / "pictures"
        self.has_val = (self.folder / "val").is_dir()
        self.classes = self._classes("train")
        self.num_classes = len(self.classes)
        for name in ("val", "test"):
            if (self.folder / name).is_dir() and (
                unknown := set(self._classes(name)) - set(self.classes)
            ):
                raise UserError(
                    f"{shown(self.folder / name / min(unknown))} is of a class that train has not"
                )

    @property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of the names and sizes of all files in the folder."""
        return names_and_sizes(self.folder)

    def part(self, name: str) -> Pictures:
        """Return the set `train`, `val` or `test`, class by class, each sorted by the files' names."""
        files: list[Path] = []
        labels: list[int] = []
        for class_name in self._classes(name):
            folder = self.folder / name / class_name
            found = files_in(folder)
            if not found:
                raise UserError(f"{shown(folder)} has no pictures in it")
            files += found
            labels += [self.classes.index(class_name)] * len(found)
        names = [path.relative_to(self.folder).as_posix() for path in files]
        return Pictures(
            files.__getitem__,
            self.input_shape,
            torch.arange(len(files)),
            torch.tensor(labels),
            names,
        )

    def _classes(self, name: str) -> list[str]:
        folder = self.folder / name
        if not folder.is_dir():
            raise UserError(
                f"there is no {shown(folder)}: it is to have a folder of pictures for every class"
            )
        found = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
        if not found:
            raise UserError(
                f"{shown(folder)} has no folders in it: it is to have one of pictures for every class"
            )
        return found
