"""A server that has imported what takes long.

For each request it forks, and the fork becomes `python src/main.py`, or `python -m` and a module.
"""
# ruff: noqa: E402, F401

import atexit
import os
import signal
import sys
from pathlib import Path

code = 1


def leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# The first one runs last, instead of clearing all memory away, which takes half a second.
atexit.register(leave)

import gc
import json
import runpy

import lightning.pytorch.cli
import lightning.pytorch.loggers
import pyrootutils
import torch._dynamo
import torch.utils.tensorboard

sys.path.append(str(Path(__file__).parents[1]))
from helpers.operators import declare_operators

declare_operators()
gc.freeze()  # or each fork would copy all memory when it ends
for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    args, cwd, env, files = json.loads(line)
    for target, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), target)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    try:
        if args[0] == "-m":
            sys.argv, sys.path[0] = args[1:], cwd
            runpy.run_module(args[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = args, str(Path(args[0]).parent)
            runpy.run_path(args[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT  # as a shell tells it
        raise
    break
