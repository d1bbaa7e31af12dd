"""Curves and dots of runs, as an SVG file, which every browser shows."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pygal
from pygal.style import Style

from ...utils.project import UserError, write
from ..run_files import Run, number, text
from .summary import varied

STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#555",
    foreground_strong="#555",
    foreground_subtle="#555",
    guide_stroke_color="#8885",
    major_guide_stroke_color="#8885",
    guide_stroke_dasharray="none",
    major_guide_stroke_dasharray="none",
    font_family="sans-serif",
    label_font_size=12,
    major_label_font_size=12,
    legend_font_size=13,
    stroke_width=2,
    colors=(
        "#4477aa",
        "#ee6677",
        "#228833",
        "#ccbb44",
        "#66ccee",
        "#aa3377",
        "#999999",
    ),  # Paul Tol's, for all eyes
)
DARK = "inline:@media (prefers-color-scheme: dark) { text { fill: #ccc !important } }"


Series = dict[str, list[tuple[float, float]]]


def draw(runs: Sequence[Run], metrics: Sequence[str], x: str, path: Path) -> None:
    """Write a picture of metrics: over steps or epochs a curve for each run, over a key its best values as dots."""
    curves = x in ("step", "epoch")
    series: Series = {}
    for metric in metrics:
        drawn = run_curves(runs, metric, x) if curves else run_dots(runs, metric, x)
        if not drawn:
            raise UserError(f"there is no such run with {metric}, and a number for {x}")
        for name, points in drawn.items():
            series[f"{metric}, {name}" if len(metrics) > 1 else name] = points
    xs = sorted(point[0] for points in series.values() for point in points)
    log = not curves and xs[0] > 0 and xs[-1] > 50 * xs[0]
    legend = len(series) > 1
    chart = pygal.XY(
        style=STYLE,
        css=["file://style.css", "file://graph.css", DARK],
        js=[],  # it would come from another host
        no_prefix=True,  # or it would be another file each time
        height=480 + 22 * len(series) * legend,
        x_title=x,
        y_title=", ".join(metrics),
        stroke=curves,
        show_dots=not curves,
        show_legend=legend,
        legend_at_bottom=True,
        legend_at_bottom_columns=1,
        truncate_legend=-1,
        truncate_label=-1,
    )
    if log:
        exponents = range(math.floor(math.log10(xs[0])), math.ceil(math.log10(xs[-1])) + 1)
        ticks = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
        chart.x_labels = [math.log10(tick) for tick in ticks if xs[0] <= tick <= xs[-1]]
        chart.x_value_formatter = lambda value: f"{10**value:g}"
    for name, points in series.items():
        chart.add(name, [(math.log10(first) if log else first, second) for first, second in points])
    write(path, chart.render(is_unicode=True))


def run_curves(runs: Sequence[Run], metric: str, x: str) -> Series:
    """Return the values of a metric over steps or epochs, by the run's name and what is its own."""
    keys = varied(runs)
    names = Counter(run.directory.parent.name for run in runs)
    series: Series = {}
    for run in reversed(runs):  # the newest comes first
        name, values = run.directory.parent.name, run.values
        own = ", ".join(
            f"{key.split('.')[-1]} {text(values[key])}" for key in keys if key in values
        )
        if not 0 < len(keys) < 3:
            own = run.directory.name
        if names[name] > 1:
            name = f"{name} {own}" if len(names) > 1 else own
        if name in series:
            name = f"{name} {run.directory.name}"
        found = [(row[x], row[metric]) for row in run.history if metric in row and x in row]
        if found:
            series[name] = found
    return series


def run_dots(runs: Sequence[Run], metric: str, x: str) -> Series:
    """Return the best value of a metric of each run over its number for a key, by the run's name."""
    series: Series = {}
    for run in reversed(runs):
        at = number(run.values.get(x))
        value = number(run.best.get(metric, run.last.get(metric)))
        if at is not None and value is not None:
            series.setdefault(run.directory.parent.name, []).append((at, value))
    return series
