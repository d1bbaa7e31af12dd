"""What stands in for `python` in the tests: it asks the server to run the command, and waits for its end.

A script by the name of `python` starts it. In front of the arguments stand the path of the server's socket, and that
of Python itself.
"""

# ruff: noqa: PTH109, PTH110, PTH208
# Importing pathlib takes longer than all that this does.
import json
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# Options of Python that a fork can follow; with others, or with these variables, Python itself has to start.
OPTIONS = {"-B", "-P", "-u"}
VARIABLES = ("PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONSAFEPATH", "PYTHONUTF8")


def can_be_forked(arguments: list[str]) -> bool:
    """Return whether a fork behaves as Python would with these arguments."""
    if any(variable in os.environ for variable in VARIABLES):
        return False
    for position, argument in enumerate(arguments):
        if argument in ("-c", "-m"):
            return len(arguments) > position + 1
        if argument not in OPTIONS:
            return argument == "-" or not argument.startswith("-")
    return False


def open_files() -> list[int]:
    """Return the files that this process has been given."""
    found = []
    for name in os.listdir("/dev/fd"):
        if os.path.exists(f"/dev/fd/{name}") and os.get_inheritable(int(name)):
            found.append(int(name))
    return found


def main() -> None:
    address, python, *arguments = sys.argv[1:]
    if not can_be_forked(arguments):
        os.execv(python, [python, *arguments])
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    files = open_files()
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    ignored = [signum for signum in FORWARDED if signal.getsignal(signum) == signal.SIG_IGN]
    request = {
        "arguments": arguments,
        "blocked": sorted(blocked),
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "files": files,
        "ignored": ignored,
    }
    content = json.dumps(request).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], files)
    server.sendall(content)
    answers = server.makefile()
    child = int(answers.readline())
    for signum in set(FORWARDED) - set(ignored):
        signal.signal(signum, lambda number, frame: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    end = int(answers.readline())
    if end < 0:
        end_by(signal.Signals(-end))
    os._exit(end)


def end_by(signum: signal.Signals) -> None:
    """End by the signal that ended the fork, as Python itself would have."""
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.kill(os.getpid(), signum)


main()
