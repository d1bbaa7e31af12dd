"""Chooses the callbacks of a command. Read it to see the callbacks of every run, and the options that disable them."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelSummary
from lightning.pytorch.callbacks import ProgressBar as AnyProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import CheckpointIO

from .averaged_weights import with_current_weights_at_first, without_averaging
from .best_checkpoint import BestCheckpoint
from .checkpoint_files import AtomicCheckpointIO
from .finite_weights import FiniteWeights
from .learning_rates import LearningRates
from .monitor import MonitoredMetrics
from .predictions import PredictionWriter
from .progress import LayerSummary, ProgressBar
from .record import RunRecord
from .resume import Resume
from .stopping import StopAtBatchEnd


def as_list(value: Any) -> list[Any]:
    """Return the value of a trainer option as a list. None, true and false give an empty list."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if one is not None and one is not False and one is not True]


def has_kind(callbacks: Sequence[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def callbacks_of(
    subcommand: str,
    trainer: Any,
    predictions: PredictionWriter,
    record: RunRecord | None,
    checkpoint: BestCheckpoint,
) -> list[Callback]:
    """Return the callbacks of a command: those of the template and those of the configuration.

    Args:
        subcommand: fit, validate, test or predict.
        trainer: The trainer's configuration, with its callbacks built.
        predictions: Writes predictions.csv.
        record: Writes the run's record; None in a fast run, which is not recorded.
        checkpoint: Saves best.ckpt and last.ckpt.
    """
    own = as_list(trainer.callbacks)
    if subcommand == "fit":
        own = with_current_weights_at_first(own)
    else:
        own = without_averaging(own)
    # Resume is the first, because other callbacks' hooks change the state.
    callbacks: list[Callback] = [Resume()]
    if record:
        callbacks.append(record)
    callbacks += [StopAtBatchEnd(), FiniteWeights(), MonitoredMetrics(), *own]
    if not has_kind(own, LearningRateMonitor):
        # In every command, because Lightning warns of a callback that a checkpoint has and the trainer has not.
        callbacks.append(LearningRates())
    if trainer.enable_progress_bar is not False and not has_kind(own, AnyProgressBar):
        callbacks.append(ProgressBar())
    if trainer.enable_model_summary is not False and not has_kind(own, ModelSummary):
        callbacks.append(LayerSummary())
    if record and trainer.enable_checkpointing is not False:
        callbacks.append(checkpoint)
    if record and subcommand == "predict":
        callbacks.append(predictions)
    return callbacks


def loggers_of_fit(trainer: Any, record: RunRecord) -> list[Logger]:
    """Return the configured loggers, and the logger that writes metrics.csv."""
    return [*as_list(trainer.logger), record.metrics]


def plugins_of(trainer: Any) -> list[Any]:
    """Return the configured plugins. If none is a CheckpointIO, add the one that writes checkpoints atomically."""
    plugins = as_list(trainer.plugins)
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    return plugins
