"""`runs plot`: curves or dots of runs, as an SVG file."""

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...utils.project import UserError, shown, write
from ..run_files import Run, number, text
from .select import select
from .summary import varied

Point = tuple[float, float]
Series = dict[str, list[Point]]
Runs = Sequence[Run]

CURVES = ("step", "epoch")  # x axes of curves; other keys give dots
GREY = "#555"
LIGHT_GREY = "#8885"
COLORS = (  # Paul Tol's palette, because colour-blind people can tell its colours apart
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#999999",
)
STYLE = {
    "background": "transparent",
    "plot_background": "transparent",
    "foreground": GREY,
    "foreground_strong": GREY,
    "foreground_subtle": GREY,
    "guide_stroke_color": LIGHT_GREY,
    "major_guide_stroke_color": LIGHT_GREY,
    "guide_stroke_dasharray": "none",
    "major_guide_stroke_dasharray": "none",
    "font_family": "sans-serif",
    "label_font_size": 12,
    "major_label_font_size": 12,
    "legend_font_size": 13,
    "stroke_width": 2,
    "colors": COLORS,
}
DARK = "inline:@media (prefers-color-scheme: dark) { text { fill: #ccc !important } }"
WIDE = 50  # ratio of the largest to the smallest x; above it, the axis is logarithmic


def plot_runs(options: Namespace) -> None:
    """Plot metrics: a curve for each run over steps or epochs, or a dot for each run over a key."""
    runs = select(options, [*options.metric, options.x])
    metrics = list(dict.fromkeys(options.metric))
    if not metrics:
        monitored = [run.monitor for run in runs if run.monitor]
        metrics = monitored[:1] or ["metric"]
    draw(runs, metrics, options.x, options.output)
    print(f"Plot: {shown(options.output)}")


def draw(runs: Runs, metrics: Sequence[str], x: str, path: Path) -> None:
    """Write a picture: curves of metrics over steps or epochs, or dots of best values over a key."""
    series = all_series(runs, metrics, x)
    chart = new_chart(series, metrics, x)
    logarithmic = x not in CURVES and use_logarithm(chart, series)
    for name, points in series.items():
        if logarithmic:
            points = [(math.log10(first), second) for first, second in points]
        chart.add(name, points)
    write(path, chart.render(is_unicode=True))


def all_series(runs: Runs, metrics: Sequence[str], x: str) -> Series:
    """Return the points of all curves or dots, by their name in the legend."""
    series: Series = {}
    for metric in metrics:
        if x in CURVES:
            drawn = run_curves(runs, metric, x)
        else:
            drawn = run_dots(runs, metric, x)
        if not drawn:
            raise UserError(f"there is no such run with {metric}, and a number for {x}")
        for name, points in drawn.items():
            if len(metrics) > 1:
                name = f"{metric}, {name}"
            series[name] = points
    return series


def new_chart(series: Series, metrics: Sequence[str], x: str) -> Any:
    """Return a chart without points."""
    # Imported only here, because the other commands draw nothing.
    import pygal
    from pygal.style import Style

    height = 480
    has_legend = len(series) > 1
    if has_legend:
        height += 22 * len(series)
    return pygal.XY(
        style=Style(**STYLE),
        css=["file://style.css", "file://graph.css", DARK],
        js=[],  # because a script would be loaded from another host
        no_prefix=True,  # because a random prefix would change the file each time
        height=height,
        x_title=x,
        y_title=", ".join(metrics),
        stroke=x in CURVES,
        show_dots=x not in CURVES,
        show_legend=has_legend,
        legend_at_bottom=True,
        legend_at_bottom_columns=1,
        truncate_legend=-1,
        truncate_label=-1,
    )


def use_logarithm(chart: Any, series: Series) -> bool:
    """Make the x axis logarithmic if its numbers are far apart. Return whether they are."""
    numbers = [first for points in series.values() for first, _ in points]
    low = min(numbers)
    high = max(numbers)
    if low <= 0 or high <= WIDE * low:
        return False

    chart.x_labels = [math.log10(tick) for tick in ticks(low, high)]
    chart.x_value_formatter = lambda value: f"{10**value:g}"
    return True


def ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, from `low` to `high`."""
    first = math.floor(math.log10(low))
    last = math.ceil(math.log10(high))
    found = []
    for exponent in range(first, last + 1):
        for digit in (1, 2, 5):
            tick = digit * 10.0**exponent
            if low <= tick <= high:
                found.append(tick)
    return found


def run_curves(runs: Runs, metric: str, x: str) -> Series:
    """Return the values of a metric over steps or epochs, by the run's name in the legend."""
    keys = varied(runs)
    names = Counter(run.name for run in runs)
    series: Series = {}
    for run in reversed(runs):  # the newest comes first
        rows = [row for row in run.history if metric in row and x in row]
        points = [(row[x], row[metric]) for row in rows]
        if points:
            series[curve_name(run, keys, names, series)] = points
    return series


def curve_name(run: Run, keys: Sequence[str], names: Counter[str], taken: Series) -> str:
    """Return a run's name in the legend. If several runs share it, add the values that tell the run apart."""
    name = run.name
    if names[name] > 1:
        own = own_values(run, keys)
        if len(names) > 1:
            name = f"{name} {own}"
        else:
            name = own
    if name in taken:
        name = f"{name} {run.directory.name}"
    return name


def own_values(run: Run, keys: Sequence[str]) -> str:
    """Return a run's values of the keys in which the runs differ. Return its id unless there are one or two keys."""
    if not 0 < len(keys) < 3:
        return run.directory.name
    own = []
    for key in keys:
        if key in run.values:
            last = key.rpartition(".")[2]
            value = text(run.values[key])
            own.append(f"{last} {value}")
    return ", ".join(own)


def run_dots(runs: Runs, metric: str, x: str) -> Series:
    """Return the best value of a metric for each run over a numeric key, by the run's name."""
    series: Series = {}
    for run in reversed(runs):
        at = number(run.values.get(x))
        last = run.last.get(metric)
        value = number(run.best.get(metric, last))
        if at is not None and value is not None:
            series.setdefault(run.name, []).append((at, value))
    return series
