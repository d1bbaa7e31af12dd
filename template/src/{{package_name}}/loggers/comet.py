"""Comet, with one experiment for each run."""

import logging
import os
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.utilities import rank_zero_only

from ..engine.git import run_git
from ..engine.secrets import has_login
from ..utils.project import project_root

KEY_LENGTH = 32  # characters of an experiment's key


def is_no_advertisement(record: logging.LogRecord) -> bool:
    """Return whether a message is worth showing. Comet would like to be imported before Lightning, and says so."""
    return "To get all data logged" not in record.getMessage()


logging.getLogger("comet_ml.experiment").addFilter(is_no_advertisement)


class CometLogger(loggers.CometLogger):
    """Lightning's logger, which also records offline. A resumed run keeps its experiment.

    Args:
        save_dir: The run's directory, `logs/<name>/<run id>`. The experiment's key is made from the id.
        online: Record at the server. If false, each command writes an archive to `comet/` in the directory.
        **kwargs: Further arguments of Lightning's logger, and of `comet_ml.ExperimentConfig`.
    """

    def __init__(self, save_dir: str, online: bool = True, **kwargs: Any) -> None:
        directory = Path(save_dir).absolute()
        # A folder for each command, because a seed gives all archives the same name.
        archives = directory / "comet" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        if not online:
            # With online=False, Lightning records nothing (its issue #21617).
            os.environ["COMET_START_ONLINE"] = "false"
            rank_zero_only(archives.mkdir)(parents=True)
        remotes = run_git(project_root(), "remote", "--verbose").stdout
        if has_login(remotes):
            kwargs.setdefault("log_git_metadata", False)  # it would record the login
        key = sha256(directory.name.encode()).hexdigest()
        super().__init__(
            online=online or None,
            experiment_key=key[:KEY_LENGTH],
            offline_directory=str(archives),
            name="/".join(directory.parts[-2:]),
            **kwargs,
        )
