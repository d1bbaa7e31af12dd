"""The file of predictions."""

import csv
import heapq
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info

from ..utils.project import shown


class PredictionWriter(BasePredictionWriter):
    """Writes the tensors of `predict_step` to `predictions.csv`, a row for every sample, in the dataset's order.

    `id` is the sample's position. A tensor of shape (N,) is a column; one of shape (N, K) is K of them. If the data
    module has `classes`, their names, `class_name` says which the `class` is.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        directory = trainer.strategy.broadcast(self.directory)
        self.parts = [directory / f"predictions.part{rank}" for rank in range(trainer.world_size)]
        self.parts[trainer.global_rank].unlink(missing_ok=True)

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        prediction, ids = args[:2]
        if not isinstance(prediction, dict) or ids is None:
            return
        columns = {"id": ids}
        for name, values in prediction.items():
            parts = enumerate(values.T) if values.ndim == 2 else [("", values)]
            columns |= {f"{name}{i}": part.tolist() for i, part in parts}
            if name == "class" and hasattr(data := cast("Any", trainer).datamodule, "classes"):
                columns["class_name"] = [data.classes[i] for i in columns["class"]]
        with self.parts[trainer.global_rank].open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge what the processes wrote, each in order."""
        trainer.strategy.barrier()
        if not trainer.is_global_zero or not self.parts[0].exists():
            return
        path, whole = self.directory / "predictions.csv", self.directory / "predictions.part"
        with ExitStack() as stack, whole.open("w", encoding="utf-8") as file:
            parts = [
                stack.enter_context(part.open(encoding="utf-8"))
                for part in self.parts
                if part.exists()
            ]
            file.writelines({part.readline() for part in parts})  # all have the same header
            file.writelines(heapq.merge(*parts, key=lambda line: int(line.partition(",")[0])))
        whole.replace(path)
        for part in self.parts:
            part.unlink(missing_ok=True)
        rank_zero_info(f"Predictions: {shown(path)}")
