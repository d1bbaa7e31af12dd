"""Decides from where a command imports modules. Read it if a class of yours is not found."""

import sys
from pathlib import Path


def forget_working_directory() -> None:
    """Remove the working directory from the import path, to which `python -m` adds it.

    A config names classes by their import path. The config of somebody else's run must not import a file beside it.
    Classes are found in `src/` and among the installed packages.
    """
    source = Path(__file__).resolve().parents[2]
    here = Path.cwd().resolve()
    if here != source:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
