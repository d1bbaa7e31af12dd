"""Downloads the files of a dataset, and checks their SHA-256. Read it if a download fails."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..utils.project import UserError, shown

TIMEOUT = 30  # seconds without an answer
LONGEST_REASON = 99  # characters of an error's first line


def download(name: str, sha256: str, mirrors: Sequence[str], folder: Path) -> None:
    """Download a file from the first mirror that has it, unless the file exists.

    Args:
        name: The file's name, which is appended to the URL of a mirror.
        sha256: Its SHA-256.
        mirrors: Base URLs, tried in this order.
        folder: The folder for the file.

    Raises:
        UserError: The existing file has another SHA-256, or no mirror has the file.
    """
    path = folder / name
    if path.exists():
        check(path, sha256)
        return
    problems = []
    for mirror in mirrors:
        problem = fetch(f"{mirror.rstrip('/')}/{name}", sha256, path)
        if problem is None:
            return
        problems.append(problem)
    reasons = "; ".join(problems)
    raise UserError(f"cannot download {name}: put it into {shown(folder)} by hand ({reasons})")


def check(path: Path, sha256: str) -> None:
    """Raise UserError if a file has another SHA-256."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise UserError(f"{shown(path)} has a wrong SHA-256: delete it, and it is downloaded again")


def fetch(url: str, sha256: str, path: Path) -> str | None:
    """Download a file from one URL. Return the reason of a failure, or None."""
    import pooch  # only here, because it would slow down every start

    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    try:
        pooch.retrieve(url, sha256, path.name, path.parent, downloader=downloader)
    except (OSError, ValueError) as error:  # connection failed or refused; wrong SHA-256
        reason = str(error).splitlines()[0]
        return f"{url}: {reason[:LONGEST_REASON]}"
    return None
