"""Writes predictions.csv. Read it if a row is missing, or the order is wrong."""

import csv
import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import IterableDataset

from ..utils.project import UserError, shown
from .prediction_columns import Columns, prediction_columns, samples_of, with_class_names
from .samples import known_of_samples, loaders_in, samples_in

# Leading columns of a part file: the number of the loader, and the sample's position in its dataset.
KEY = 2


class PredictionWriter(BasePredictionWriter):
    """Writes the output of `predict_step` to `predictions.csv`, one row per sample, in the dataset's order.

    `id` is the sample's position. A tensor of shape (N,) or a list becomes one column, a tensor of shape (N, K) K
    columns. If the data module has `classes`, the column `class_name` has the name of the `class`. Columns such as
    `file` and `label` come from the dataset's `sample_columns`.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory
        self.header: list[str] = []
        self.said: set[str] = set()
        self.seen: dict[int, int] = {}  # samples so far, for each loader that gives no positions

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        directory = trainer.strategy.broadcast(self.directory)
        self.parts = [directory / f"predictions.part{rank}" for rank in range(trainer.world_size)]
        self.part = self.parts[trainer.global_rank]
        self.part.unlink(missing_ok=True)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        loaders = loaders_in(trainer.predict_dataloaders)
        loader = loaders[dataloader_idx]
        is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
        if batch_indices and not is_stream:
            ids = list(batch_indices)
        else:
            count = samples_in(batch) or samples_of(prediction)
            ids = self.next_positions(trainer, dataloader_idx, count)
        predicted, left_out = prediction_columns(prediction, len(ids))
        for name, problem in left_out.items():
            self.say_left_out(name, problem)
        if not predicted:
            return

        columns: Columns = {"id": ids}
        if len(loaders) > 1:
            columns["loader"] = [dataloader_idx] * len(ids)
        columns |= prediction_columns(known_of_samples(loader, ids), len(ids))[0]
        columns |= predicted
        classes = getattr(cast("Any", trainer).datamodule, "classes", ())
        columns = with_class_names(columns, classes)
        self.append(columns, [dataloader_idx] * len(ids), ids)

    def next_positions(self, trainer: Trainer, loader: int, count: int) -> list[int]:
        """Return the positions of a batch's samples for a loader that does not give them.

        Each process counts its own samples. The processes take the samples in turn.
        """
        start = self.seen.get(loader, 0)
        self.seen[loader] = start + count
        return [i * trainer.world_size + trainer.global_rank for i in range(start, start + count)]

    def say_left_out(self, name: str, problem: str) -> None:
        """Print once for each value why it is left out."""
        if name in self.said:
            return
        self.said.add(name)
        rank_zero_info(
            f"predictions.csv leaves out {name}, which {problem}. "
            "Return a tensor of shape (N,) or (N, K), or a list with a value for each sample."
        )

    def append(self, columns: Columns, loaders: list[int], ids: list[int]) -> None:
        """Append the rows of a batch. Raise UserError if the columns differ from those of earlier batches."""
        header = list(columns)
        if self.header and header != self.header:
            changed = ", ".join(sorted({*header} ^ {*self.header})) or "their order"
            raise UserError(
                "predict_step has to return the same values in every batch, "
                f"but these are in some alone: {changed}"
            )
        with self.part.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not self.header:
                writer.writerow(["loader", "position", *header])
                self.header = header
            writer.writerows(zip(loaders, ids, *columns.values(), strict=True))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the sorted part files of all processes into predictions.csv."""
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        path = self.directory / "predictions.csv"
        if not any(part.exists() for part in self.parts):
            rank_zero_info(f"predict_step has returned no rows: {shown(path)} is not written")
            return
        whole = self.directory / "predictions.part"
        with ExitStack() as stack, whole.open("w", newline="", encoding="utf-8") as file:
            parts = [stack.enter_context(rows_of(part)) for part in self.parts if part.exists()]
            writer = csv.writer(file)
            headers = [next(rows) for rows in parts]
            writer.writerow(headers[0][KEY:])
            merged = heapq.merge(*parts, key=lambda row: (int(row[0]), int(row[1])))
            writer.writerows(row[KEY:] for row in merged)
        whole.replace(path)
        for part in self.parts:
            part.unlink(missing_ok=True)
        rank_zero_info(f"Predictions: {shown(path)}")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the incomplete part file."""
        if trainer.predicting:
            self.part.unlink(missing_ok=True)


@contextmanager
def rows_of(path: Path) -> Iterator[Iterator[list[str]]]:
    """Open a CSV file, and yield an iterator over its rows."""
    with path.open(newline="", encoding="utf-8") as file:
        yield csv.reader(file)
