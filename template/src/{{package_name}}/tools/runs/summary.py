"""`runs summary`: mean, standard deviation and confidence interval of runs that differ only in seed or fold."""

import math
from argparse import Namespace
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from ...engine.runs import by_start
from ...utils.project import UserError, shown
from ..run_files import Run, text
from .select import select
from .tables import latex, markdown, show

REPEATED = ("seed_everything", "data.fold")  # keys that may differ between runs of one experiment

# 97.5 % quantiles of Student's t distribution with 1, 2, ... 30 degrees of freedom
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
# The same quantile of the normal distribution, which is close to Student's with more degrees of freedom
NORMAL = 1.960


Config = dict[str, Any]


class Group:
    """Runs of one experiment: the newest run of each seed and fold."""

    def __init__(self, label: str, runs: Iterable[Run]) -> None:
        self.label = label
        newest: dict[tuple[str, ...], Run] = {}
        for run in sorted(runs, key=lambda run: by_start(run.directory)):
            values = [run.values.get(key) for key in REPEATED]
            seed_and_fold = tuple(text(value) for value in values)
            newest[seed_and_fold] = run
        self.runs = list(newest.values())

    def summary(self, metric: str) -> str:
        """Return a metric as text: mean ± standard deviation, and the 95 % confidence interval of the mean."""
        values = self.values(metric)
        if not values:
            return "-"
        if len(values) == 1:
            return f"{values[0]:.4g}"

        center = mean(values)
        deviation = stdev(values)
        count = len(values)
        error = deviation / math.sqrt(count)
        half = student(count - 1) * error
        low = center - half
        high = center + half

        places = f".{decimals(deviation)}f"
        spread = f"{center:{places}} ± {deviation:{places}}"
        interval = f"{low:{places}} to {high:{places}}"
        return f"{spread} ({interval})"

    def values(self, metric: str) -> list[float]:
        """Return the values of a metric in all runs where it is a number."""
        values = [run.values.get(metric) for run in self.runs]
        return [value for value in values if isinstance(value, int | float)]


def summarize_runs(options: Namespace) -> None:
    """Print mean, standard deviation and confidence interval of metrics, over seeds and folds."""
    selected = select(options, options.metric)
    runs = [run for run in selected if run.status == "finished"]
    if not runs:
        place = shown(options.logs)
        raise UserError(f"there is no finished run in {place} that meets these options")

    metrics = options.metric or usual_metrics(runs)
    columns = ["experiment", "runs", *metrics]
    rows = []
    for group in grouped(runs):
        count = str(len(group.runs))
        summaries = [group.summary(metric) for metric in metrics]
        rows.append([group.label, count, *summaries])

    if options.format == "markdown":
        print(markdown(columns, rows))
    elif options.format == "latex":
        print(latex(columns, rows))
    else:
        show(columns, rows, fold=False)


def usual_metrics(runs: Iterable[Run]) -> list[str]:
    """Return the best values of the monitored metrics, and the metrics of the test set."""
    monitored: dict[str, None] = {}
    tested: dict[str, None] = {}
    for run in runs:
        if run.monitor:
            monitored[f"best.{run.monitor}"] = None
        for name in run.last:
            if name.startswith("test/"):
                tested[name] = None
    return [*monitored, *tested]


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Return the experiments: runs of one name whose configurations differ only in seed and fold."""
    names: dict[str, list[Run]] = {}
    for run in runs:
        names.setdefault(run.name, []).append(run)

    groups = []
    for name in sorted(names):
        experiments: dict[str, list[Run]] = {}
        keys = varied(names[name], besides=("name", *REPEATED))
        for run in names[name]:
            own = label(run, keys)
            experiments.setdefault(own, []).append(run)
        for own in sorted(experiments):
            groups.append(Group(own, experiments[own]))
    return groups


def label(run: Run, keys: Sequence[str]) -> str:
    """Return a run's name, with the values of the keys that tell experiments of this name apart."""
    own = []
    for key in keys:
        value = text(run.values.get(key))
        own.append(f"{key}={value}")
    if not own:
        return run.name
    return f"{run.name} ({', '.join(own)})"


def varied(runs: Sequence[Run], besides: Sequence[str] = ("name",)) -> list[str]:
    """Return the keys of config.yaml, as on the command line, whose values differ between runs."""
    configs = [run.plain_config for run in runs]
    keys: dict[str, None] = {}
    for config in configs:
        keys.update(dict.fromkeys(config))
    candidates = [key for key in keys if key not in besides]
    return [key for key in candidates if differs(key, configs)]


def differs(key: str, configs: Sequence[Config]) -> bool:
    """Return whether the configs have different values of a key."""
    first = configs[0].get(key)
    return any(config.get(key) != first for config in configs)


def decimals(deviation: float) -> int:
    """Return the number of decimals that shows two significant digits of a standard deviation."""
    if not deviation:
        return 4
    exponent = math.floor(math.log10(deviation))
    return max(1 - exponent, 0)


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution with `freedom` degrees of freedom."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return NORMAL
