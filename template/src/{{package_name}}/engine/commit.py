"""Commits the project before a training, for `--git_commit_before_fit`."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from ..utils.project import UserError
from .git import complaint, run_git


@rank_zero_only
def commit_all(root: Path, message: str) -> None:
    """Commit all changes below a folder; print a line if there are none, or no repository.

    Raises:
        UserError: Git refuses.
    """
    status = run_git(root, "status", "--porcelain", "--untracked-files=normal", ".")
    if status.returncode:
        rank_zero_info("Git: nothing to commit, no repository")
        return
    if not status.stdout:
        rank_zero_info("Git: nothing to commit, the tree is clean")
        return
    for command in (["add", "--all", "."], ["commit", "--quiet", "--message", message]):
        done = run_git(root, *command)
        if done.returncode:
            raise UserError(
                f"cannot commit before fit ({complaint(done)}): see to that, or leave out "
                "--git_commit_before_fit"
            )
    rank_zero_info(f"Git: committed {message}")
