"""Saves and restores the states of a module's metrics. Read it if metrics of a resumed epoch are wrong.

torchmetrics saves only states that are declared persistent. Here all are saved, including those of nested metrics.

Two private names of libraries are used, each in one function, because there is no public access:

- `_results` of Lightning's loops, in `log_entries`: the metrics and sums that `self.log` collects in this epoch.
  Lightning neither saves them nor shows them before the epoch has ended.
- `_update_count` of a metric, in `set_update_count`: its public property `update_count` cannot be set.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric, MetricCollection

MetricStates = dict[str, dict[str, Any]]

# States are exchanged between processes, and each process has another GPU.
CPU = torch.device("cpu")


def metrics_of(module: LightningModule) -> Iterator[tuple[str, Metric]]:
    """Yield each metric of a module with its name, including those in lists, collections and wrappers."""
    for child in module.modules():
        if isinstance(child, MetricCollection):
            # Metrics of a collection share states. This call gives each metric its reference to them.
            list(child.values(copy_state=False))
    for name, child in module.named_modules():
        if isinstance(child, Metric):
            yield name, child


def metric_states(module: LightningModule, trainer: Trainer) -> MetricStates:
    """Return the states of all metrics, by name.

    At the end of an epoch, metrics that Lightning resets are left out, and so are list states.
    """
    at_end_of_epoch = trainer.is_last_batch
    left_out: set[int] = set()
    if at_end_of_epoch:
        left_out = logged_metrics(trainer)
    states = {}
    for name, metric in metrics_of(module):
        if id(metric) in left_out:
            continue
        state = dict(metric.metric_state)
        if at_end_of_epoch:
            state = without_lists(state)
        states[name] = {"state": on_device(state, CPU), "updates": metric.update_count}
    return states


def without_lists(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without its lists, which hold the predictions of whole epochs.

    They would make checkpoints as large as the data.
    """
    return {key: value for key, value in state.items() if not isinstance(value, list)}


def restore_metric_states(module: LightningModule, states: MetricStates) -> None:
    """Restore states that `metric_states` returned. Unknown metrics and states are ignored."""
    for name, metric in metrics_of(module):
        if name not in states:
            continue
        known = metric.metric_state.keys()
        metric.reset()  # also drops the cached result of an earlier compute
        for key, value in states[name]["state"].items():
            if key in known:
                setattr(metric, key, on_device(value, metric.device))
        set_update_count(metric, states[name]["updates"])


def set_update_count(metric: Metric, count: int) -> None:
    """Set the number of updates of a metric, because a mean over updates needs it."""
    metric._update_count = count


def log_entries(loop: Any) -> dict[str, Any]:
    """Return the entries of `self.log` in a loop, by key. Each entry is itself a torchmetrics metric."""
    return dict(loop._results)


def on_device(value: Any, device: torch.device) -> Any:
    """Return a copy of a state on a device: a tensor, or nested lists and dictionaries of tensors."""
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    if isinstance(value, list):
        return [on_device(item, device) for item in value]
    if isinstance(value, torch.Tensor):
        return value.detach().clone().to(device)
    return deepcopy(value)


def logged_metrics(trainer: Trainer) -> set[int]:
    """Return the ids of the metrics passed to `self.log`. Lightning resets them after the epoch."""
    training = trainer.fit_loop.epoch_loop
    logged = set()
    for loop in (training, training.val_loop):
        for entry in log_entries(loop).values():
            if isinstance(entry.value, Metric):
                logged.add(id(entry.value))
    return logged


def epoch_means(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Return the sums of `self.log(…, on_epoch=True)` in this epoch, because Lightning does not save them."""
    entries = log_entries(trainer.fit_loop.epoch_loop)
    sums = {}
    for key, entry in entries.items():
        if entry.is_tensor and entry.meta.on_epoch:
            sums[key] = on_device(dict(entry.metric_state), CPU)
    return sums


def add_epoch_means(trainer: Trainer, saved: dict[str, dict[str, Any]]) -> None:
    """Add saved sums of `epoch_means` to the entries logged since, and remove them from `saved`."""
    entries = log_entries(trainer.fit_loop.epoch_loop)
    for key in list(saved):
        if key in entries:
            # Still in time, because Lightning computes the entry at the end of the epoch, after this callback.
            add_to_entry(entries[key], saved.pop(key))


def add_to_entry(entry: Any, sums: dict[str, Any]) -> None:
    """Add saved sums to an entry of `self.log`."""
    takes_extreme = entry.meta.is_max_reduction or entry.meta.is_min_reduction
    for name, value in sums.items():
        before = value.to(entry.value.device)
        current = getattr(entry, name)
        if takes_extreme:
            total = entry.meta.reduce_fx(before, current)
        else:
            total = before + current
        setattr(entry, name, total)
