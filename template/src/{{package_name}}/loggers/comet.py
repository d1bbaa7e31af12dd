"""Comet, with one experiment for each run."""

import logging
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.utilities import rank_zero_only

from ..engine.git import run_git
from ..engine.secrets import has_login
from ..utils.project import project_root

# an advertisement of what Lightning switches off, and imports Comet too late for
logging.getLogger("comet_ml.experiment").addFilter(
    lambda record: "To get all data logged" not in record.getMessage()
)


class CometLogger(loggers.CometLogger):
    """Lightning's, which records offline as well; a run that goes on keeps its experiment.

    Args:
        save_dir: The run's directory, `logs/<name>/<run id>`; the experiment's key is made from the id.
        online: Whether to record at the server, or in `comet/` in the directory, an archive for each command.
        **kwargs: Further arguments of Lightning's logger, and of `comet_ml.ExperimentConfig`.
    """

    def __init__(self, save_dir: str, online: bool = True, **kwargs: Any) -> None:
        directory = Path(save_dir).absolute()
        # a folder for each: a seed gives all archives the same name, and a later one would replace the earlier
        archives = directory / "comet" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        if not online:  # with online=False, Lightning records nothing (its issue #21617)
            os.environ["COMET_START_ONLINE"] = "false"
            rank_zero_only(archives.mkdir)(parents=True)
        if has_login(run_git(project_root(), "remote", "--verbose").stdout):
            kwargs.setdefault("log_git_metadata", False)  # it has the address as it is
        super().__init__(
            online=online or None,
            experiment_key=sha256(directory.name.encode()).hexdigest()[:32],
            offline_directory=str(archives),
            name="/".join(directory.parts[-2:]),
            **kwargs,
        )
