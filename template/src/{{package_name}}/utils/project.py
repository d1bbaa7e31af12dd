"""The project's root, names for what is in it, and the error for what its user can put right."""

import os
import secrets
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path

import pyrootutils


class UserError(ValueError):
    """A mistake of the user's: the command line prints the message, one line that says what to do, and no traceback."""


@cache
def project_root() -> Path:
    """Find the project's root, which holds `.project-root`, and load its `.env`; raise UserError if there is none."""
    for start in (Path(__file__), Path.cwd()):  # the second, if the package was installed as a copy
        with suppress(FileNotFoundError):
            return Path(pyrootutils.setup_root(start, indicator=".project-root"))
    raise UserError(f"no .project-root in {Path.cwd()} or above it: run the command inside the project")


def shown(path: str | Path) -> str:
    """Return the path as the user would type it: relative to the working directory where that is shorter."""
    with suppress(ValueError):  # on another drive
        return min(os.path.relpath(path), str(path), key=len)
    return str(path)


def new_run_id() -> str:
    """Return an id that sorts by time and is unique when several runs start in the same second."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
