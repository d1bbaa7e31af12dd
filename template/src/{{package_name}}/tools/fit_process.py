"""Trains in a separate process. `repeat` and `search` use it; a search also reads the metrics during training."""

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

from ..engine.configs import given, place_of
from ..engine.run_directory import logs_folder
from ..utils.project import UserError, project_root
from .options import PACKAGE
from .run_files import Run

POLL = 0.5  # seconds between two reads of the metrics
LOOP_POSITION = {"epoch", "step"}  # columns of metrics.csv that are not metrics

# A fork server imports everything once. Apart from the imports, runs share no state.
START_METHOD = "spawn" if sys.platform == "win32" else "forkserver"
CONTEXT: Any = multiprocessing.get_context(START_METHOD)

Validation = tuple[int, float]  # epoch and value


class FitProcess:
    """Trains in a separate process. It saves and stops on `terminate`, or when this process has ended.

    Args:
        arguments: Arguments of the command line, `fit` first.
    """

    directory: Path | None = None  # the run's directory, once it is known
    error: str | None = None  # the user's mistake, if there was one

    def __init__(self, arguments: Sequence[str]) -> None:
        if START_METHOD == "forkserver":
            CONTEXT.set_forkserver_preload([f"{PACKAGE}.cli"])
        self.pipe, sender = CONTEXT.Pipe(duplex=False)
        start_method = multiprocessing.get_start_method()
        self.process = CONTEXT.Process(target=train, args=(arguments, sender, start_method))
        self.process.start()
        sender.close()

    def listen(self) -> None:
        """Wait for the next message of the process: its run's directory, or the mistake of the user."""
        with suppress(EOFError):
            message = self.pipe.recv()
            if isinstance(message, Path):
                self.directory = message
            else:
                self.error = message

    def epochs(self, metric: str) -> Iterator[Validation]:
        """Yield the epoch and the value of each validation, until the process ends.

        Raises:
            UserError: The run has metrics of the validation set, but not this one.
        """
        known: set[int] = set()  # steps
        read_at = 0.0
        while True:
            # Asked before reading, so that the last rows are not missed.
            is_alive = self.process.is_alive()
            written_at = self.metrics_written_at()
            if self.directory and written_at > read_at:
                read_at = written_at
                values = validations(Run(self.directory), metric)
                for step in sorted(values.keys() - known):
                    yield values[step]
                known.update(values)
            if not is_alive:
                return
            self.process.join(POLL)

    def metrics_written_at(self) -> float:
        """Return the modification time of metrics.csv; 0 if there is none."""
        if not self.directory:
            return 0.0
        path = self.directory / "metrics.csv"
        return path.stat().st_mtime if path.exists() else 0.0

    def terminate(self) -> None:
        """Tell the process to save and stop, unless it has ended."""
        self.process.terminate()

    def wait(self) -> None:
        """Wait for the end of the process."""
        self.process.join()
        self.listen()
        self.listen()

    def stop(self) -> None:
        """Tell the process to save and stop, and wait for its end."""
        self.terminate()
        self.wait()

    @property
    def failure(self) -> str | None:
        """The user's mistake, or a message about the signal that ended the process; None without either."""
        if self.error or self.status >= 0:
            return self.error
        name = signal.Signals(-self.status).name
        message = f"the run's process was ended by {name}"
        if name == "SIGKILL":
            message += ": the memory may have run out"
        return message

    @property
    def status(self) -> int:
        """The exit status: 0 after success, and a negative number after a signal."""
        return int(self.process.exitcode or 0)


def with_fixed_source(arguments: Sequence[str]) -> list[str]:
    """Return arguments of several fits, with the file that `--init_from` names.

    Otherwise `last` would be another run for each of them.

    Raises:
        UserError: There is no such file or run.
    """
    wanted = place_of("init_from", given(arguments))
    if wanted is None or wanted.value in (None, "null"):
        return list(arguments)
    # Imported only here, because it imports torch, which takes seconds.
    from ..engine.init_weights import find_weights

    path = find_weights(str(wanted.value), logs_folder(arguments))
    return [*arguments, f"--init_from={path}"]


def validations(run: Run, metric: str) -> dict[int, Validation]:
    """Return the epoch and the value of each validation, by its step.

    Raises:
        UserError: The run has metrics of the validation set, but not this one.
    """
    found: dict[int, Validation] = {}
    names: set[str] = set()
    for row in run.history:
        names.update(row)
        if metric in row:
            step = int(row["step"])
            epoch = int(row["epoch"])
            found[step] = (epoch, row[metric])

    names = {name for name in names if is_metric(name)}
    validated = any(name.startswith("val/") for name in names)
    if validated and metric not in names:
        others = ", ".join(sorted(names))
        raise UserError(f"metric is {metric}, but the run has finite {others}")
    return found


def is_metric(column: str) -> bool:
    """Return whether a column of metrics.csv is a metric: no position of the training, and no learning rate."""
    return column not in LOOP_POSITION and column.partition("/")[0] != "lr"


def train(arguments: Sequence[str], pipe: Connection, start_method: str) -> None:
    """Run the command line in this process. Send the run's directory, and a mistake of the user.

    Args:
        arguments: Arguments of the command line, `fit` first.
        pipe: Receives the directory and the mistake.
        start_method: Start method for child processes such as the workers of a data loader, as in a plain `fit`.
    """
    from ..cli import CLI
    from ..engine.start import keep_freed_memory

    class SendingCLI(CLI):
        def before_fit(self) -> None:
            pipe.send(self.directory)

    pretend_to_be_main(arguments)
    multiprocessing.set_start_method(start_method, force=True)
    Thread(target=stop_with_parent, daemon=True).start()
    keep_freed_memory()
    gc.freeze()  # imported objects are never freed, as in engine/start.py
    try:
        SendingCLI(arguments)
    except UserError as error:
        pipe.send(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def pretend_to_be_main(arguments: Sequence[str]) -> None:
    """Make this process look like `python src/main.py` with these arguments to its child processes.

    Lightning starts the other processes of a run with `sys.argv`. Python's multiprocessing imports the file of
    `__main__` in each worker of a data loader. The command that started this process cannot be imported by its path.
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
