"""`runs summary`: mean, standard deviation and confidence interval of runs that differ only in seed or fold."""

import math
import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from ...engine.configs import described
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

# Words in the names of metrics that are between 0 and 1
SHARES = {"acc", "accuracy", "auc", "auroc", "f1", "iou", "miou", "dice", "precision", "recall"}
WORD = re.compile(r"[a-z0-9]+")  # such as best, val and acc in best.val/acc

# A label has so many of the keys that tell experiments apart, the first blocks first.
KEYS_IN_A_LABEL = 4
BLOCKS = ("model", "data", "checkpoint")

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

    @property
    def newest(self) -> str:
        """The id of the newest run."""
        return max(self.runs, key=lambda run: by_start(run.directory)).directory.name

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
        if is_share(metric, values):  # no mean of shares is outside
            low = max(low, 0.0)
            high = min(high, 1.0)

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
        keys = varied(names[name], besides=("name", *REPEATED))
        experiments: dict[str, list[Run]] = {}
        for run in names[name]:
            settings = text([run.values.get(key) for key in keys])
            experiments.setdefault(settings, []).append(run)
        telling = telling_keys(keys, names[name])
        of_name = [Group(label(own[0], telling), own) for own in experiments.values()]
        tell_apart(of_name)
        groups += sorted(of_name, key=lambda group: group.label)
    return groups


def telling_keys(keys: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Return the keys for labels, the most telling first: classes, then by block.

    An argument that only some runs have tells no more than their classes, unless it differs among these runs.
    """
    telling = []
    for key in keys:
        configs = [run.plain_config for run in runs if key in run.plain_config]
        if len(configs) == len(runs) or differs(key, configs):
            telling.append(key)

    def order(key: str) -> tuple[bool, int]:
        first = key.partition(".")[0]
        block = BLOCKS.index(first) if first in BLOCKS else len(BLOCKS)
        return not key.endswith(".class_path"), block

    return sorted(telling or keys, key=order)


def label(run: Run, keys: Sequence[str]) -> str:
    """Return a run's name, with the values of the first keys that tell experiments of this name apart."""
    own = []
    known = [key for key in keys if key in run.plain_config]
    for key in known[:KEYS_IN_A_LABEL]:
        value = described(run.plain_config[key])
        if key.endswith(".class_path"):
            value = value.rpartition(".")[2]
        own.append(f"{key.removesuffix('.class_path')}={value}")
    more = len(known) - len(own)
    if more:
        own.append(f"and {more} more")
    if not own:
        return run.name
    return f"{run.name} ({', '.join(own)})"


def tell_apart(groups: Sequence[Group]) -> None:
    """Add the id of the newest run to labels that are equal, because a label has not all keys."""
    labels = [group.label for group in groups]
    for group in groups:
        if labels.count(group.label) > 1:
            group.label += f", newest run {group.newest}"


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


def is_share(metric: str, values: Sequence[float]) -> bool:
    """Return whether a metric is a share, such as an accuracy: between 0 and 1 by its name, and by its values."""
    words = WORD.findall(metric.lower())
    return not SHARES.isdisjoint(words) and all(0 <= value <= 1 for value in values)


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
