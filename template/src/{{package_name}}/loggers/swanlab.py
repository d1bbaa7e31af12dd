"""SwanLab, with one SwanLab run for each run."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import swanlab
from lightning.pytorch.utilities import rank_zero_only
from swanlab.integration import pytorch_lightning

from ..engine.git import run_git
from ..engine.secrets import has_login
from ..utils.project import UserError, project_root


class SwanLabLogger(pytorch_lightning.SwanLabLogger):  # type: ignore[misc] # SwanLab has no types
    """SwanLab's own logger. A resumed run keeps its SwanLab run.

    Args:
        save_dir: The run's directory, `logs/<name>/<run id>`. The SwanLab run has the same id.
        mode: `offline` writes to `swanlab/` in the directory alone, in a folder for each command. `online` also
            records at the server.
        **kwargs: Further arguments of SwanLab's logger, and of `swanlab.init`.

    Raises:
        UserError: The mode is online, and there is no API key.
    """

    def __init__(
        self, save_dir: str, mode: Literal["offline", "online"] = "offline", **kwargs: Any
    ) -> None:
        if mode == "online" and not swanlab.Settings().api_key:
            raise UserError(
                "SwanLab has no API key: run swanlab login, or set --trainer.logger.mode offline"
            )
        if swanlab.has_run():
            swanlab.finish()  # of the command before, in a notebook
        directory = Path(save_dir).absolute()
        remotes = run_git(project_root(), "remote", "--verbose").stdout
        if has_login(remotes):
            # SwanLab would record the login.
            probe = swanlab.Settings.Probe(git=False)
            kwargs.setdefault("settings", swanlab.Settings(probe=probe))
        super().__init__(
            save_dir=save_dir,
            mode=mode,
            experiment_name="/".join(directory.parts[-2:]),
            id=directory.name,
            resume="allow",
            log_dir=str(directory / "swanlab"),
            **kwargs,
        )

    def log_hyperparams(
        self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Log hyperparameters. SwanLab's logger would lose those of a module, because they are no plain dictionary."""
        if not isinstance(params, Namespace):
            params = dict(params)
        super().log_hyperparams(params, *args, **kwargs)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End a SwanLab run that failed or was stopped. Others end with the process, because a test may follow."""
        if status != "success" and swanlab.has_run():
            swanlab.finish(state="crashed", error="The command failed or was stopped.")
