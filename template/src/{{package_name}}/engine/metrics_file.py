"""Writes metrics.csv. Read it if a row or a column is missing."""

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

from ..utils.project import write


class MetricsFile(Logger):
    """A logger that writes all metrics to one CSV file, with a row for each step."""

    name = ""
    version = ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.version = path.parent.name
        self.rows: dict[int, dict[str, Any]] = {}
        # A dummy that accepts every call, because user code may log a picture to the experiment of every logger.
        self.experiment = DummyLogger().experiment

    @property
    def save_dir(self) -> str:
        """Return the run's directory."""
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because config.yaml has the hyperparameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = step or 0
        row = self.rows.setdefault(step, {"step": step, "epoch": None})
        row.update(metrics)

    def write(self) -> None:
        """Write all rows, sorted by step. Without rows, as in an evaluation, leave the file unchanged."""
        if not self.rows:
            return
        columns: dict[str, None] = {}  # in the order in which they were first logged
        for row in self.rows.values():
            columns.update(dict.fromkeys(row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        for step in sorted(self.rows):
            writer.writerow(self.rows[step])
        write(self.path, text.getvalue())

    def resume(self, step: int) -> None:
        """Keep the rows before `step`. Later rows will be logged again."""
        self.rows = {}
        with suppress(FileNotFoundError), self.path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                number = int(row["step"])
                if number < step:
                    self.rows[number] = {name: value for name, value in row.items() if value}
