"""The report of a segmentation's test: IoU of each class, confusion matrix of the pixels, and the worst images."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..tools.mask_report import BadImage, class_rows, draw, image_rows, images_of_batch, worst_of
from ..tools.report.tables import Rows, confusion_rows
from .report import BaseReport


class MaskReport(BaseReport):
    """The report of a segmentation: a table of the classes, the confusion matrix of the pixels, and the worst images.

    `predict_step` returns `mask`, of shape (N, H, W), and the second part of a batch are the true masks. Pixels of a
    negative class, and those from `num_classes` of the data module on, do not count.
    """

    picture_of_worst = "worst"

    def fits(self, prediction: Any, batch: Any) -> bool:
        if not hasattr(self.data, "num_classes"):
            return False
        match prediction, batch:
            case {"mask": Tensor() as found}, (_, Tensor() as masks, *_):
                return masks.ndim == 3 and found.shape == masks.shape
        return False

    def part_of_batch(
        self, prediction: Any, batch: Any, ids: Tensor
    ) -> tuple[Tensor, list[BadImage]]:
        return images_of_batch(batch[0], batch[1].cpu(), prediction["mask"].cpu(), ids, self.data)

    def worst_of(self, samples: Sequence[BadImage]) -> list[BadImage]:
        return worst_of(samples)

    def pictures(
        self, matrix: Tensor, worst: Sequence[BadImage], names: Sequence[str]
    ) -> dict[str, Any]:
        return draw(matrix, worst, names)

    def tables(
        self, matrix: Tensor, worst: Sequence[BadImage], names: Sequence[str], known: dict[str, Any]
    ) -> dict[str, Rows]:
        return {
            "confusion": confusion_rows(matrix, names),
            "classes": class_rows(matrix, names),
            "worst": image_rows(worst, known),
        }
