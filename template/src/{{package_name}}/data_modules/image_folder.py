"""Your own pictures, in a folder per class."""

from pathlib import Path
from typing import Any

import torch

from ..engine.picture_files import files_in, names_and_sizes
from ..utils.new_data import read_learned
from ..utils.project import UserError, project_root, shown
from .pictures import PictureDataModule, Pictures


class ImageFolderDataModule(PictureDataModule):
    """Pictures in `train/<class>/` and `test/<class>/`, and in `val/<class>/` if there is such a folder.

    The classes are the folders' names, sorted: label 0 is the first one. Hidden files and folders are left out.

    Args:
        folder: The folder, relative to the working directory. If None, it is `data/pictures` in the project's root.

    Raises:
        UserError: A folder is missing or empty, or has a class that `train` does not have.
    """

    def __init__(self, folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = project_root() / "data" / "pictures"
        if folder:
            self.folder = Path(folder)
        if self.predict:  # the training pictures need not be there
            self.classes = read_learned(self.run)["classes"]
            self.num_classes = len(self.classes)
            return
        self.has_val = (self.folder / "val").is_dir()
        self.classes = self._classes("train")
        self.num_classes = len(self.classes)
        for name in ("val", "test"):
            if (self.folder / name).is_dir():
                self._check_classes(name)

    def learned(self) -> dict[str, Any]:
        """Return what predictions of new pictures need of the training pictures."""
        return {"classes": self.classes}

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
        positions = torch.arange(len(files))
        return Pictures(files.__getitem__, self.input_shape, positions, torch.tensor(labels), names)

    def _classes(self, name: str) -> list[str]:
        """Return the names of the folders in a set's folder."""
        folder = self.folder / name
        if not folder.is_dir():
            advice = "it needs a folder of pictures for every class"
            raise UserError(f"there is no {shown(folder)}: {advice}")
        found = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
        if not found:
            advice = "it needs one of pictures for every class"
            raise UserError(f"{shown(folder)} has no folders: {advice}")
        return found

    def _check_classes(self, name: str) -> None:
        """Raise UserError if a set has a class that the training set does not have."""
        for class_name in self._classes(name):
            if class_name not in self.classes:
                folder = self.folder / name / class_name
                raise UserError(f"{shown(folder)} is a class that train does not have")
