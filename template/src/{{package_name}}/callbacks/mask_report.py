"""The report of a segmentation's test: IoU of each class, confusion matrix of the pixels, and the worst images."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..engine.random_states import gathered
from ..tools.mask_report import BadImage, class_rows, draw, image_rows, images_of_batch, worst_of
from ..tools.report.tables import confusion_rows
from ..utils.project import shown
from .report import class_names, known_columns, log, report_directory, save_picture, write_table


class MaskReport(Callback):
    """Writes `report/` in the run's directory: a table of the classes, their confusion, and the worst images.

    It needs a segmentation: `predict_step` returns `mask`, of shape (N, H, W), and the second part of a batch are the
    true masks. Pixels of a negative class, and those from `num_classes` of the data module on, do not count. Other
    modules get no report. Of several test sets, the report is about the first one. The loggers get the pictures.
    """

    active = False
    seen = 0  # images so far in this process
    data: Any = None
    # Counts of pixels by true class (row) and predicted class (column), int64 (K, K)
    matrix: Tensor | None = None
    worst: Sequence[BadImage] = ()

    def on_test_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Reset the state of an earlier test."""
        # Lightning's default predict_step returns logits, or fails.
        has_own_step = type(pl_module).predict_step is not LightningModule.predict_step
        self.data = getattr(trainer, "datamodule", None)
        has_classes = hasattr(self.data, "num_classes")
        self.active = has_own_step and has_classes and not trainer.fast_dev_run
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
        """Count the pixels of the batch, and keep its images that are among the worst so far."""
        if not self.active or loader:
            return
        with trainer.precision_plugin.predict_step_context():
            prediction = pl_module.predict_step(batch, batch_idx)
        self.active = segments(prediction, batch)
        if not self.active:
            return

        masks = batch[1].cpu()
        # The samplers distribute the samples to the processes in turn.
        numbers = self.seen + torch.arange(len(masks))
        ids = numbers * trainer.world_size + trainer.global_rank
        matrix, images = images_of_batch(batch[0], masks, prediction["mask"].cpu(), ids, self.data)
        self.matrix = matrix if self.matrix is None else self.matrix + matrix
        self.worst = worst_of([*self.worst, *images])
        self.seen += len(masks)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of all processes, and pass the pictures to the loggers."""
        parts = gathered((self.matrix, self.worst), trainer)
        matrices = [matrix for matrix, _ in parts if matrix is not None]
        if not matrices or not trainer.is_global_zero:
            return
        matrix = torch.stack(matrices).sum(dim=0)
        images: list[BadImage] = []
        for _, worst in parts:
            images += worst
        images = worst_of(images)
        names = class_names(self.data, len(matrix))

        directory = report_directory(trainer)
        directory.mkdir(parents=True, exist_ok=True)
        # Remove the picture of an earlier test, because this test may have none.
        (directory / "worst.png").unlink(missing_ok=True)
        for name, picture in draw(matrix, images, names).items():
            path = directory / f"{name}.png"
            save_picture(picture, path)
            for logger in trainer.loggers:
                log(logger, f"test/{name}", path, picture, trainer.global_step)

        known = known_columns(trainer, [image.id for image in images])
        write_table(confusion_rows(matrix, names), directory / "confusion.csv")
        write_table(class_rows(matrix, names), directory / "classes.csv")
        write_table(image_rows(images, known), directory / "worst.csv")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the path of the report, below the progress bar and the metrics."""
        if stage == "test" and self.matrix is not None:
            rank_zero_info(f"Report: {shown(report_directory(trainer))}")


def segments(prediction: Any, batch: Any) -> bool:
    """Return whether a batch has masks, and the prediction a mask of the same size for each."""
    match prediction, batch:
        case {"mask": Tensor() as found}, (_, Tensor() as masks, *_):
            return masks.ndim == 3 and found.shape == masks.shape
    return False
