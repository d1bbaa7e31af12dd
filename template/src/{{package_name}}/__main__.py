"""Entry point of `python src/main.py`, `python -m <package>` and the console script."""

import ctypes
import gc
import sys
from collections.abc import Sequence
from contextlib import suppress

from .engine.import_path import forget_working_directory
from .utils.project import UserError, project_root


def keep_memory() -> None:
    """Have glibc keep what a training step frees for the next one, as mallopt(3) describes.

    On a CPU, giving megabytes back to the system and fetching them again may take a third of a step.
    """
    with suppress(AttributeError, TypeError):  # another C library; Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: give back what is more than 1 GiB
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: the most that it can be


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    keep_memory()
    forget_working_directory()
    try:
        project_root()  # loads .env, whose thread limits torch and numpy read when they are imported
        gc.disable()  # to look for garbage in what is imported, and stays, takes half of the start

        from .cli import CLI

        gc.freeze()  # nor later: the last time, at the end, takes a second
        gc.enable()
        CLI(args)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # before or after the training, which ends in order
        sys.exit(130)


if __name__ == "__main__":
    main()
