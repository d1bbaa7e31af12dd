"""Prints the provenance of a run as JSON: code, software and hardware. Read it to record more in run.json.

It is a separate program, because it takes a while and runs in parallel to the start of the run. It imports no PyTorch.
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

from ..utils.project import project_root
from .git import OF_ANOTHER_REPOSITORY

ROOT = project_root()
# Larger untracked files are left out of the patch
MAX_UNTRACKED_BYTES = 1_000_000
PROCESSOR = re.compile(r"model name\s*: (.*)")  # model name      : AMD EPYC 9654
# These options keep the patch valid for `git apply` under any git settings, such as diff.noprefix or diff.external
DIFFERENCE = (
    "git",
    "diff",
    "--no-color",
    "--no-ext-diff",
    "--no-renames",
    "--no-textconv",
    "--ignore-submodules=dirty",
    "--relative",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
PATCH = (*DIFFERENCE, "--submodule=short", "--inter-hunk-context=0", "--unified=3")


def output(*command: str, accepted: Sequence[int] = (0,)) -> str | None:
    """Return the output of a command; None if it is not installed or fails."""
    if not shutil.which(command[0]):
        return None
    environment = {
        name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY
    }
    environment.pop("GIT_DIFF_OPTS", None)
    # A git command of the user may need the lock of the index at this moment.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode not in accepted:
        return None
    # Decoded here, because text=True would turn each \r\n of a patch into \n.
    return done.stdout.decode("utf-8", errors="replace")


def patch() -> str:
    """Return the changes since the commit as a patch, with new files in src/ and configs/, but no binary files."""
    changed = output(*DIFFERENCE, "--numstat", "-z", "HEAD", "--") or ""
    binary = []
    for line in changed.split("\0")[:-1]:
        added, _, name = line.split("\t", 2)
        if added == "-":
            binary.append(f":(exclude,literal){name}")
    text = output(*PATCH, "HEAD", "--", ".", *binary) or ""
    new = (
        output("git", "ls-files", "-z", "--others", "--exclude-standard", "--", "src", "configs")
        or ""
    )
    for name in new.split("\0")[:-1]:
        path = ROOT / name  # may be a nested repository, or a broken link
        if (
            path.is_file()
            and path.stat().st_size <= MAX_UNTRACKED_BYTES
            and b"\0" not in path.read_bytes()
        ):
            # exit status 1 means that the files differ
            text += output(*PATCH, "--no-index", "--", os.devnull, name, accepted=(0, 1)) or ""
    return text


def code() -> dict[str, Any]:
    """Return the commit, the branch, whether there are changes, and the patch."""
    commit = output("git", "rev-parse", "--verify", "HEAD")
    branch = output("git", "rev-parse", "--abbrev-ref", "HEAD", "--")
    if not commit or not branch:  # no git, no repository, or nothing committed yet
        return {"git": {"commit": None, "branch": None, "dirty": None}, "patch": ""}
    changes = output(
        "git", "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none", "."
    )
    branch = branch.splitlines()[0]
    return {
        "git": {"commit": commit.strip(), "branch": branch, "dirty": bool(changes)},
        "patch": patch(),
    }


def software() -> dict[str, Any]:
    """Return the versions of Python and of all packages, and the template's version and answers."""
    # In the order of sys.path, and reversed below: the first version is the imported one. Leftovers of pip are empty.
    found = [one.metadata for one in distributions()]
    packages = {one["Name"]: one["Version"] for one in reversed(found) if one}
    versions = {name: packages.get(name) for name in ("torch", "lightning")}
    answers = ROOT / ".copier-answers.yml"
    template = None
    if answers.exists():
        template = yaml.safe_load(answers.read_text(encoding="utf-8"))
    return {
        "python": platform.python_version(),
        **versions,
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "template": template,
    }


def hardware() -> dict[str, Any]:
    """Return host, system, processor, cores, the GPUs that nvidia-smi lists, and the Slurm job."""
    cpuinfo = Path("/proc/cpuinfo")
    processor = platform.processor()
    if cpuinfo.exists():
        models = PROCESSOR.findall(cpuinfo.read_text(encoding="utf-8"))
        if models:
            processor = models[0]
    query = "--query-gpu=name,memory.total,driver_version"
    gpus = output("nvidia-smi", query, "--format=csv,noheader") or ""
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": processor,
        "cores": os.cpu_count(),
        "gpus": gpus.splitlines(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


if __name__ == "__main__":
    print(json.dumps({**code(), **software(), **hardware()}))
