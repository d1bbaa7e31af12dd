"""The runs below logs/: list them, compare two, train one again (`python -m <package>.runs --help`)."""

import json
import math
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from .utils.project import UserError, project_root, shown
from .utils.reproduce import reproduced
from .utils.run_files import Run, matches, number, text

FILTER = "those where a key of config.yaml or run.json, such as data.batch_size, is VALUE; may be repeated"
NAME = "those of this name"
STATUS = "those that are running, finished, failed, interrupted or killed, or whose run.json is missing or damaged"
A_RUN = "<directory|id|name|last>, as --run of the other commands"
EXAMPLES = """examples:
  %(prog)s --status finished --sort -best.val/acc --limit 10
  %(prog)s --name exp1 --filter model.optimizer.lr=0.01 --metric val/loss
  %(prog)s diff exp1 exp2
  %(prog)s reproduce last"""


def list_runs(options: Namespace) -> None:
    """Print the runs that meet all conditions, as a table or as JSON."""
    logs, order = project_root() / "logs", options.sort.removeprefix("-")
    paths = {path.parent for name in ("config.yaml", "run.json") for path in logs.glob(f"*/*/{name}")}
    runs = [Run(path) for path in paths]
    conditions = [condition.partition("=") for condition in options.filter]
    if not all(equals for _, equals, _ in conditions):
        raise UserError("--filter takes key=value")
    check_keys([order, *options.metric, *(key for key, *_ in conditions)], runs)
    for key, _, value in conditions:
        runs = [run for run in runs if key in run.values and matches(run.values[key], value)]
    sortable = [run for run in runs if run.values.get(order) is not None]
    sortable.sort(key=lambda run: rank(run.values[order]), reverse=options.sort.startswith("-"))
    runs = [*sortable, *(run for run in runs if run not in sortable)][: options.limit]
    if options.json:
        print(json.dumps([run.summary for run in runs], indent=2, ensure_ascii=False))
    elif runs:
        metrics = dict.fromkeys([*(run.monitor for run in runs), *options.metric])
        columns = [column for metric in metrics for column in (f"best.{metric}", metric)]
        columns = [column for column in columns if any(column in run.values for run in runs)]
        columns = ["name", "id", "status", "start", "duration", "epochs", "steps", *columns, "commit"]
        show(columns, [[cell(column, run.values.get(column)) for column in columns] for run in runs], fold=False)
    else:
        print(f"There is no such run in {shown(logs)}")


def diff_runs(options: Namespace) -> None:
    """Print what differs between two runs, configuration and origin, and all metrics of both."""
    one, other = find(options.one), find(options.other)
    names = [shown(run.directory) for run in (one, other)]
    metrics = [run.record.get("metrics", {}) for run in (one, other)]
    tables = {
        "configuration": different(one.config, other.config),
        "metric": [side_by_side(name, *metrics) for name in {**metrics[0], **metrics[1]}],
        "origin": different(one.origin, other.origin),
    }
    for title, rows in tables.items():
        show([title, *names], rows)
        print()


def reproduce_run(options: Namespace) -> None:
    """Train a run again and print how its metrics compare; raise UserError if one differs too much."""
    run, outside = find(options.run), 0
    with reproduced(run, options.into, options.keep) as again:
        expected, found = run.record["metrics"], again.record["metrics"]
        for name, value in expected.items():
            difference = distance(value, found.get(name))
            result = f"{text(found.get(name))} now, differs by {difference:g}" if difference else "equal"
            print(f"{name}: {text(value)}, {result}")
            outside += difference > options.tolerance
        if outside:
            show(["origin", shown(run.directory), "now"], different(run.origin, again.origin))
            raise UserError(f"{outside} of {len(expected)} metrics differ by more than {options.tolerance:g}")


def find(wanted: str) -> Run:
    """Return the run that the user means; raise UserError if there is none."""
    from .utils.runs import find_run  # brings torch, which takes seconds that a list does not need

    return Run(find_run(wanted, project_root() / "logs"))


def different(one: dict[str, Any], other: dict[str, Any]) -> list[list[str]]:
    """Return the keys whose values are not equal, each with both."""
    return [side_by_side(key, one, other) for key in {**one, **other} if one.get(key) != other.get(key)]


def side_by_side(key: str, *values: dict[str, Any]) -> list[str]:
    return [key, *(text(one[key]) if key in one else "-" for one in values)]


def distance(one: Any, other: Any) -> float:
    """Return how far two metrics are apart; infinity if only one of them is there, or finite."""
    if one == other:
        return 0.0
    return math.inf if number(one) is None or number(other) is None else abs(one - other)


def check_keys(keys: Iterable[str], runs: Sequence[Run]) -> None:
    """Raise UserError if there are runs, and none of them has one of the keys."""
    known = {key for run in runs for key in run.values}
    for key in keys:
        if runs and key not in known:
            near = get_close_matches(key, known, n=1)
            raise UserError(f"no run has {key}{f': did you mean {near[0]}?' if near else ''}")


def rank(value: Any) -> tuple[bool, Any]:
    """Return what puts numbers in order, and text behind them."""
    return (False, value) if isinstance(value, int | float) else (True, text(value))


def cell(column: str, value: Any) -> str:
    """Return a value as the list shows it."""
    if value is None:
        return "-"
    if column == "start":
        return text(value)[:16].replace("T", " ")
    if column == "duration":
        return str(timedelta(seconds=round(value)))
    return f"{value:.6g}" if isinstance(value, float) else text(value)


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], fold: bool = True) -> None:
    """Print a table, as wide as need be; on a terminal, its cells can be folded to fit."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows or [["no difference"]]:
        table.add_row(*row)
    width = None if fold and sys.stdout.isatty() else 1_000_000
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


class Parser(ArgumentParser):
    """A parser whose errors are UserErrors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help says more)")


def parse(arguments: Sequence[str]) -> Namespace:
    """Return the options, with the function that they are for."""
    parser = Parser(f"python -m {__package__}.runs", epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
    parser.description = "List the runs below logs/, compare two, or train one again."
    commands = parser.add_subparsers(metavar="list|diff|reproduce")

    listing = commands.add_parser("list", help="list the runs, newest first; what is done without a command, too")
    listing.set_defaults(function=list_runs)
    listing.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE", help=FILTER)
    listing.add_argument("--name", action="append", dest="filter", type="name={}".format, metavar="NAME", help=NAME)
    listing.add_argument("--status", action="append", dest="filter", type="status={}".format, metavar="S", help=STATUS)
    listing.add_argument("--metric", action="append", default=[], metavar="NAME", help="show another metric, too")
    listing.add_argument("--sort", default="-id", metavar="KEY", help="by a key, column or metric; -KEY: downwards")
    listing.add_argument("--limit", type=int, metavar="N", help="the first N alone")
    listing.add_argument("--json", action="store_true", help="print JSON, with all of config.yaml and run.json")
    diff = commands.add_parser("diff", help="compare the configuration, metrics and origin of two runs")
    diff.set_defaults(function=diff_runs)
    diff.add_argument("one", metavar="A", help=A_RUN)
    diff.add_argument("other", metavar="B", help=A_RUN)
    again = commands.add_parser("reproduce", help="train a run again from its commit, and compare the metrics")
    again.set_defaults(function=reproduce_run)
    again.add_argument("run", metavar="X", help=A_RUN)
    again.add_argument("--tolerance", type=float, default=0.0, help="how far a metric may be off (default: 0)")
    again.add_argument("--into", type=Path, metavar="FOLDER", help="check out there, not into a temporary folder")
    again.add_argument("--keep", action="store_true", help="do not remove that folder in the end")
    return parser.parse_args(arguments)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not {"list", "diff", "reproduce", "-h", "--help"} & {*arguments[:1]}:
        arguments.insert(0, "list")
    for i in range(len(arguments) - 1, 0, -1):
        if arguments[i - 1] == "--sort":  # argparse takes -key for an option
            arguments[i - 1 : i + 1] = [f"--sort={arguments[i]}"]
    try:
        project_root()  # loads .env
        options = parse(arguments)
        options.function(options)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
