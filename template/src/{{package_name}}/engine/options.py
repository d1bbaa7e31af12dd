"""Options that only some sub-commands have. They are actions, and no part of a run's configuration.

Read this to add such an option, or when one is refused.
"""

from argparse import SUPPRESS
from collections.abc import Sequence
from typing import Any

from ..utils.project import UserError
from .configs import options

ONLY_FIT = {
    "test_after_fit": "Test the best checkpoint then.",
    "git_commit_before_fit": "Commit all first.",
}
NOT_FIT = {"allow_untrained": "Take random weights, untrained."}


def add_actions(parser: Any, verb: str) -> None:
    """Add these options to the parser of a sub-command.

    Options of other sub-commands are added too, but hidden, because a config may contain them.
    """
    for name, text in {**ONLY_FIT, **NOT_FIT}.items():
        shown = (name in ONLY_FIT) == (verb == "fit")
        parser.add_argument(f"--{name}", type=bool, default=False, help=text if shown else SUPPRESS)


def check_actions(verb: str, args: Sequence[str]) -> None:
    """Raise UserError if an option is given to a sub-command that does not use it."""
    for option, _ in options(args):
        name = option.removeprefix("--")
        if name in ONLY_FIT and verb != "fit":
            raise UserError(f"{name} is an option of fit alone: leave it out")
        if name in NOT_FIT and verb == "fit":
            raise UserError(f"{name} is no option of fit, which begins untrained: leave it out")
