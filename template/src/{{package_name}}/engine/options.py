"""Options that only some sub-commands have.

Read this to add such an option, or when one is refused.
"""

from argparse import SUPPRESS
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..utils.project import UserError
from .configs import options


class Option(NamedTuple):
    """An option of the command line."""

    type: Any
    default: Any
    help: str


ONLY_FIT = {
    "init_from": Option(
        str | None, None, "Start a new run from these weights: <file|directory|id|name|last>."
    ),
    "init_include": Option(
        str | list[str] | None, None, "Take only weights whose names begin with these."
    ),
    "init_rename": Option(
        dict[str, str] | None, None, "Rename beginnings of the weights' names: '{old: new}'."
    ),
    "test_after_fit": Option(bool, False, "Test the best checkpoint after training."),
    "git_commit_before_fit": Option(bool, False, "Commit all changes before training."),
}
NOT_FIT = {
    "allow_untrained": Option(bool, False, "Evaluate random weights instead of a checkpoint.")
}


def add_options(parser: Any, verb: str) -> None:
    """Add these options to the parser of a sub-command.

    Options of other sub-commands are added too, but hidden, because a config may contain them.
    """
    for name, option in {**ONLY_FIT, **NOT_FIT}.items():
        is_used = (name in ONLY_FIT) == (verb == "fit")
        parser.add_argument(
            f"--{name}",
            type=option.type,
            default=option.default,
            help=option.help if is_used else SUPPRESS,
        )


def check_options(verb: str, args: Sequence[str]) -> None:
    """Raise UserError if an option is given to a sub-command that does not use it."""
    for option, _ in options(args):
        name = option.removeprefix("--").rstrip("+").partition(".")[0]
        if name in ONLY_FIT and verb != "fit":
            raise UserError(f"{name} is an option of fit alone: leave it out")
        if name in NOT_FIT and verb == "fit":
            raise UserError(f"{name} is no option of fit, which begins untrained: leave it out")
