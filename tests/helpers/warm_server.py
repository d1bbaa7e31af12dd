"""A server that has imported what takes long. For each request, a fork of it becomes `python` with these arguments."""
# ruff: noqa: E402, F401

import atexit
import os
import signal
import sys
from pathlib import Path

end: int = 1  # the exit status, or what ended it: the negative number of a signal


def leave() -> None:
    """Leave at once. It runs last, instead of clearing all memory away, which takes half a second."""
    for stream in (sys.stdout, sys.stderr):
        if stream and not stream.closed:
            stream.flush()
    if end < 0:
        signal.signal(-end, signal.SIG_DFL)
        os.kill(os.getpid(), -end)
    os._exit(end)


atexit.register(leave)  # what is registered first runs last

import fcntl
import gc
import json
import multiprocessing
import runpy
import select
import socket
import time
import types
from contextlib import suppress
from typing import Any, TextIO

import lightning.pytorch.cli
import lightning.pytorch.loggers
import pandas
import pyrootutils
import torch._dynamo
import torch.utils.tensorboard
from lightning.pytorch.utilities import rank_zero_only

sys.path.append(str(Path(__file__).parents[1]))
from helpers.operators import declare_operators

declare_operators()

FIRST_KEPT = 500  # the lowest number of a client's file while the server's own are closed
PYTHON, ADDRESS = sys.argv[1:]


def serve() -> list[str]:
    """Fork for each client, until the process that started this one has ended.

    Returns:
        In a fork, the arguments of Python that it has to follow.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ADDRESS)
    listener.listen(100)
    print("ready", flush=True)
    gc.freeze()  # or each fork would copy all memory when it ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        client = listener.accept()[0]
        if os.fork() == 0:
            listener.close()
            return attend(client)
        client.close()
    os._exit(0)


def attend(client: socket.socket) -> list[str]:
    """Fork again, tell the client how the fork ends, and end it where the client is killed.

    Returns:
        In the fork, the arguments of Python that it has to follow.
    """
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    ended, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    content, files, _, _ = socket.recv_fds(client, 8, 100)
    length = int.from_bytes(content, "big")
    request = json.loads(client.makefile("rb").read(length))
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for own in (client, ended, writer):
            own.detach()  # or they would close the client's files of these numbers
        become(request, files)
        return list(request["arguments"])
    for file in files:
        os.close(file)
    client.sendall(f"{child}\n".encode())
    if ended not in select.select([ended, client], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(BrokenPipeError):  # where the client was killed
        client.sendall(f"{status}\n".encode())
    os._exit(0)


def become(request: dict[str, Any], files: list[int]) -> None:
    """Take files, directory, environment and signals from the client."""
    take_files(dict(zip(request["files"], files, strict=True)))
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    # Lightning reads it when it is imported.
    rank_zero_only.rank = rank()  # type: ignore[attr-defined]
    os.setpgid(0, 0)  # apart from the group of the tests
    for signum in request["ignored"]:
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])


def rank() -> int:
    """Return which one this is of the processes of a training."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def take_files(files: dict[int, int]) -> None:
    """Give the client's files the numbers that they have there, and close all others.

    Args:
        files: Number here, by the number there.
    """
    kept = {there: fcntl.fcntl(here, fcntl.F_DUPFD, FIRST_KEPT) for there, here in files.items()}
    os.closerange(0, FIRST_KEPT)
    for there, here in kept.items():
        os.dup2(here, there)
        os.close(here)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = opened(number) if number in files else None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def opened(number: int) -> TextIO:
    """Return a standard stream such as Python itself opens."""
    is_buffered = number < 2 and not os.isatty(number)
    return open(
        number,
        mode="w" if number else "r",
        buffering=-1 if is_buffered else 1,
        encoding="utf-8",
        errors="backslashreplace" if number == 2 else "strict",
        closefd=False,
    )


def run(arguments: list[str]) -> None:
    """Do what `python` does with these arguments."""
    options = []
    while arguments[0] not in ("-", "-c", "-m") and arguments[0].startswith("-"):
        options.append(arguments.pop(0))
    if "-u" in options:
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    sys.dont_write_bytecode = "-B" in options or bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [str(Path(path).absolute()) for path in paths if path]
    folders = {"-": "", "-c": "", "-m": str(Path.cwd())}
    sys.path[0] = folders.get(arguments[0], str(Path(arguments[0]).resolve().parent))
    if "-P" in options:
        sys.path.pop(0)

    if arguments[0] == "-":
        sys.argv = arguments
        run_code(sys.stdin.read(), "<stdin>")
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        run_code(arguments[1], "<string>")
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def run_code(code: str, name: str) -> None:
    """Run code as the main module. Tracebacks call it by the name."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    exec(compile(code, name, "exec"), main.__dict__)


arguments = serve()
sys.executable = PYTHON
multiprocessing.set_executable(PYTHON)  # that starts workers and fork servers
sys.orig_argv = [PYTHON, *arguments]
try:
    run(arguments)
    end = 0
except SystemExit as error:
    end = error.code if isinstance(error.code, int) else int(error.code is not None)
    raise
except KeyboardInterrupt:
    end = -signal.SIGINT
    raise
