"""Read batches without a network: `reading.py OUT WORKERS CLASS [key=value …]` writes what an epoch takes to OUT.

`reading`: samples per second, of up to 500 batches after 20. `memory`: MiB of this process and its workers, without
files that are mapped into them, on Linux. `start of an epoch`: seconds until the first batch of the second epoch.
"""

import itertools
import json
import multiprocessing
import os
import re
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

WARM, COUNTED = 20, 500


def own_memory() -> float:
    """Return MiB of this process and its workers; memory that they share counts once."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    kilobytes = 0
    for process in processes:
        rollup = Path(f"/proc/{process}/smaps_rollup")
        if rollup.exists():
            kilobytes += sum(map(int, re.findall(r"Pss_Anon:\s+(\d+)", rollup.read_text())))
            kilobytes += sum(map(int, re.findall(r"Pss_Shmem:\s+(\d+)", rollup.read_text())))
    return kilobytes / 1024


def measure(data: Any) -> dict[str, float]:
    """Return what the second epoch of a data module takes."""
    data.setup("fit")
    loader = data.train_dataloader()
    for _ in itertools.islice(loader, WARM):
        pass
    start = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter()
    for _ in itertools.islice(batches, WARM):
        pass
    warm = time.perf_counter()
    counted = sum(len(labels) for _, labels in itertools.islice(batches, COUNTED))
    end = time.perf_counter()
    return {
        "reading": counted / (end - warm),
        "memory": own_memory(),
        "start of an epoch": first - start,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # about more workers than there are cores
    out, workers, name, *options = sys.argv[1:]
    module, _, class_name = name.rpartition(".")
    arguments = {}
    for option in options:
        key, _, value = option.partition("=")
        arguments[key] = yaml.safe_load(value)
    data = getattr(import_module(module), class_name)(num_workers=int(workers), **arguments)
    Path(out).write_text(json.dumps(measure(data)))
