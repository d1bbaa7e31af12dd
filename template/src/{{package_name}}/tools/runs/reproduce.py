"""A run trained again: its commit in a git worktree, with its changes and its configuration."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...engine.git import complaint, run_git
from ...utils.project import UserError, project_root, shown
from ..run_files import Run, sub_command


@contextmanager
def reproduced(run: Run, into: Path | None, keep: bool) -> Iterator[Run]:
    """Train a finished run again, and give the run that comes of it; unless `keep`, remove its worktree in the end.

    What is run is config.yaml: it holds what configs/local.yaml had set, and what was changed when the run went on, and
    it does not matter where the command was given. `validate` and `test`, which add metrics, are repeated too.

    Args:
        run: The run to repeat.
        into: A new folder for the worktree; if None, a temporary one.
        keep: Whether the worktree stays.

    Raises:
        UserError: The code or the command cannot be had again, or a command fails there.
    """
    commands = [command["command"] for command in run.record.get("commands", [])]
    verbs = [sub_command(command) for command in commands]
    if (
        run.record.get("status") != "finished"
        or "fit" not in verbs
        or not run.record.get("metrics")
    ):
        raise UserError(
            f"{shown(run.directory)} is no finished fit: there is nothing to compare with"
        )
    start = start_checkpoint(commands[verbs.index("fit")])
    with worktree(run, into, keep) as project:
        config, logs = run.directory / "config.yaml", project / "logs"
        call(project, "fit", "-c", str(config), *start, f"--trainer.default_root_dir={logs}")
        again = max(
            logs.glob("*/*/run.json"), key=lambda path: path.parent.name
        ).parent  # ids sort by time
        if "validate" in verbs:
            call(project, "validate", "--run", str(again))
        if (
            run.record["metrics"].keys() - Run(again).record["metrics"].keys()
        ):  # of test, or of --test_after_fit
            call(project, "test", "--run", str(again))
        yield Run(again)


def start_checkpoint(command: str) -> list[str]:
    """Return the option that says with which checkpoint a fit began, if with any, for every working directory."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path")
    given = parser.parse_known_args(shlex.split(command))[0].ckpt_path
    if given and "***" in given:  # masked by an earlier release
        raise UserError(f"its command has a secret, which was not recorded: {command}")
    if given and not (project_root() / given).exists():
        raise UserError(f"it began with --ckpt_path {given}, and there is no such file")
    return ["--ckpt_path", str(project_root() / given)] if given else []


@contextmanager
def worktree(run: Run, into: Path | None, keep: bool) -> Iterator[Path]:
    """Check out a run's code, and give the project's root there; if that fails, nothing is left behind."""
    root, patch, code = project_root(), run.directory / "code.patch", run.record.get("git", {})
    commit = code.get("commit")
    if not commit:
        raise UserError(
            f"{shown(run.directory)} has no commit: its code was not in a git repository"
        )
    if not patch.exists():
        raise UserError(f"{shown(patch)} is gone, and with it what was changed since the commit")
    if into and into.exists():
        raise UserError(f"{shown(into)} is there already: --into takes a new folder")
    prefix = git(
        root, "no git repository", "rev-parse", "--show-prefix"
    ).strip()  # of a project in a subfolder
    git(root, f"its commit {commit} is gone", "cat-file", "-e", commit + "^{commit}")
    folder = into.absolute() if into else Path(tempfile.mkdtemp(prefix=f"{root.name}-"))
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        git(root, "cannot check out its commit", "worktree", "add", "--detach", str(folder), commit)
        undo.callback(
            git, root, "cannot remove the worktree", "worktree", "remove", "--force", str(folder)
        )
        if patch.stat().st_size:
            if "***" in patch.read_text(encoding="utf-8", errors="replace"):
                print(
                    f"Note: in {shown(patch)}, *** stands for what may be a secret", file=sys.stderr
                )
            place = ["--directory", prefix] if prefix else []
            git(
                folder,
                f"{shown(patch)} does not apply",
                "apply",
                "--whitespace=nowarn",
                *place,
                str(patch),
            )
        project = folder / prefix
        for path in (root / "data").glob("*"):
            link = project / "data" / path.name
            if not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(path, path.is_dir())
        if keep:
            undo.pop_all()
            print(f"Worktree: {folder} (git worktree remove --force {folder})", file=sys.stderr)
        yield project


def git(folder: Path, problem: str, *arguments: str) -> str:
    """Return what git prints; if it fails, raise UserError with the problem and git's own words."""
    done = run_git(folder, *arguments)
    if done.returncode:
        raise UserError(f"{problem} ({complaint(done)})")
    return done.stdout


def call(project: Path, *arguments: str) -> None:
    """Run a command of the project in the worktree: src/main.py finds the package beside itself, installed or not."""
    print(f"In {project}: python src/main.py {shlex.join(arguments)}", file=sys.stderr)
    command = [sys.executable, str(project / "src" / "main.py"), *arguments]
    process = subprocess.Popen(command, cwd=project, stdout=sys.stderr)
    try:
        status = process.wait()
    except (
        KeyboardInterrupt
    ):  # it may be in the terminal's group of processes, which had Ctrl-C too, or not
        process.terminate()
        process.wait()
        raise
    if status:
        raise UserError(f"{arguments[0]} fails there, with exit status {status}: see above")
