"""The report of a test: confusion matrix, metrics of each class, and the most wrong samples."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..engine.samples import known_of_samples, loaders_in
from ..tools.report.mistakes import Wrong, most_wrong, wrong_in_batch
from ..tools.report.tables import Rows, class_rows, confusion_rows, wrong_rows
from ..utils.project import shown, write


class Report(Callback):
    """Writes `report/` in the run's directory: confusion matrix, a table of the classes, and the most wrong samples.

    It needs a classification: `predict_step` returns `class`, of shape (N,), and `p`, probabilities of shape (N, K).
    The second part of a batch are the labels. Other modules get no report. Of several test sets, the report is about
    the first one. The loggers get the pictures.
    """

    active = False
    seen = 0  # samples so far in this process
    data: Any = None
    # Counts of samples by true class (row) and predicted class (column), int64 (K, K)
    matrix: Tensor | None = None
    worst: Sequence[Wrong] = ()

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
        """Count the batch, and keep its samples that are among the most wrong so far."""
        if not self.active or loader:
            return
        with trainer.precision_plugin.predict_step_context():
            prediction = pl_module.predict_step(batch, batch_idx)
        self.active = classifies(prediction, batch)
        if not self.active:
            return

        inputs = batch[0]
        labels = batch[1].cpu()
        classes = prediction["class"].cpu()
        probabilities = prediction["p"].float().cpu()
        self.count(labels, classes, probabilities.shape[1])
        # The samplers distribute the samples to the processes in turn.
        numbers = self.seen + torch.arange(len(labels))
        ids = numbers * trainer.world_size + trainer.global_rank
        wrong = wrong_in_batch(inputs, labels, classes, probabilities, ids, self.data)
        self.worst = most_wrong([*self.worst, *wrong])
        self.seen += len(labels)

    def count(self, labels: Tensor, classes: Tensor, num_classes: int) -> None:
        """Add a batch to the confusion matrix."""
        if self.matrix is None:
            self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.matrix.index_put_((labels, classes), torch.ones_like(labels), accumulate=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of all processes, and pass the pictures to the loggers."""
        matrices, samples = self.gathered(trainer.world_size)
        if not matrices or not trainer.is_global_zero:
            return
        matrix = torch.stack(matrices).sum(dim=0)
        worst = most_wrong(samples)
        names = class_names(self.data, len(matrix))

        directory = report_directory(trainer)
        directory.mkdir(parents=True, exist_ok=True)
        # Remove the picture of an earlier test, because this test may have none.
        (directory / "most_wrong.png").unlink(missing_ok=True)
        for name, picture in draw(matrix, worst, names).items():
            path = directory / f"{name}.png"
            save_picture(picture, path)
            for logger in trainer.loggers:
                log(logger, f"test/{name}", path, picture, trainer.global_step)

        known = known_columns(trainer, [sample.id for sample in worst])
        write_table(confusion_rows(matrix, names), directory / "confusion.csv")
        write_table(class_rows(matrix, names), directory / "classes.csv")
        write_table(wrong_rows(worst, names, known), directory / "most_wrong.csv")

    def gathered(self, world_size: int) -> tuple[list[Tensor], list[Wrong]]:
        """Return the matrices and the most wrong samples of all processes."""
        own = (self.matrix, self.worst)
        parts = [own] * world_size
        if world_size > 1:
            torch.distributed.all_gather_object(parts, own)
        matrices = [matrix for matrix, _ in parts if matrix is not None]
        samples: list[Wrong] = []
        for _, worst in parts:
            samples += worst
        return matrices, samples

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the path of the report, below the progress bar and the metrics."""
        if stage == "test" and self.matrix is not None:
            rank_zero_info(f"Report: {shown(report_directory(trainer))}")


def report_directory(trainer: Trainer) -> Path:
    """Return the folder of the report."""
    return Path(trainer.default_root_dir) / "report"


def classifies(prediction: Any, batch: Any) -> bool:
    """Return whether a batch has labels, and the prediction has a class and probabilities for each sample."""
    match prediction, batch:
        case {"class": Tensor() as classes, "p": Tensor() as p}, (_, Tensor() as labels, *_):
            samples = p.shape[:1]
            one_each = classes.shape == samples and labels.shape == samples
            return p.ndim == 2 and one_each
    return False


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


def draw(matrix: Tensor, worst: Sequence[Wrong], names: Sequence[str]) -> dict[str, Any]:
    """Return Pillow's pictures by their names: the confusion matrix, and the most wrong samples if they are images."""
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
        pictures["most_wrong"] = draw_images(images)
    return pictures


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
    elif isinstance(logger, WandbLogger):
        logger.log_image(key, [str(path)], step)
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(str(path), name=key, step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(path), "report")
