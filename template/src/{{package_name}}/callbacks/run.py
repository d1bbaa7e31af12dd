"""What a run leaves in its directory: checkpoints, configuration and predictions."""

import csv
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import OneCycleLR

from ..utils.errors import UserError
from ..utils.paths import shown


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by the monitored metric, and `last.ckpt`.

    A class of its own, so that it stands beside any ModelCheckpoint that you add to `trainer.callbacks`.

    Args:
        monitor: Metric that says which checkpoint is best. ReduceLROnPlateau follows it too.
        mode: `max` if more of it is better, else `min`.
    """

    def __init__(self, monitor: str = "val/acc", mode: Literal["min", "max"] = "max") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, save_last=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was best so far if the run goes on in its directory; a new run compares its own epochs."""
        if state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to train beyond the end of the one-cycle schedule of a checkpoint, where PyTorch would fail."""
        super().on_train_start(trainer, pl_module)
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < trainer.estimated_stepping_batches:
                steps = (
                    f"{scheduler.total_steps} steps, and max_epochs asks for {trainer.estimated_stepping_batches:.0f}"
                )
                raise UserError(f"the checkpoint's OneCycleLR ends after {steps}: set it as it was, or train anew")


class SaveConfig(SaveConfigCallback):
    """Saves `config.yaml` in the run's directory; as it was given, so that `-c` takes it again for a new run."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, given: Namespace, directory: Path) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        self.given = given
        self.directory = directory

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        path = self.directory / "config.yaml"
        if path.exists():  # the run is continued
            path = self.directory / f"config-{datetime.now():%Y%m%d-%H%M%S}.yaml"
        self.directory.mkdir(parents=True, exist_ok=True)
        for key in ("ckpt_path", "test_after_fit", "git_commit_before_fit"):  # what to do now, not what the run is
            self.given.pop(key, None)
        self.parser.save(self.given, path, skip_unset=False)
        rank_zero_info(f"Run directory: {shown(self.directory)}")


class PredictionWriter(BasePredictionWriter):
    """Writes `predictions.csv`: `id` (position in the dataset), `class`, and `p<i>`, the probability of class i.

    Takes what ClassificationModule predicts. Other processes write their parts into `predictions-1.csv` and so on.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.directory = trainer.strategy.broadcast(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        rank = trainer.global_rank
        self.path = self.directory / (f"predictions-{rank}.csv" if rank else "predictions.csv")
        rank_zero_info(f"Predictions: {shown(self.path)}")

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        prediction, batch_indices = args[:2]
        if not isinstance(prediction, dict) or batch_indices is None:
            return
        columns = batch_indices, prediction["class"].tolist(), prediction["probability"].tolist()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(["id", "class", *(f"p{i}" for i in range(prediction["probability"].shape[1]))])
            writer.writerows([i, label, *p] for i, label, p in zip(*columns, strict=True))
