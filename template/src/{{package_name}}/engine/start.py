"""Starts the command line. Read it if a command is slow to start, or ends with an unexpected traceback."""

import ctypes
import gc
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..utils.project import UserError, printable, project_root
from .import_path import forget_working_directory

# Parameters of glibc's `mallopt`, with their numbers from malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
GIB = 1 << 30
LARGEST_MMAP_THRESHOLD = 32 << 20


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line and a non-zero exit status."""
    keep_freed_memory()
    threading.excepthook = print_thread_error
    forget_working_directory()
    try:
        project_root()  # loads .env first, because torch and numpy read thread limits on import
        run_command(args)
    except UserError as error:
        sys.exit(f"error: {printable(str(error))}")
    except KeyboardInterrupt:
        hide_traceback()
        raise
    except SystemExit as end:
        # Outside of a training, Lightning turns Ctrl-C into an exit with status 1.
        if isinstance(end.__context__, KeyboardInterrupt):
            hide_traceback()
            raise end.__context__ from None
        raise


def hide_traceback() -> None:
    """Let an error that follows, such as KeyboardInterrupt, end this process without a traceback.

    Python then ends by the signal of Ctrl-C itself. A loop of a shell that runs the command ends with it, which it
    would not do after a mere exit status.
    """
    sys.excepthook = print_nothing


def print_nothing(*_: Any) -> None:
    """Take the place of the function that prints tracebacks."""


def print_thread_error(failure: threading.ExceptHookArgs) -> None:
    """Print an OSError of a thread, such as a full disk, in one line. Some loggers write in a thread."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
        return
    name = failure.thread.name if failure.thread else "a thread"
    print(f"{name}: {failure.exc_value}", file=sys.stderr)


def run_command(args: Sequence[str] | None) -> None:
    """Import the command line without garbage collection, and run it.

    Garbage collection during the imports takes half of the start-up time. Imported objects are never freed anyway, so
    they are frozen: later collections, including the one at exit, skip them.
    """
    gc.disable()
    from ..cli import CLI

    gc.freeze()
    gc.enable()
    CLI(args)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a training step frees, because the next step needs it again.

    On a CPU, returning megabytes to the system and requesting them again takes up to a third of a step.
    See mallopt(3).
    """
    with suppress(AttributeError, TypeError):  # another C library, or Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, GIB)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
