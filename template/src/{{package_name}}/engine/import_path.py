"""From where a command imports modules. Read it if a class of yours is not found."""

import sys
from pathlib import Path


def forget_working_directory() -> None:
    """Keep modules in the working directory from being imported, which `python -m` would allow.

    A config names classes by their path. That of a run from somebody else must not name a file in the run's folder.
    Classes are found in `src/` and among the installed packages.
    """
    source = Path(__file__).resolve().parents[2]
    here = Path.cwd().resolve()
    if here != source:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
