"""The keys of a config in configs/search/."""

from dataclasses import dataclass
from typing import Any, Literal

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler


@dataclass
class Range:
    """Numbers to choose from. They are whole numbers if both ends are.

    Args:
        low: The smallest number.
        high: The largest number.
        log: Whether to choose evenly on a logarithmic scale: 0.001 to 0.01 as often as 0.01 to 0.1.
        step: Distance between the numbers, if not every number is allowed.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


@dataclass
class Search:
    """Settings of a search.

    Args:
        metric: Metric to optimise. The value of a trial is the best value of its epochs.
        space: A range, or a list of choices, for each key of a run's config.
        direction: Whether to maximize or minimize the metric.
        trials: Number of trials of the study, counted over all workers.
        study: Name of the study and of its runs.
        storage: URL of the database that all workers share. If None, it is logs/search.db.
        sampler: Chooses the values. If None, it is Optuna's default.
        pruner: Decides which trials stop early. If None, it is Optuna's default.
        heartbeat: Seconds between two signs of life of a worker. After twice that time without one, another worker
            continues the trial.
    """

    metric: str
    space: dict[str, Range | list[Any]]
    direction: Literal["maximize", "minimize"] = "maximize"
    trials: int = 30
    study: str = "search"
    storage: str | None = None
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    heartbeat: int = 60
