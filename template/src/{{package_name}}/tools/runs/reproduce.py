"""`runs reproduce`: trains a run again from its commit, with its changes and its configuration."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...engine.configs import options as options_in
from ...engine.git import complaint, run_git
from ...engine.runs import by_start
from ...utils.project import UserError, project_root, shown
from ..options import stop_like_ctrl_c
from ..run_files import Run, sub_command, text
from .select import find
from .tables import different, distance, show

MASK = "***"  # replaces a possible secret in a record

# Options with which a resumed fit still ends as if it had never stopped
WITHOUT_INFLUENCE = (
    "run",
    "name",
    "test_after_fit",
    "git_commit_before_fit",
    "ignore_warnings",
    "data.num_workers",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.logger",
)
# As long as no schedule depends on the length
LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")


def reproduce_run(options: Namespace) -> None:
    """Train a run again and print how its metrics compare. Raise UserError if one differs too much."""
    run = find(options.run, options.logs)
    stop_like_ctrl_c()  # so that SIGTERM also removes the worktree
    with reproduced(run, options.into, options.keep) as again:
        outside = print_metrics(run, again, options.tolerance)
        if outside:
            titles = ["origin", shown(run.directory), "now"]
            show(titles, different(run.origin, again.origin))
            share = f"{outside} of {len(run.metrics)} metrics"
            raise UserError(f"{share} differ by more than {options.tolerance:g}")


def print_metrics(run: Run, again: Run, tolerance: float) -> int:
    """Print each metric of a run and of its repetition. Return how many differ by more than the tolerance."""
    outside = 0
    for name, expected in run.metrics.items():
        found = again.metrics.get(name)
        difference = distance(expected, found)
        if difference:
            result = f"{text(found)} now, differs by {difference:g}"
        else:
            result = "equal"
        print(f"{name}: {text(expected)}, {result}")
        if difference > tolerance:
            outside += 1
    return outside


@contextmanager
def reproduced(run: Run, into: Path | None, keep: bool) -> Iterator[Run]:
    """Train a finished run again in a git worktree, and yield the new run.

    It trains with config.yaml, because that includes the settings of configs/local.yaml, and those of a resumed run.
    So the working directory of the command does not matter. `validate` and `test` are repeated for their metrics.

    Args:
        run: The run to repeat.
        into: A new folder for the worktree; None for a temporary one.
        keep: Whether to keep the worktree.

    Raises:
        UserError: The code or the command is lost, or a command fails.
    """
    recorded = run.record.get("commands", [])
    # `directory` is that of the results of something else than the run.
    commands = [command["command"] for command in recorded if "directory" not in command]
    verbs = [sub_command(command) for command in commands]
    finished = run.record.get("status") == "finished"
    if not finished or "fit" not in verbs or not run.metrics:
        problem = f"{shown(run.directory)} is no finished fit"
        raise UserError(f"{problem}: there is nothing to compare with")

    refuse_changed_fits(run, [one for one in commands if sub_command(one) == "fit"])
    start = start_checkpoint(commands[verbs.index("fit")])
    with worktree(run, into, keep) as project:
        logs = project / "logs"
        config = str(run.directory / "config.yaml")
        call(project, "fit", "-c", config, *start, f"--trainer.default_root_dir={logs}")
        records = logs.glob("*/*/run.json")
        newest = max((path.parent for path in records), key=by_start)
        if "validate" in verbs:
            call(project, "validate", "--run", str(newest))
        repeated = Run(newest).metrics
        if run.metrics.keys() - repeated.keys():
            call(project, "test", "--run", str(newest))  # the run was tested, alone or after fit
        yield Run(newest)


def refuse_changed_fits(run: Run, fits: list[str]) -> None:
    """Raise UserError if a run was resumed with other options, because no single fit ends like it.

    config.yaml has the options of the last fit alone.
    """
    has_schedule = any(
        key.startswith("model.lr_scheduler") and value is not None
        for key, value in run.plain_config.items()
    )
    allowed = WITHOUT_INFLUENCE if has_schedule else (*WITHOUT_INFLUENCE, *LENGTHS)
    for command in fits[1:]:
        for option, _ in options_in(shlex.split(command)):
            key = option.removeprefix("--")
            if not f"{key}.".startswith(tuple(f"{name}." for name in allowed)):
                raise UserError(
                    f"{shown(run.directory)} was resumed with {option} ({command}), so that it is no result of "
                    "a single fit. Train it again with the same commands by hand."
                )


def start_checkpoint(command: str) -> list[str]:
    """Return `--ckpt_path` with an absolute path if a fit began with a checkpoint; otherwise an empty list."""
    if MASK in command:
        raise UserError(f"its command has a secret, which was not recorded: {command}")
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path")
    options, _ = parser.parse_known_args(shlex.split(command))
    if not options.ckpt_path:
        return []
    path = project_root() / options.ckpt_path
    if not path.exists():
        raise UserError(f"it began with --ckpt_path {options.ckpt_path}, and there is no such file")
    return ["--ckpt_path", str(path)]


@contextmanager
def worktree(run: Run, into: Path | None, keep: bool) -> Iterator[Path]:
    """Check out a run's code in a git worktree, and yield the project's root there. Clean up after a failure."""
    root = project_root()
    commit = recorded_commit(run)
    if into and into.exists():
        raise UserError(f"{shown(into)} is there already: --into takes a new folder")
    # the path from the repository's root to the project, such as `projects/digits/`
    prefix = git(root, "no git repository", "rev-parse", "--show-prefix").strip()
    git(root, f"its commit {commit} is gone", "cat-file", "-e", commit + "^{commit}")

    folder = worktree_folder(root, into)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        git(root, "cannot check out its commit", "worktree", "add", "--detach", str(folder), commit)
        undo.callback(remove_worktree, root, folder)
        apply_patch(run, folder, prefix)
        link_data(root, folder / prefix)
        if keep:
            undo.pop_all()
            removal = f"git worktree remove --force {folder}"
            print(f"Worktree: {folder} ({removal})", file=sys.stderr)
        yield folder / prefix


def worktree_folder(root: Path, into: Path | None) -> Path:
    """Return the folder of a worktree: `into`, or a new temporary folder."""
    if into:
        return into.absolute()
    return Path(tempfile.mkdtemp(prefix=f"{root.name}-"))


def recorded_commit(run: Run) -> str:
    """Return the commit of a run; raise UserError if its code cannot be restored."""
    commit = run.record.get("git", {}).get("commit")
    if not commit:
        problem = f"{shown(run.directory)} has no commit"
        raise UserError(f"{problem}: its code was not in a git repository")
    patch = run.directory / "code.patch"
    if not patch.exists():
        raise UserError(f"{shown(patch)} is gone, and with it what was changed since the commit")
    return str(commit)


def apply_patch(run: Run, folder: Path, prefix: str) -> None:
    """Apply the changes of a run's code since its commit."""
    patch = run.directory / "code.patch"
    if not patch.stat().st_size:
        return
    if MASK in patch.read_text(encoding="utf-8", errors="replace"):
        note = f"in {shown(patch)}, {MASK} stands for what may be a secret"
        print(f"Note: {note}", file=sys.stderr)
    place = ["--directory", prefix] if prefix else []
    problem = f"{shown(patch)} does not apply"
    git(folder, problem, "apply", "--whitespace=nowarn", *place, str(patch))


def link_data(root: Path, project: Path) -> None:
    """Link the datasets into a worktree of the project, because they are not in git.

    Raises:
        UserError: This system does not allow links.
    """
    for path in (root / "data").glob("*"):
        link = project / "data" / path.name
        if not link.exists():
            link.parent.mkdir(exist_ok=True)
            try:
                link.symlink_to(path, path.is_dir())
            except OSError as error:
                mend = "on Windows, turn on Developer Mode, which allows links"
                raise UserError(f"cannot link {shown(path)} ({error.strerror}): {mend}") from error


def remove_worktree(root: Path, folder: Path) -> None:
    """Remove a worktree, with its changes."""
    git(root, "cannot remove the worktree", "worktree", "remove", "--force", str(folder))


def git(folder: Path, problem: str, *arguments: str) -> str:
    """Return the output of git. If git fails, raise UserError with the problem and git's message."""
    done = run_git(folder, *arguments)
    if done.returncode:
        raise UserError(f"{problem} ({complaint(done)})")
    return done.stdout


def call(project: Path, *arguments: str) -> None:
    """Run a command in the worktree. Its src/main.py imports the package beside it, not an installed one."""
    words = shlex.join(arguments)
    print(f"In {project}: python src/main.py {words}", file=sys.stderr)
    script = str(project / "src" / "main.py")
    command = [sys.executable, script, *arguments]
    process = subprocess.Popen(command, cwd=project, stdout=sys.stderr)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # because SIGTERM, unlike Ctrl-C, reaches only this process
        process.wait()
        raise
    if status:
        raise UserError(f"{arguments[0]} fails there, with exit status {status}: see above")
