"""Writes checkpoint files atomically. Read it if a checkpoint is damaged, or is written to another place."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_info

from .plain_values import foreign_values, with_plain_values


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: to a temporary file beside the target, which is then renamed.

    Lightning writes to the system's temporary folder first, and fails if that is full. If the run is on another file
    system, it then copies, and a killed process leaves half a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        checkpoint = with_plain_values(checkpoint)
        self.say_foreign_values(checkpoint)
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
            part.replace(path)
        except BaseException as error:
            part.unlink(missing_ok=True)
            # torch hides "No space left on device" behind its own error.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def say_foreign_values(self, checkpoint: dict[str, Any]) -> None:
        """Warn once about each value that `weights_only=True` refuses to load."""
        for key, kind in foreign_values(checkpoint):
            if key not in self.said:
                rank_zero_info(
                    f"The checkpoints hold {key}, which is of type {kind}: they load with --weights_only false alone. "
                    "Keep plain values in it, such as numbers, texts and lists"
                )
                self.said.add(key)
