"""The runs below logs/: list, compare, sum up and plot them, train one again (`python -m <package>.runs --help`)."""

import json
import signal
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from ...engine.run_directory import OPTION, OPTION_HELP, chosen_folder
from ...engine.runs import find_run
from ...utils.project import UserError, project_root, shown
from ..options import PACKAGE, Parser, count, svg_file, tolerance
from ..run_files import Run, matches, text
from .reproduce import reproduced
from .summary import grouped, varied
from .tables import cell, different, distance, latex, markdown, rank, show, side_by_side

FILTER = "those where a key of config.yaml or run.json, such as data.batch_size, is VALUE; may be repeated"
NAME = "those of this name; if repeated, of any of them"
STATUS = "those that are running, finished, failed, interrupted or killed, or whose run.json is missing or damaged"
SHOWN = 100  # rows on a terminal
A_RUN = "<directory|id|name|last>, as --run of the other commands"
COMMANDS = {
    "list": "list the runs, newest first; what is done without a command, too",
    "diff": "compare the configuration, metrics and origin of two runs",
    "summary": "print mean, deviation and confidence interval of runs that differ in their seed or fold alone",
    "plot": "write a picture, in SVG, of the curves of a metric, or of its best values over a key",
    "reproduce": "train a run again from its commit, and compare the metrics",
}
EXAMPLES = """examples:
  %(prog)s --status finished --sort -best.val/acc --limit 10
  %(prog)s --name exp1 --filter model.optimizer.lr=0.01 --metric val/loss --varied
  %(prog)s diff exp1 exp2
  %(prog)s summary --name exp1 --name exp2 --format latex
  %(prog)s plot --name exp1 --metric train/loss --output curves.svg
  %(prog)s plot --name exp1 --x data.batch_size
  %(prog)s reproduce last"""


def select(options: Namespace, keys: Sequence[str] = ()) -> list[Run]:
    """Return the runs that meet all conditions, in order; raise UserError if none does, or none has one of the keys.

    The files of a run are read if it is asked for, so that of thousands of runs the newest are listed at once.
    """
    conditions = [condition.partition("=") for condition in options.filter]
    for key, equals, _ in conditions:
        if not key or not equals:
            raise UserError(
                f"--filter is {key or equals}, but must be key=value, such as data.batch_size=64"
            )
    order = options.sort.removeprefix("-")
    downwards = options.sort.startswith("-")

    runs = all_runs(options.logs)
    named = [run for run in runs if not options.name or run.directory.parent.name in options.name]
    check_keys([order, *keys, *(key for key, *_ in conditions)], named or runs, runs)
    chosen = (run for run in named if meets(run, conditions))
    if order == "id" and downwards:
        return list(islice(chosen, options.limit))
    return in_order(list(chosen), order, downwards)[: options.limit]


def all_runs(logs: Path) -> list[Run]:
    """Return the runs below a folder, the newest first, without a look at what is in their files."""
    paths = {
        path.parent for name in ("config.yaml", "run.json") for path in logs.glob(f"*/*/{name}")
    }
    return [Run(path) for path in sorted(paths, key=lambda path: path.name, reverse=True)]


def meets(run: Run, conditions: Iterable[tuple[str, str, str]]) -> bool:
    """Return whether a run has the value that each condition asks for."""
    return all(run.has(key) and matches(run.value(key), value) for key, _, value in conditions)


def in_order(runs: Sequence[Run], key: str, downwards: bool) -> list[Run]:
    """Return the runs sorted by a key; those that have no value come last."""
    sortable = [run for run in runs if run.value(key) is not None]
    others = [run for run in runs if run.value(key) is None]
    return [*sorted(sortable, key=lambda run: rank(run.value(key)), reverse=downwards), *others]


def list_runs(options: Namespace) -> None:
    """Print the runs as a table or as JSON; on a terminal, no more than a person reads unless --limit says how many."""
    on_terminal = sys.stdout.isatty() and not options.json
    everything = options.limit is None
    if everything and on_terminal:
        options.limit = SHOWN + 1
    runs = select(options, options.metric)
    more = everything and on_terminal and len(runs) > SHOWN
    if more:
        runs = runs[:SHOWN]
    if options.json:
        print(json.dumps([run.summary for run in runs], indent=2, ensure_ascii=False))
    elif runs:
        metrics = dict.fromkeys([*(run.monitor for run in runs if run.monitor), *options.metric])
        columns = [column for metric in metrics for column in (f"best.{metric}", metric)]
        columns = [column for column in columns if any(column in run.values for run in runs)]
        columns += varied(runs) if options.varied else []
        columns = [
            "name",
            "id",
            "status",
            "start",
            "duration",
            "epochs",
            "steps",
            *columns,
            "commit",
        ]
        show(
            columns,
            [[cell(column, run.values.get(column)) for column in columns] for run in runs],
            fold=False,
        )
        if more:
            print(f"These are the first {SHOWN}, and there are more: --limit says how many to list")
    else:
        print(f"There is no such run in {shown(options.logs)}")


def summarize_runs(options: Namespace) -> None:
    """Print mean, standard deviation and confidence interval of metrics, over seeds and folds."""
    runs = [run for run in select(options, options.metric) if run.status == "finished"]
    if not runs:
        raise UserError(f"there is no finished run of these in {shown(options.logs)}")
    tested = dict.fromkeys(key for run in runs for key in run.last if key.startswith("test/"))
    metrics = options.metric or list(
        dict.fromkeys([*(f"best.{run.monitor}" for run in runs if run.monitor), *tested])
    )
    rows = [
        [group.label, str(len(group.runs)), *map(group.summary, metrics)] for group in grouped(runs)
    ]
    columns = ["experiment", "runs", *metrics]
    if options.format == "table":
        show(columns, rows, fold=False)
    else:
        print({"markdown": markdown, "latex": latex}[options.format](columns, rows))


def plot_runs(options: Namespace) -> None:
    """Write a picture of a metric: a curve for each run, or, over a key of theirs, a dot for each."""
    from .plot import draw  # only here, for a list needs no pictures

    runs = select(options, [*options.metric, options.x])
    monitored = [run.monitor for run in runs if run.monitor]
    metrics = list(dict.fromkeys(options.metric)) or [*monitored, "metric"][:1]
    draw(runs, metrics, options.x, options.output)
    print(f"Plot: {shown(options.output)}")


def diff_runs(options: Namespace) -> None:
    """Print what differs between two runs, configuration and origin, and all metrics of both."""
    one, other = (find(wanted, options.logs) for wanted in (options.one, options.other))
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
    run, outside = find(options.run, options.logs), 0
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # stop as for Ctrl-C: the worktree has to go
    with reproduced(run, options.into, options.keep) as again:
        expected, found = run.record["metrics"], again.record["metrics"]
        for name, value in expected.items():
            difference = distance(value, found.get(name))
            result = (
                f"{text(found.get(name))} now, differs by {difference:g}" if difference else "equal"
            )
            print(f"{name}: {text(value)}, {result}")
            outside += difference > options.tolerance
        if outside:
            show(["origin", shown(run.directory), "now"], different(run.origin, again.origin))
            raise UserError(
                f"{outside} of {len(expected)} metrics differ by more than {options.tolerance:g}"
            )


def find(wanted: str, logs: Path) -> Run:
    """Return the run that the user means; raise UserError if there is none."""
    try:
        return Run(find_run(wanted, logs))
    except UserError as error:  # here, a run is no option
        raise UserError(str(error).replace(" with --run ", ": ")) from None


def check_keys(keys: Iterable[str], first: Sequence[Run], runs: Sequence[Run]) -> None:
    """Raise UserError if there are runs, and none of them has one of the keys; it looks at the first ones first."""
    for key in keys:
        if not runs or any(run.has(key) for run in first) or any(run.has(key) for run in runs):
            continue
        near = get_close_matches(key, {known for run in runs for known in run.values}, n=1)
        raise UserError(f"no run has {key}{f': did you mean {near[0]}?' if near else ''}")


def parse(arguments: Sequence[str]) -> Namespace:
    """Return the options, with the function that they are for."""
    parser = Parser(
        f"python -m {PACKAGE}.runs", epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter
    )
    parser.description = (
        "List the runs below logs/, compare two, sum up and plot several, or train one again."
    )
    commands = parser.add_subparsers(metavar="|".join(COMMANDS))
    place = Parser(add_help=False)
    place.add_argument(OPTION, dest="logs", metavar="FOLDER", help=OPTION_HELP)
    several = Parser(add_help=False, parents=[place])
    several.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE", help=FILTER)
    several.add_argument("--name", action="append", default=[], metavar="NAME", help=NAME)
    several.add_argument(
        "--status",
        action="append",
        dest="filter",
        type="status={}".format,
        metavar="S",
        help=STATUS,
    )
    several.add_argument(
        "--sort", default="-id", metavar="KEY", help="by a key, column or metric; -KEY: downwards"
    )
    several.add_argument("--limit", type=count, metavar="N", help="the first N alone")

    listing = commands.add_parser("list", help=COMMANDS["list"], parents=[several])
    listing.set_defaults(function=list_runs)
    listing.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="show another metric, too"
    )
    listing.add_argument(
        "--varied",
        action="store_true",
        help="show the keys of config.yaml that are not all equal, too",
    )
    listing.add_argument(
        "--json", action="store_true", help="print JSON, with all of config.yaml and run.json"
    )
    diff = commands.add_parser("diff", help=COMMANDS["diff"], parents=[place])
    diff.set_defaults(function=diff_runs)
    diff.add_argument("one", metavar="A", help=A_RUN)
    diff.add_argument("other", metavar="B", help=A_RUN)
    summary = commands.add_parser("summary", help=COMMANDS["summary"], parents=[several])
    summary.set_defaults(function=summarize_runs)
    summary.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="this, not the usual ones"
    )
    summary.add_argument("--format", choices=["table", "markdown", "latex"], default="table")
    plot = commands.add_parser("plot", help=COMMANDS["plot"], parents=[several])
    plot.set_defaults(function=plot_runs)
    plot.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="this, not the one that says which checkpoint is best; may be repeated",
    )
    plot.add_argument(
        "--x",
        default="step",
        metavar="KEY",
        help="step, epoch, or a key with a number for each run",
    )
    plot.add_argument(
        "--output",
        type=svg_file,
        default=Path("runs.svg"),
        metavar="FILE",
        help="(default: runs.svg)",
    )
    again = commands.add_parser("reproduce", help=COMMANDS["reproduce"], parents=[place])
    again.set_defaults(function=reproduce_run)
    again.add_argument("run", metavar="X", help=A_RUN)
    again.add_argument(
        "--tolerance", type=tolerance, default=0.0, help="how far a metric may be off (default: 0)"
    )
    again.add_argument(
        "--into", type=Path, metavar="FOLDER", help="check out there, not into a temporary folder"
    )
    again.add_argument("--keep", action="store_true", help="do not remove that folder in the end")
    return parser.parse_args(arguments)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not {*COMMANDS, "-h", "--help"} & {*arguments[:1]}:
        arguments.insert(0, "list")
    for i in range(len(arguments) - 1, 0, -1):
        if arguments[i - 1] == "--sort":  # argparse takes -key for an option
            arguments[i - 1 : i + 1] = [f"--sort={arguments[i]}"]
    try:
        project_root()  # loads .env
        options = parse(arguments)
        options.logs = chosen_folder(options.logs)
        options.function(options)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
