"""Writes `run.json` and `config.yaml`. Read it to find out what is recorded of a run, and when."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..utils.project import mask, project_root, shown, write
from .finders import with_found_values
from .metrics_file import MetricsFile
from .runs import read_run
from .samples import samples_in
from .saved_config import as_yaml


def start_origin() -> subprocess.Popen[str]:
    """Start engine/origin.py, which finds out where the run comes from."""
    # -P keeps modules in the working directory from being imported
    command = [sys.executable, "-P", "-m", f"{__package__}.origin"]
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command,
        cwd=project_root(),
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )


class RunRecord(Callback):
    """Keeps a run's `run.json`: what happened, and what it came from; and its `metrics.csv`.

    Args:
        directory: The run's directory.
        arguments: The arguments of the command.
        config: Text for `config.yaml`; None if the run is only evaluated, so that all but commands and metrics stays.
    """

    samples, seconds, epoch_start = 0, 0.0, 0.0
    first_stage = ""  # of the command: fit, also if a test follows

    def __init__(self, directory: Path, arguments: Sequence[str], config: str | None) -> None:
        self.directory, self.config, self.run = directory, config, dict[str, Any]()
        self.metrics = MetricsFile(directory / "metrics.csv")
        self.command: dict[str, str | None] = {"command": shlex.join(arguments)}
        self.origin: subprocess.Popen[str] | None = None
        if config is not None and not getattr(
            rank_zero_only, "rank", 0
        ):  # where it comes from, beside its start
            self.origin = start_origin()

    @rank_zero_only
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.first_stage = self.first_stage or stage
        # a run that goes on begins with its training, if that is not refused; the test after fit is the same command
        if "start" in self.command or (
            stage == "fit" and (self.directory / "config.yaml").exists()
        ):
            return
        rank_zero_info(f"Run directory: {shown(self.directory)}")
        self.command["start"] = datetime.now().astimezone().isoformat(timespec="seconds")
        if self.origin:
            write(self.directory / "config.yaml", str(self.config))
            origin = json.loads(self.origin.communicate()[0] or "{}")
            if self.origin.returncode:
                rank_zero_info(
                    "engine/origin.py failed: run.json will not say where the run comes from"
                )
            write(self.directory / "code.patch", mask(origin.pop("patch", ""), code=True))
            origin = json.loads(mask(json.dumps(origin)))
            place = {"schema": 1, "name": self.directory.parent.name, "id": self.directory.name}
            data = getattr(cast("Any", trainer).datamodule, "sha256", {})
            facts = {
                "seed": os.environ.get("PL_GLOBAL_SEED"),
                "data": data,
                "cuda": torch.version.cuda,
            }
            self.run = {
                **place,
                "start": self.command["start"],
                **read_run(self.directory),
                **facts,
                **origin,
            }
            # a test of what the run was before says nothing of what it becomes
            self.run["metrics"] = {
                k: v for k, v in self.run.get("metrics", {}).items() if not k.startswith("test/")
            }
        self._save(trainer, "running")

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what callbacks have found, which Lightning calls before all others."""
        found = with_found_values(self.config, trainer) if self.config else None
        if found:
            self.config = as_yaml(found)
            write(self.directory / "config.yaml", self.config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.setup(trainer, pl_module, "train")
        self.metrics.resume(trainer.global_step)

    @rank_zero_only
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.write()
        self.epoch_start = time.monotonic()

    on_train_end = on_train_epoch_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.epoch_start:
            return
        self.samples += samples_in(batch)
        if trainer.is_last_batch:
            self.seconds += time.monotonic() - self.epoch_start
            self.run["samples_per_second"] = round(
                self.samples * trainer.world_size / self.seconds, 1
            )

    @rank_zero_only
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if "start" not in self.command:  # it has not begun
            return
        self.metrics.write()
        error = mask(f"{type(exception).__name__}: {exception}")
        is_interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        run = self.directory.name
        if self.is_test_after_fit(trainer):
            rank_zero_info(f"The training is finished: test --run {run} repeats its test.")
            error = f"test: {error}"
        elif is_interrupted and self.first_stage == "fit":
            rank_zero_info(f"The training is interrupted. fit --run {run} continues it.")
        elif is_interrupted:
            rank_zero_info("Interrupted")
        if is_interrupted:
            self._save(trainer, "interrupted")
        else:
            self._save(trainer, "failed", error)

    def is_test_after_fit(self, trainer: Trainer) -> bool:
        return self.first_stage == "fit" and trainer.state.fn != "fit"

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if "start" in self.command:
            self._save(trainer, "finished")

    @rank_zero_only
    def _save(self, trainer: Trainer, status: str, error: str | None = None) -> None:
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        there = read_run(
            self.directory
        )  # other commands may have written since, such as a test of a run in training
        this = {key: self.command[key] for key in ("command", "start")}.items()
        self.command |= {
            "status": status,
            "error": error,
            "end": None if status == "running" else time,
        }
        if self.origin and not self.is_test_after_fit(trainer):
            self.run |= {key: self.command[key] for key in ("status", "error", "end")}
        commands = [
            self.command if entry.items() >= this else entry for entry in there.get("commands", [])
        ]
        run = (
            there
            | self.run
            | {"commands": commands + [self.command] * (self.command not in commands)}
        )
        if status != "running" and (
            status != "failed" or trainer.world_size == 1
        ):  # computing them asks all processes
            values = trainer.callback_metrics.items()
            run["metrics"] = there.get("metrics", {}) | {
                k: v.item() if v.isfinite() else None for k, v in values
            }
        write(self.directory / "run.json", json.dumps(run, indent=2, ensure_ascii=False) + "\n")
