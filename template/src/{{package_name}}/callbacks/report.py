"""The report of a test: confusion matrix, metrics of each class, and the most wrong samples."""

import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..engine.random_states import gathered
from ..engine.samples import known_of_samples, loaders_in
from ..tools.report.mistakes import Wrong, most_wrong, wrong_in_batch
from ..tools.report.tables import Rows, class_rows, confusion, confusion_rows, wrong_rows
from ..utils.project import shown, write


class BaseReport(Callback, ABC):
    """Collects the batches of a test in all processes, and writes `report/` in the run's directory.

    A subclass says for which batches there is a report, and what is in it. Other modules get none. Of several test
    sets, the report is about the first one. The loggers get the pictures.
    """

    # Name of the picture of the worst samples, which not every test has
    picture_of_worst: str

    active = False
    seen = 0  # samples so far in this process
    data: Any = None
    # Counts by true class (row) and predicted class (column), int64 (K, K)
    matrix: Tensor | None = None
    worst: Sequence[Any] = ()

    @abstractmethod
    def fits(self, prediction: Any, batch: Any) -> bool:
        """Return whether a batch and its prediction are what the report is made of."""

    @abstractmethod
    def part_of_batch(self, prediction: Any, batch: Any, ids: Tensor) -> tuple[Tensor, list[Any]]:
        """Return the confusion matrix of a batch, int64 (K, K), and its worst samples.

        Args:
            prediction: What `predict_step` has returned.
            batch: The batch.
            ids: Positions of its samples in the test set, int64 (N,).
        """

    @abstractmethod
    def worst_of(self, samples: Sequence[Any]) -> list[Any]:
        """Return the samples that are in the report, the worst first."""

    @abstractmethod
    def pictures(
        self, matrix: Tensor, worst: Sequence[Any], names: Sequence[str]
    ) -> dict[str, Any]:
        """Return Pillow's pictures by their names. The classes have the given names."""

    @abstractmethod
    def tables(
        self, matrix: Tensor, worst: Sequence[Any], names: Sequence[str], known: dict[str, Any]
    ) -> dict[str, Rows]:
        """Return the tables by their names.

        Args:
            matrix: The confusion matrix, int64 (K, K).
            worst: The worst samples.
            names: Names of the classes.
            known: The dataset's columns about the worst samples, such as their files.
        """

    def on_test_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Reset the state of an earlier test."""
        # Lightning's default predict_step returns logits, or fails.
        has_own_step = type(pl_module).predict_step is not LightningModule.predict_step
        self.active = has_own_step and not trainer.fast_dev_run
        self.data = getattr(trainer, "datamodule", None)
        self.seen = 0
        self.matrix = None
        self.worst = ()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        """Count the batch, and keep its samples that are among the worst so far."""
        if not self.active or loader:
            return
        with trainer.precision_plugin.predict_step_context():
            prediction = pl_module.predict_step(batch, batch_idx)
        self.active = self.fits(prediction, batch)
        if not self.active:
            return

        size = len(batch[1])
        # The samplers distribute the samples to the processes in turn.
        numbers = self.seen + torch.arange(size)
        ids = numbers * trainer.world_size + trainer.global_rank
        matrix, worst = self.part_of_batch(prediction, batch, ids)
        self.matrix = matrix if self.matrix is None else self.matrix + matrix
        self.worst = self.worst_of([*self.worst, *worst])
        self.seen += size

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of all processes, and pass the pictures to the loggers."""
        parts = gathered((self.matrix, self.worst), trainer)
        matrices = [matrix for matrix, _ in parts if matrix is not None]
        if not matrices or not trainer.is_global_zero:
            return
        matrix = torch.stack(matrices).sum(dim=0)
        samples: list[Any] = []
        for _, worst_of_process in parts:
            samples += worst_of_process
        worst = self.worst_of(samples)
        names = class_names(self.data, len(matrix))

        directory = report_directory(trainer)
        directory.mkdir(parents=True, exist_ok=True)
        # Remove the picture of an earlier test, because this test may have none.
        (directory / f"{self.picture_of_worst}.png").unlink(missing_ok=True)
        for name, picture in self.pictures(matrix, worst, names).items():
            path = directory / f"{name}.png"
            save_picture(picture, path)
            for logger in trainer.loggers:
                log(logger, f"test/{name}", path, picture, trainer.global_step)

        known = known_columns(trainer, [sample.id for sample in worst])
        for name, rows in self.tables(matrix, worst, names, known).items():
            write_table(rows, directory / f"{name}.csv")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the path of the report, below the progress bar and the metrics."""
        if stage == "test" and self.matrix is not None:
            rank_zero_info(f"Report: {shown(report_directory(trainer))}")


class Report(BaseReport):
    """The report of a classification: confusion matrix, a table of the classes, and the most wrong samples.

    `predict_step` returns `class`, of shape (N,), and `p`, probabilities of shape (N, K). The second part of a batch
    are the labels, of shape (N,). Negative ones do not count.
    """

    picture_of_worst = "most_wrong"

    def fits(self, prediction: Any, batch: Any) -> bool:
        match prediction, batch:
            case {"class": Tensor() as classes, "p": Tensor() as p}, (_, Tensor() as labels, *_):
                samples = p.shape[:1]
                one_each = classes.shape == samples and labels.shape == samples
                return p.ndim == 2 and one_each
        return False

    def part_of_batch(self, prediction: Any, batch: Any, ids: Tensor) -> tuple[Tensor, list[Wrong]]:
        inputs = batch[0]
        labels = batch[1].cpu()
        classes = prediction["class"].cpu()
        probabilities = prediction["p"].float().cpu()
        matrix = confusion(labels, classes, probabilities.shape[1])
        wrong = wrong_in_batch(inputs, labels, classes, probabilities, ids, self.data)
        return matrix, wrong

    def worst_of(self, samples: Sequence[Wrong]) -> list[Wrong]:
        return most_wrong(samples)

    def pictures(
        self, matrix: Tensor, worst: Sequence[Wrong], names: Sequence[str]
    ) -> dict[str, Any]:
        # Imported only here, because importing Pillow slows down every start.
        from ..tools.report.drawing import draw_confusion, draw_images, drawable

        labels = drawable(names)
        pictures = {"confusion": draw_confusion(matrix, labels)}
        images = []
        for sample in worst:
            if sample.image is not None:
                true = labels[sample.true]
                predicted = labels[sample.predicted]
                images.append((sample.image, true, predicted))
        if images:
            pictures[self.picture_of_worst] = draw_images(images)
        return pictures

    def tables(
        self, matrix: Tensor, worst: Sequence[Wrong], names: Sequence[str], known: dict[str, Any]
    ) -> dict[str, Rows]:
        return {
            "confusion": confusion_rows(matrix, names),
            "classes": class_rows(matrix, names),
            "most_wrong": wrong_rows(worst, names, known),
        }


def report_directory(trainer: Trainer) -> Path:
    """Return the folder of the report."""
    return Path(trainer.default_root_dir) / "report"


def class_names(data: Any, count: int) -> list[str]:
    """Return the names of the classes, or their numbers if the data module does not have `count` names."""
    names = getattr(data, "classes", ())
    if len(names) != count:
        names = range(count)
    return [str(name) for name in names]


def known_columns(trainer: Trainer, ids: Sequence[int]) -> dict[str, Any]:
    """Return the dataset's columns about samples, such as their files, by their positions in the test set."""
    loader = loaders_in(trainer.test_dataloaders)[0]
    known = known_of_samples(loader, ids)
    known.pop("label", None)  # the table has it as `true`
    return known


def save_picture(picture: Any, path: Path) -> None:
    """Write a PNG file atomically."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    picture.save(part, format="PNG")
    part.replace(path)


def write_table(rows: Rows, path: Path) -> None:
    """Write a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write(path, text.getvalue())


def log(logger: Any, key: str, path: Path, picture: Any, step: int) -> None:
    """Pass a picture, or its file `path`, to a logger that supports pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(key, np.asarray(picture), step, dataformats="HWC")
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(str(path), name=key, step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(path), "report")
    elif hasattr(logger, "log_image"):  # such as Lightning's WandbLogger
        logger.log_image(key, [str(path)], step)
