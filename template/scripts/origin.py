"""Print, as JSON, where a run comes from: code, software and hardware. A run keeps it in its `run.json`.

It is a process of its own, which goes on beside the start of a run, for it takes a while.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
MAX_UNTRACKED = 1_000_000  # bytes of a file that git does not track, and that goes into the patch nevertheless


def output(*command: str, accepted: Sequence[int] = (0,)) -> str | None:
    """Return what a command prints, None if it is not there or fails."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace")
    return done.stdout if done.returncode in accepted else None


def code() -> dict[str, Any]:
    """Return commit, branch, whether anything is changed, and a patch of text, new files in src/ and configs/ too."""
    commit, changes = output("git", "rev-parse", "HEAD"), output("git", "status", "--porcelain", ".")
    branch = output("git", "rev-parse", "--abbrev-ref", "HEAD")
    if not commit or not branch:  # no git, no repository, or nothing committed yet
        return {"git": {"commit": None, "branch": None, "dirty": None}, "patch": ""}
    difference = ("git", "diff", "--no-ext-diff", "--no-color", "--no-renames", "--relative")
    changed = (output(*difference, "--numstat", "-z", "HEAD") or "").split("\0")[:-1]
    binary = [":(exclude)" + line.split("\t")[2] for line in changed if line.startswith("-")]
    patch = output(*difference, "HEAD", "--", ".", *binary) or ""
    new = output("git", "ls-files", "-z", "--others", "--exclude-standard", "src", "configs") or ""
    for name in new.split("\0")[:-1]:
        path = ROOT / name  # which may be a repository of its own, or a broken link
        if path.is_file() and path.stat().st_size <= MAX_UNTRACKED and b"\0" not in path.read_bytes():
            patch += output(*difference, "--no-index", "--", os.devnull, name, accepted=(0, 1)) or ""  # 1: it differs
    return {"git": {"commit": commit.strip(), "branch": branch.strip(), "dirty": bool(changes)}, "patch": patch}


def software() -> dict[str, Any]:
    """Return the versions of Python and of all packages, and the template's with the answers that were given."""
    found = [one.metadata for one in distributions()]  # in the order of imports, and empty for what pip left behind
    packages = {one["Name"]: one["Version"] for one in reversed(found) if one}
    versions = {name: packages.get(name) for name in ("torch", "lightning")}
    answers = ROOT / ".copier-answers.yml"
    return {
        "python": platform.python_version(),
        **versions,
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "template": yaml.safe_load(answers.read_text(encoding="utf-8")) if answers.exists() else None,
    }


def hardware() -> dict[str, Any]:
    """Return host, system, processor, its cores, GPUs as nvidia-smi has them, and the job of Slurm."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    gpus = output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader") or ""
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "gpus": gpus.splitlines(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


if __name__ == "__main__":
    print(json.dumps({**code(), **software(), **hardware()}))
