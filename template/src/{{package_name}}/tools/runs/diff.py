"""`runs diff`: the differences between two runs."""

from argparse import Namespace

from ...utils.project import shown
from .select import find
from .tables import different, show, side_by_side


def diff_runs(options: Namespace) -> None:
    """Print the differences in configuration and origin of two runs, and all their metrics."""
    one = find(options.one, options.logs)
    other = find(options.other, options.logs)
    names = [shown(one.directory), shown(other.directory)]

    configuration = different(one.config, other.config)
    show(["configuration", *names], configuration)
    print()
    rows = []
    for metric in one.metrics | other.metrics:
        rows.append(side_by_side(metric, one.metrics, other.metrics))
    show(["metric", *names], rows)
    print()
    origin = different(one.origin, other.origin)
    show(["origin", *names], origin)
    print()
