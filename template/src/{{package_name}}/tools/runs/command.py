"""The options of `python -m <package>.runs`, and the function for each of its commands."""

import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from ...engine.run_directory import chosen_folder
from ...utils.project import project_root
from ..options import (
    Parser,
    add_logs_option,
    command_parser,
    count,
    mistakes_end_in_a_line,
    svg_file,
    tolerance,
)
from .diff import diff_runs
from .list import list_runs
from .plot import plot_runs
from .reproduce import reproduce_run
from .summary import summarize_runs

DESCRIPTION = (
    "List the runs below logs/, compare two, summarize and plot several, or train one again."
)
EXAMPLES = """examples:
  %(prog)s --status finished --sort -best.val/acc --limit 10
  %(prog)s --name exp1 --filter model.optimizer.lr=0.01 --metric val/loss --varied
  %(prog)s diff exp1 exp2
  %(prog)s summary --name exp1 --name exp2 --format latex
  %(prog)s plot --name exp1 --metric train/loss --output curves.svg
  %(prog)s plot --name exp1 --x data.batch_size
  %(prog)s reproduce last"""

LIST = "list the runs, newest first; this is the command if you name none"
DIFF = "compare the configuration, metrics and origin of two runs"
SUMMARY = "print mean, deviation and confidence interval of runs that only differ in seed or fold"
PLOT = "write a picture, in SVG, of the curves of a metric, or of its best values over a key"
REPRODUCE = "train a run again from its commit, and compare the metrics"

FILTER = "only runs whose KEY of config.yaml or run.json, such as data.batch_size, is VALUE; may be repeated"
NAME = "only runs of this name; may be repeated"
STATUS = "only runs that are running, finished, failed, interrupted or killed, or whose run.json is missing or damaged"
A_RUN = "<directory|id|name|last>, as --run of the other commands"

COMMANDS = ("list", "diff", "summary", "plot", "reproduce")
HELP = ("-h", "--help")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    with mistakes_end_in_a_line():
        project_root()  # loads .env
        if args is None:
            args = sys.argv[1:]
        options = parse(args)
        options.logs = chosen_folder(options.logs)
        options.function(options)


def parse(arguments: Sequence[str]) -> Namespace:
    """Return the parsed options. Their `function` runs the command."""
    parser = command_parser(
        "runs",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="|".join(COMMANDS))

    def add_command(name: str, text: str, function: Callable[[Namespace], None]) -> Parser:
        command: Parser = commands.add_parser(name, help=text)
        command.set_defaults(function=function)
        add_logs_option(command)
        return command

    add_list_options(add_command("list", LIST, list_runs))
    add_diff_options(add_command("diff", DIFF, diff_runs))
    add_summary_options(add_command("summary", SUMMARY, summarize_runs))
    add_plot_options(add_command("plot", PLOT, plot_runs))
    add_reproduce_options(add_command("reproduce", REPRODUCE, reproduce_run))
    return parser.parse_args(complete(arguments))


def complete(arguments: Sequence[str]) -> list[str]:
    """Insert the command `list` if none is given, and write `--sort -KEY` as `--sort=-KEY`.

    Otherwise argparse would take -KEY for an option.
    """
    words = list(arguments)
    first = words[0] if words else ""
    if first not in COMMANDS and first not in HELP:
        words.insert(0, "list")

    completed: list[str] = []
    for word in words:
        if completed and completed[-1] == "--sort":
            completed[-1] = f"--sort={word}"
        else:
            completed.append(word)
    return completed


def add_selection_options(parser: Parser) -> None:
    """Add the options that choose runs."""
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE", help=FILTER)
    parser.add_argument("--name", action="append", default=[], metavar="NAME", help=NAME)
    parser.add_argument(
        "--status",
        action="append",
        dest="filter",
        type="status={}".format,
        metavar="S",
        help=STATUS,
    )
    parser.add_argument(
        "--sort",
        default="-id",
        metavar="KEY",
        help="sort by a key, column or metric; -KEY sorts downwards",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N")


def add_metric_option(parser: Parser, text: str) -> None:
    """Add the option that names metrics."""
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help=text)


def add_list_options(parser: Parser) -> None:
    """Add the options of `list`."""
    add_selection_options(parser)
    add_metric_option(parser, "show this metric too; may be repeated")
    parser.add_argument(
        "--varied",
        action="store_true",
        help="show also the keys of config.yaml in which the runs differ",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON, with everything in config.yaml and run.json",
    )


def add_diff_options(parser: Parser) -> None:
    """Add the options of `diff`."""
    parser.add_argument("one", metavar="A", help=A_RUN)
    parser.add_argument("other", metavar="B", help=A_RUN)


def add_summary_options(parser: Parser) -> None:
    """Add the options of `summary`."""
    add_selection_options(parser)
    add_metric_option(parser, "summarize this metric instead of the usual ones; may be repeated")
    parser.add_argument("--format", choices=["table", "markdown", "latex"], default="table")


def add_plot_options(parser: Parser) -> None:
    """Add the options of `plot`."""
    add_selection_options(parser)
    add_metric_option(parser, "plot this metric instead of the monitored one; may be repeated")
    parser.add_argument(
        "--x",
        default="step",
        metavar="KEY",
        help="step, epoch, or a key with a number for each run",
    )
    parser.add_argument(
        "--output",
        type=svg_file,
        default=Path("runs.svg"),
        metavar="FILE",
        help="(default: runs.svg)",
    )


def add_reproduce_options(parser: Parser) -> None:
    """Add the options of `reproduce`."""
    parser.add_argument("run", metavar="X", help=A_RUN)
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=0.0,
        help="largest difference of a metric (default: 0)",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="check out into this new folder instead of a temporary one",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder of the checked out code"
    )
