"""Writes run.json and config.yaml. Read it to see which facts of a run are recorded, and when."""

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
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..utils.project import mask, project_root, shown, write
from .finders import with_found_values
from .init_weights import InitialWeights
from .metrics_file import MetricsFile
from .new_data import write_learned
from .progress import leave_bar
from .results import Results
from .runs import read_run, record_locked
from .saved_config import as_yaml
from .training_end import why_ended, why_interrupted

# Version of the format of run.json. Increase it with a change that breaks older readers.
SCHEMA = 1

# A killed command counts up to its last sign of life. run.json gets one this often.
SECONDS_BETWEEN_SIGNS_OF_LIFE = 10.0


class RunRecord(Callback):
    """Records a run: events and provenance in `run.json`, and the files `config.yaml` and `metrics.csv`.

    Training writes all three files. An evaluation only adds its command and its metrics to `run.json`.

    Args:
        directory: The run's directory.
        arguments: The arguments of the command.
        config: Text for `config.yaml`; None if the run is only evaluated.
        parent: The weights that a new run starts from; None if they are random.
        results: What an evaluation evaluates; None for a fit.
    """

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str],
        config: str | None,
        parent: InitialWeights | None = None,
        results: Results | None = None,
    ) -> None:
        self.directory = directory
        self.config = config
        self.parent = parent
        self.results = results
        self.metrics = MetricsFile(directory / "metrics.csv")
        self.facts: dict[str, Any] = {}  # keys of run.json that this command changes
        self.entry: dict[str, Any] = {"command": shlex.join(arguments)}
        self.first_stage = ""  # stage of the command: fit, even if a test follows
        self.is_training = False
        self.stopped: str | None = None  # why the training has ended
        self.saved_at = float("-inf")
        self.origin: subprocess.Popen[str] | None = None
        if results:
            self.entry["checkpoint"] = results.checkpoint
            self.entry["changes"] = results.changes
            if not results.of_the_run:
                self.entry["directory"] = results.directory.relative_to(directory).as_posix()
        self.describes_run = config is not None and is_first_process()
        if self.describes_run:
            self.origin = start_origin()  # runs in parallel to the start of the run

    # Lightning's hooks, in the order in which it calls them

    @rank_zero_only
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.first_stage = self.first_stage or stage
        if stage == "fit":
            self.log_configuration(trainer)
        continues = stage == "fit" and (self.directory / "config.yaml").exists()
        if not continues:  # a resumed run may still be refused before its training begins
            self.begin(trainer)

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the results of BatchSizeFinder and LearningRateFinder, which Lightning calls before this hook."""
        if self.config is None:
            return
        found = with_found_values(self.config, trainer)
        if found:
            self.config = as_yaml(found)
            write(self.directory / "config.yaml", self.config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_training = True
        self.begin(trainer)
        self.metrics.resume(trainer.global_step)

    @rank_zero_only
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.write()
        if trainer.current_epoch == 1:  # a run with a finished epoch must not be trained anew
            self.save(trainer, "running")

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        if time.monotonic() - self.saved_at > SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self.save(trainer, "running")

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.metrics.write()

    @rank_zero_only
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if not self.has_begun:
            return
        self.metrics.write()
        leave_bar(trainer)
        is_interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        self.say_what_is_left(trainer, is_interrupted)
        if not self.is_test_after_fit(trainer):
            self.stopped = "error"
            if is_interrupted:
                self.stopped = why_interrupted(trainer, exception)
        if is_interrupted:
            self.save(trainer, "interrupted")
            return
        error = mask(f"{type(exception).__name__}: {exception}")
        if self.is_test_after_fit(trainer):
            error = f"test: {error}"
        self.save(trainer, "failed", error)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.has_begun:
            if stage == "fit":
                self.stopped = why_ended(trainer)
                rank_zero_info(f"The training has ended: {self.stopped}")
            self.save(trainer, "finished")

    # Steps

    @property
    def has_begun(self) -> bool:
        return "start" in self.entry

    @rank_zero_only
    def begin(self, trainer: Trainer) -> None:
        """Write the facts known at the start, once per command. A test after fit belongs to the same command."""
        if self.has_begun:
            return
        rank_zero_info(f"Run directory: {shown(self.directory)}")
        self.entry["start"] = now()
        if self.describes_run:
            write(self.directory / "config.yaml", str(self.config))
            self.facts = self.describe_run(trainer)
        if self.first_stage == "fit":
            write_learned(self.directory, cast("Any", trainer).datamodule)
        self.save(trainer, "running")

    def log_configuration(self, trainer: Trainer) -> None:
        """Give all loggers the configuration as hyperparameters, without the loggers' own settings.

        It is given before the module's hyperparameters, because TensorBoard shows what it gets first.
        """
        if self.config is None:
            return
        configuration = yaml.safe_load(self.config)
        configuration["trainer"].pop("logger", None)
        for logger in trainer.loggers:
            logger.log_hyperparams(configuration)

    def describe_run(self, trainer: Trainer) -> dict[str, Any]:
        """Return the facts about a run that begins or resumes, for run.json."""
        origin = self.finish_origin()
        write(self.directory / "code.patch", mask(origin.pop("patch", ""), code=True))
        before = read_run(self.directory)
        facts = {
            "schema": SCHEMA,
            "name": self.directory.parent.name,
            "id": self.directory.name,
            "start": self.entry["start"],
            **before,
            "seed": os.environ.get("PL_GLOBAL_SEED"),
            "data": getattr(cast("Any", trainer).datamodule, "sha256", {}),
            "cuda": torch.version.cuda,
            **json.loads(mask(json.dumps(origin))),
        }
        if self.parent:
            facts["parent"] = self.parent.facts()
        # Drop earlier test metrics, because they do not hold for the checkpoint that this training will write.
        metrics = before.get("metrics", {})
        facts["metrics"] = {
            name: value for name, value in metrics.items() if not name.startswith("test/")
        }
        return facts

    def finish_origin(self) -> dict[str, Any]:
        """Wait for engine/origin.py, and return its findings."""
        if self.origin is None:
            return {}
        found, _ = self.origin.communicate()
        if self.origin.returncode:
            rank_zero_info(
                "engine/origin.py failed: run.json will not say where the run comes from"
            )
        return dict(json.loads(found or "{}"))

    def say_what_is_left(self, trainer: Trainer, is_interrupted: bool) -> None:
        """Print the command that continues the run after an error or a signal."""
        run = self.directory.name
        if self.is_test_after_fit(trainer):
            rank_zero_info(f"The training is finished: test --run {run} repeats its test.")
        elif is_interrupted and self.first_stage == "fit":
            rank_zero_info(f"The training is interrupted. fit --run {run} continues it.")
        elif is_interrupted:
            rank_zero_info("Interrupted")

    def is_test_after_fit(self, trainer: Trainer) -> bool:
        return self.first_stage == "fit" and trainer.state.fn != "fit"

    @rank_zero_only
    def save(self, trainer: Trainer, status: str, error: str | None = None) -> None:
        """Update run.json. Keys that other commands have written meanwhile are kept."""
        self.entry["status"] = status
        self.entry["error"] = error
        self.entry["end"] = end_of(status)
        if self.is_training:
            self.entry["seen"] = now()
            self.entry["epochs"] = trainer.current_epoch
        if self.describes_run and not self.is_test_after_fit(trainer):
            for key in ("status", "error", "end"):
                self.facts[key] = self.entry[key]
            if self.first_stage == "fit":
                self.facts["stopped"] = self.stopped
        found: dict[str, float | None] = {}
        if may_read_metrics(trainer, status):
            found = finite_metrics(trainer)
            if self.results:
                self.entry["metrics"] = found
        with record_locked(self.directory):
            self.update_record(found)
        self.saved_at = time.monotonic()

    def update_record(self, metrics: dict[str, float | None]) -> None:
        """Write the facts, the command's entry and these metrics into run.json."""
        record = read_run(self.directory)
        record.update(self.facts)
        # Only once, because a test in another process may add its metrics during this training.
        self.facts.pop("metrics", None)
        record["commands"] = with_entry(record.get("commands", []), self.entry)
        if metrics and (not self.results or self.results.of_the_run):
            record["metrics"] = {**record.get("metrics", {}), **metrics}
        write(self.directory / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def end_of(status: str) -> str | None:
    """Return the time if the command has ended; None while it is running."""
    if status == "running":
        return None
    return now()


def now() -> str:
    """Return the local time in ISO format, such as 2026-01-31T13:05:00+01:00."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def is_first_process() -> bool:
    """Return whether this is the process with rank 0, which writes files. It works before there is a trainer."""
    return not getattr(rank_zero_only, "rank", 0)


def start_origin() -> subprocess.Popen[str]:
    """Start engine/origin.py, which collects the provenance of the run."""
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


def with_entry(commands: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the commands of a run, with the entry of this command updated, or appended if it is new."""
    updated = list(commands)
    for number, command in enumerate(commands):
        if is_same_command(command, entry):
            updated[number] = entry
            return updated
    return [*updated, entry]


def is_same_command(command: dict[str, Any], entry: dict[str, Any]) -> bool:
    return all(command.get(key) == entry[key] for key in ("command", "start"))


def may_read_metrics(trainer: Trainer, status: str) -> bool:
    """Return whether metrics can be computed. All processes must take part, and a failed one cannot."""
    if status == "failed":
        return trainer.world_size == 1
    return status != "running"


def finite_metrics(trainer: Trainer) -> dict[str, float | None]:
    """Return the last value of each metric. NaN and infinity become None, because JSON has neither."""
    metrics: dict[str, float | None] = {}
    for name, value in trainer.callback_metrics.items():
        metrics[name] = None
        if value.isfinite():
            metrics[name] = value.item()
    return metrics
