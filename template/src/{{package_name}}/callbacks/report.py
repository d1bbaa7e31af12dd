"""What a test shows beside its metrics: which classes are taken for which, and the samples that are the most wrong."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..engine.prediction_columns import prediction_columns
from ..engine.samples import known_of_samples, loaders_in
from ..utils.project import shown, write

WORST = 25


class Wrong(NamedTuple):
    """A sample that was classified wrongly: its position in the test set, classes and probabilities, and its image."""

    id: int
    true: int
    predicted: int
    p_true: float
    p_predicted: float
    image: Tensor | None  # uint8 (C, H, W)


class Report(Callback):
    """Writes `report/` in the run's directory: confusion matrix, a table of the classes, and the most wrong samples.

    `predict_step` has to return `class`, of shape (N,), and `p`, probabilities of shape (N, K), as that of a
    classification does, and labels are the second part of a batch; for other modules there is no report. Of several
    test sets, it is on the first one. The loggers get the pictures.
    """

    active, seen, data = False, 0, None
    matrix: Tensor | None = (
        None  # int64 (K, K): how many samples of each true class (row) were taken for each (column)
    )
    worst: Sequence[Wrong] = ()

    def on_test_start(self, trainer: Any, pl_module: LightningModule) -> None:
        own = (
            type(pl_module).predict_step is not LightningModule.predict_step
        )  # which gives logits, or fails
        self.active, self.data = (
            own and not trainer.fast_dev_run,
            getattr(trainer, "datamodule", None),
        )
        self.seen, self.matrix, self.worst = 0, None, ()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        """Count the batch, and keep what of it is among the most wrong so far."""
        if not self.active or loader:
            return
        with trainer.precision_plugin.predict_step_context():
            prediction = pl_module.predict_step(batch, batch_idx)
        self.active = classifies(prediction, batch)
        if not self.active:
            return
        inputs, labels = batch[:2]
        labels, classes, p = (
            part.cpu() for part in (labels, prediction["class"], prediction["p"].float())
        )
        if self.matrix is None:
            self.matrix = torch.zeros(p.shape[1], p.shape[1], dtype=torch.int64)
        self.matrix.index_put_((labels, classes), torch.ones_like(labels), accumulate=True)
        p_true, p_predicted = (p.gather(1, part[:, None])[:, 0] for part in (labels, classes))
        wrong = (labels != classes).nonzero()[:, 0]
        wrong = wrong[p_true[wrong].argsort(stable=True)[:WORST]]
        images = (
            pixels(inputs[wrong.to(inputs.device)], self.data)
            if is_images(inputs)
            else [None] * len(wrong)
        )
        # the samplers give each process one of so many samples, in order
        ids = (self.seen + wrong) * trainer.world_size + trainer.global_rank
        columns = (
            part.tolist()
            for part in (ids, *(part[wrong] for part in (labels, classes, p_true, p_predicted)))
        )
        self.worst = most_wrong(
            [*self.worst, *(Wrong(*one) for one in zip(*columns, images, strict=True))]
        )
        self.seen += len(labels)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put together what the processes found, write it, and pass the pictures to the loggers."""
        parts = [(self.matrix, self.worst)] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(parts, parts[0])
        matrices = [matrix for matrix, _ in parts if matrix is not None]
        if not matrices or not trainer.is_global_zero:
            return
        matrix, worst = (
            torch.stack(matrices).sum(dim=0),
            most_wrong(one for _, found in parts for one in found),
        )
        classes = getattr(self.data, "classes", ())
        names = [
            str(name) for name in (classes if len(classes) == len(matrix) else range(len(matrix)))
        ]
        directory = Path(trainer.default_root_dir) / "report"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "most_wrong.png").unlink(
            missing_ok=True
        )  # of an earlier test; there may be none now
        for name, picture in draw(matrix, worst, names).items():
            part = directory / f".{name}.png.{os.getpid()}"
            picture.save(part, format="PNG")
            part.replace(path := directory / f"{name}.png")
            for logger in trainer.loggers:
                log(logger, f"test/{name}", path, picture, trainer.global_step)
        known = known_of_samples(loaders_in(trainer.test_dataloaders)[0], [one.id for one in worst])
        known.pop("label", None)  # `true` is its name
        for name, rows in tables(matrix, worst, names, known).items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            write(directory / f"{name}.csv", text.getvalue())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say where it is, below the progress bar and the metrics."""
        if stage == "test" and self.matrix is not None:
            rank_zero_info(f"Report: {shown(Path(trainer.default_root_dir) / 'report')}")


def classifies(prediction: Any, batch: Any) -> bool:
    """Return whether a batch is samples and their labels, and the prediction a class and probabilities for each."""
    match prediction, batch:
        case {"class": Tensor() as classes, "p": Tensor() as p}, (_, Tensor() as labels, *_):
            return p.ndim == 2 and classes.shape == labels.shape == p.shape[:1]
    return False


def draw(matrix: Tensor, worst: Sequence[Wrong], names: Sequence[str]) -> dict[str, Any]:
    """Return Pillow's pictures by their names: the confusion matrix, and the most wrong samples if they are images."""
    # only here: every other start is faster without Pillow
    from ..tools.drawing import draw_confusion, draw_images, drawable

    labels = drawable(names)
    pictures = {"confusion": draw_confusion(matrix, labels)}
    images = [
        (one.image, labels[one.true], labels[one.predicted])
        for one in worst
        if one.image is not None
    ]
    if images:
        pictures["most_wrong"] = draw_images(images)
    return pictures


def tables(
    matrix: Tensor, worst: Sequence[Wrong], names: Sequence[str], known: dict[str, Any]
) -> dict[str, list[Sequence[Any]]]:
    """Return the rows of the tables, by their names; what would be divided by no samples is 0.

    `known` is what the dataset says of the most wrong samples, by column, such as their files.
    """
    right, samples, given = matrix.diag().double(), matrix.sum(dim=1), matrix.sum(dim=0)
    measures = {
        "class": names,
        "samples": samples.tolist(),
        "precision": (right / given.clamp(min=1)).tolist(),
        "recall": (right / samples.clamp(min=1)).tolist(),
        "f1": (2 * right / (samples + given).clamp(min=1)).tolist(),
    }
    known_columns = prediction_columns(known, len(worst))[0]
    found = {
        "id": [one.id for one in worst],
        **known_columns,
        "true": [names[one.true] for one in worst],
        "predicted": [names[one.predicted] for one in worst],
        "p_true": [one.p_true for one in worst],
        "p_predicted": [one.p_predicted for one in worst],
    }
    return {
        "confusion": [
            ["class", *names],
            *([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)),
        ],
        "classes": [[*measures], *zip(*measures.values(), strict=True)],
        "most_wrong": [[*found], *zip(*found.values(), strict=True)],
    }


def is_images(inputs: Any) -> bool:
    return isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.shape[1] in (1, 3)


def pixels(images: Tensor, data: Any) -> list[Tensor]:
    """Return images, floating point (N, C, H, W), each as uint8, as they were before the data module normalised them.

    Without its `mean` and `std`, numbers or one for each channel, each image gets all of the range from 0 to 255.
    """
    images, mean, std = (
        images.float().cpu(),
        getattr(data, "mean", None),
        getattr(data, "std", None),
    )
    if mean is None or std is None:
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp(min=1e-12)
    else:
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32).cpu().view(-1, 1, 1)
            for value in (mean, std)
        )
        images = images * std + mean
    return [
        image.clone() for image in (images.clamp(0, 1) * 255).round().byte()
    ]  # or one would keep all of its batch


def most_wrong(found: Iterable[Wrong]) -> list[Wrong]:
    """Return those with the least probability of their class, the least first; of equals, the first in the test set."""
    return sorted(found, key=lambda one: (one.p_true, one.id))[:WORST]


def log(logger: Any, key: str, path: Path, picture: Any, step: int) -> None:
    """Pass a picture, which is in this file too, to a logger that takes pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(key, np.asarray(picture), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(key, [str(path)], step)
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(str(path), name=key, step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(path), "report")
