"""Runs that differ in their seed or fold alone, summed up: mean, standard deviation and confidence interval."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean, stdev

from ..run_files import Run, text

REPEATED = ("seed_everything", "data.fold")  # what may differ between runs of one experiment


class Group:
    """Runs of one experiment, in each seed and fold the newest."""

    def __init__(self, label: str, runs: Iterable[Run]) -> None:
        newest = sorted(runs, key=lambda run: run.directory.name)
        self.label = label
        self.runs = list(
            {tuple(text(run.values.get(key)) for key in REPEATED): run for run in newest}.values()
        )

    def summary(self, metric: str) -> str:
        """Return the mean of a metric ± the standard deviation, and the 95 % confidence interval of the mean."""
        values = [
            run.values[metric]
            for run in self.runs
            if isinstance(run.values.get(metric), int | float)
        ]
        if len(values) < 2:
            return f"{values[0]:.4g}" if values else "-"
        center, deviation = mean(values), stdev(values)
        half = student(len(values) - 1) * deviation / math.sqrt(len(values))
        digits = (
            max(1 - math.floor(math.log10(deviation)), 0) if deviation else 4
        )  # two of the deviation's
        numbers = [
            f"{value:.{digits}f}" for value in (center, deviation, center - half, center + half)
        ]
        return "{} ± {} ({} to {})".format(*numbers)


def varied(runs: Sequence[Run], besides: Sequence[str] = ("name",)) -> list[str]:
    """Return the keys of config.yaml, as on the command line, that are not the same in all runs."""
    configs = [
        {key.replace(".init_args", ""): value for key, value in run.config.items()} for run in runs
    ]
    keys = {key: None for config in configs for key in config if key not in besides}
    return [
        key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)
    ]


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Return the runs as experiments: those of a name, whose configurations differ in their seed and fold alone."""
    names: dict[str, list[Run]] = {}
    for run in runs:
        names.setdefault(run.directory.parent.name, []).append(run)
    groups = []
    for name, there in sorted(names.items()):
        keys = varied(there, ("name", *REPEATED))
        labels: dict[str, list[Run]] = {}
        for run in there:
            values = ", ".join(f"{key}={text(run.values.get(key))}" for key in keys)
            labels.setdefault(f"{name} ({values})" if values else name, []).append(run)
        groups += [Group(label, labels[label]) for label in sorted(labels)]
    return groups


def student(freedom: int) -> float:
    """Return the t within ± which Student's distribution, of so many degrees of freedom, has 95 %."""
    low, high = 0.0, 13.0  # with one degree it is 12.7
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if share_within(middle, freedom) < 0.95 else (low, middle)
    return low


def share_within(t: float, freedom: int) -> float:
    """Return which share of Student's distribution lies within ± t: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    odd, total = freedom % 2 == 1, 0.0
    term = math.cos(angle) if odd else 1.0
    for i in range(3 if odd else 2, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (i - 1) / i
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
