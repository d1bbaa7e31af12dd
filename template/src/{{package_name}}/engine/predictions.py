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
from .new_data import NewData, predictions_folder, remove_unused_folder
from .prediction_columns import (
    Columns,
    by_name,
    prediction_columns,
    samples_of,
    with_class_names,
    without_problems,
)
from .prediction_files import PredictionFiles, is_of_arrays, picture_sizes
from .samples import known_of_samples, loaders_in, samples_in

# Leading columns of a part file: the number of the loader, and the sample's position in its dataset.
KEY = 2
# A file's name may hold bytes that are no UTF-8. They are spelt out.
TEXT: Any = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}


class PredictionWriter(BasePredictionWriter):
    """Writes the output of `predict_step` to `predictions.csv`, one row per sample, in the dataset's order.

    `id` is the sample's position. A tensor of shape (N,) or a list becomes one column, a tensor of shape (N, K) K
    columns. If the data module has `classes`, the column `class_name` has the name of the `class`. Columns such as
    `file` and `label` come from the dataset's `sample_columns`. Of a sample with a `problem`, nothing is predicted.

    Args:
        directory: The run's directory.
        new_data: New data, whose predictions get a folder of their own; None for the test set.
    """

    def __init__(self, directory: Path, new_data: NewData | None = None) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory
        self.new_data = new_data
        self.parts: list[Path] = []
        self.header: list[str] = []
        self.has_problems = False  # whether the column `problem` is about the samples
        self.said: set[str] = set()
        self.seen: dict[int, int] = {}  # samples so far, for each loader that gives no positions

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = self.directory
        if trainer.is_global_zero:
            if self.new_data:
                folder = predictions_folder(folder, self.new_data)
            folder.mkdir(parents=True, exist_ok=True)
            PredictionFiles(folder).remove()  # those of a killed process
        self.folder = trainer.strategy.broadcast(folder)
        self.files = PredictionFiles(self.folder)
        self.parts = [self.folder / f"predictions.part{rank}" for rank in range(trainer.world_size)]
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
        columns: Columns = {"id": ids}
        if len(loaders) > 1:
            columns["loader"] = [dataloader_idx] * len(ids)
        columns |= prediction_columns(known_of_samples(loader, ids), len(ids))[0]
        predicted = self.predicted_columns(prediction, columns)
        if not predicted:
            return
        self.has_problems = "problem" in columns and "problem" not in predicted
        columns |= predicted
        classes = getattr(cast("Any", trainer).datamodule, "classes", ())
        columns = with_class_names(columns, classes)
        self.append(columns, [dataloader_idx] * len(ids), ids)

    def predicted_columns(self, prediction: Any, known: Columns) -> Columns:
        """Return the columns of a prediction, and write its masks and images.

        Args:
            prediction: The output of `predict_step`.
            known: The columns about its samples.
        """
        count = len(known["id"])
        values = by_name(prediction)
        arrays = {name: value for name, value in values.items() if is_of_arrays(value)}
        others = {name: value for name, value in values.items() if name not in arrays}
        predicted, left_out = prediction_columns(others, count)
        problems = known.get("problem", [""] * count)
        if any(problems):
            predicted = without_problems(predicted, problems)
        for name, value in arrays.items():
            if len(value) == count:
                stems = file_stems(known, problems)
                sizes = picture_sizes(known, count)
                predicted[name] = self.files.write(name, value, stems, sizes)
            else:
                left_out[name] = f"has {len(value)} values for {count} samples"
        for name, problem in left_out.items():
            self.say_left_out(name, problem)
        return predicted

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
        with self.part.open("a", **TEXT) as file:
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
        path = self.folder / "predictions.csv"
        if not any(part.exists() for part in self.parts):
            rank_zero_info(f"predict_step has returned no rows: {shown(path)} is not written")
            if self.new_data:
                remove_unused_folder(self.folder)
            return
        whole = self.folder / "predictions.part"
        problems = self.merge(whole)
        self.files.replace()
        whole.replace(path)
        for part in self.parts:
            part.unlink(missing_ok=True)
        if problems:
            rank_zero_info(problems)
        rank_zero_info(f"Predictions: {shown(path)}")

    def merge(self, path: Path) -> str:
        """Write the rows of all part files to a file. Return a line about samples without a prediction, if any."""
        with ExitStack() as stack, path.open("w", **TEXT) as file:
            parts = [stack.enter_context(rows_of(part)) for part in self.parts if part.exists()]
            writer = csv.writer(file)
            headers = [next(rows) for rows in parts]
            header = headers[0][KEY:]
            problems = Problems(header if self.has_problems else [])
            writer.writerow(header)
            for row in heapq.merge(*parts, key=lambda row: (int(row[0]), int(row[1]))):
                problems.count(row[KEY:])
                writer.writerow(row[KEY:])
        return problems.line()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the incomplete files."""
        if trainer.predicting and self.parts:  # else it has not begun to write
            self.part.unlink(missing_ok=True)
            self.files.remove()
            if self.new_data:
                remove_unused_folder(self.folder)


class Problems:
    """Counts the samples without a prediction. The column `problem` says why.

    Args:
        header: The columns' names.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self.header = header
        self.samples = 0
        self.found = 0
        self.first: dict[str, str] = {}
        self.column = header.index("problem") if "problem" in header else None

    def count(self, row: Sequence[str]) -> None:
        """Count a row."""
        self.samples += 1
        if self.column is None or not row[self.column]:
            return
        self.found += 1
        if not self.first:
            self.first = dict(zip(self.header, row, strict=True))

    def line(self) -> str:
        """Return how many there are, and the first one with its problem; an empty text if there is none."""
        if not self.found:
            return ""
        name = self.first["id"]
        for column in ("row", "file"):
            if column in self.first:
                name = self.first[column]
        which = "" if self.found == 1 else "The first is "
        return (
            f"{self.found} of {self.samples} samples have no prediction, and `problem` says why. "
            f"{which}{name}: {self.first['problem']}"
        )


def file_stems(known: Columns, problems: Sequence[str]) -> list[str]:
    """Return the names of the samples' files, without a suffix; empty for those with a problem."""
    ids = [str(number) for number in known["id"]]
    if "loader" in known:
        pairs = zip(known["loader"], ids, strict=True)
        ids = [f"{loader}-{number}" for loader, number in pairs]
    return ["" if problem else name for name, problem in zip(ids, problems, strict=True)]


@contextmanager
def rows_of(path: Path) -> Iterator[Iterator[list[str]]]:
    """Open a CSV file, and yield an iterator over its rows."""
    with path.open(**TEXT) as file:
        yield csv.reader(file)
