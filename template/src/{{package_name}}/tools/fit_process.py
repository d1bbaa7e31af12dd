"""A run in a process of its own: one of several that a command starts, which reads its metrics as they come."""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from ..utils.project import UserError, project_root
from .options import PACKAGE
from .run_files import Run

POLL = 0.5  # seconds between two looks at the metrics

# It starts from a process that has imported what takes long, and shares nothing else with the runs before it
CONTEXT: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


class FitProcess:
    """Trains in a process of its own, which saves and stops when it is told to, or when this process has died.

    Args:
        arguments: Those of the command line, `fit` first.
    """

    directory: Path | None = None  # of the run, as soon as it has one
    error: str | None = None  # the user's mistake, if it was one

    def __init__(self, arguments: Sequence[str]) -> None:
        if sys.platform != "win32":
            CONTEXT.set_forkserver_preload([f"{PACKAGE}.cli"])
        self.pipe, there = CONTEXT.Pipe(duplex=False)
        start_method = multiprocessing.get_start_method()
        self.process = CONTEXT.Process(target=train, args=(arguments, there, start_method))
        self.process.start()
        there.close()

    def listen(self) -> None:
        """Wait for what the process tells next: the directory of its run, or the mistake with which it ends."""
        with suppress(EOFError):
            said = self.pipe.recv()
            if isinstance(said, Path):
                self.directory = said
            else:
                self.error = said

    def epochs(self, metric: str) -> Iterator[tuple[int, float]]:
        """Yield the epoch and the value of each validation, until the process ends; raise UserError if it has none."""
        known, written = set[int](), 0.0
        while True:
            alive = self.process.is_alive()  # asked first, so that nothing is missed
            path = (self.directory or Path()) / "metrics.csv"
            if self.directory and path.exists() and path.stat().st_mtime > written:
                written, history = path.stat().st_mtime, Run(self.directory).history
                names = {name for row in history for name in row} - {"epoch", "step"}
                if metric not in names and any(name.startswith("val/") for name in names):
                    raise UserError(
                        f"metric is {metric}, but the run has finite {', '.join(sorted(names))}"
                    )
                reached = {
                    int(row["step"]): (int(row["epoch"]), row[metric])
                    for row in history
                    if metric in row
                }
                yield from (reached[step] for step in sorted(reached.keys() - known))
                known |= reached.keys()
            if not alive:
                return
            self.process.join(POLL)

    def terminate(self) -> None:
        """Have it save and stop, if it is not at an end."""
        self.process.terminate()

    def wait(self) -> None:
        """Wait for its end."""
        self.process.join()
        self.listen()
        self.listen()

    def stop(self) -> None:
        """Have it save and stop, and wait for that."""
        self.terminate()
        self.wait()

    @property
    def failure(self) -> str | None:
        """The user's mistake, or the signal that ended the process before it could say anything; None if it did."""
        if self.error or self.status >= 0:
            return self.error
        name = signal.Signals(-self.status).name
        why = ": the memory may have run out" if name == "SIGKILL" else ""
        return f"the run's process was ended by {name}{why}"

    @property
    def status(self) -> int:
        """The exit status, 0 if all went well; of a signal that ended it, the negative number."""
        return int(self.process.exitcode or 0)


def train(arguments: Sequence[str], pipe: Connection, start_method: str) -> None:
    """Run the command line; tell the directory of the run, and the user's mistake if it ends with one.

    Args:
        arguments: Those of the command line, `fit` first.
        pipe: Where to tell it.
        start_method: How to start processes such as a data loader's workers: as they start in `fit` alone.
    """
    from ..cli import CLI
    from ..engine.start import keep_freed_memory

    class Told(CLI):
        def before_fit(self) -> None:
            pipe.send(self.directory)

    pretend_to_be_main(arguments)
    multiprocessing.set_start_method(start_method, force=True)
    Thread(target=stop_with_parent, daemon=True).start()
    keep_freed_memory()
    gc.freeze()  # what is imported, as in engine/start.py
    try:
        Told(arguments)
    except UserError as error:
        pipe.send(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def pretend_to_be_main(arguments: Sequence[str]) -> None:
    """Make this process look like `python src/main.py` with these arguments, for the processes that it starts.

    Lightning starts the other processes of a run with `sys.argv`. Python's multiprocessing imports the file of
    `__main__` in each worker of a data loader; the command that started this process cannot be imported by its path.
    """
    import __main__

    script = str(project_root() / "src" / "main.py")
    sys.argv = [script, *arguments]
    __main__.__file__ = script
    __main__.__spec__ = None


def stop_with_parent() -> None:
    """Stop this process as soon as the one that started it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
