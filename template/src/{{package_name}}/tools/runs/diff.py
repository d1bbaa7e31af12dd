"""`runs diff`: what differs between two runs."""

from argparse import Namespace

from ...utils.project import shown
from .select import find
from .tables import different, show, side_by_side


def diff_runs(options: Namespace) -> None:
    """Print what differs in configuration and origin of two runs, and all their metrics."""
    one = find(options.one, options.logs)
    other = find(options.other, options.logs)
    names = [shown(one.directory), shown(other.directory)]

    show(["configuration", *names], different(one.config, other.config))
    print()
    metrics = one.metrics | other.metrics
    rows = [side_by_side(name, one.metrics, other.metrics) for name in metrics]
    show(["metric", *names], rows)
    print()
    show(["origin", *names], different(one.origin, other.origin))
    print()
