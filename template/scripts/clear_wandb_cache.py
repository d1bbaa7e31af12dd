"""Remove the directories, checkpoints included, of runs that were deleted on the W&B server.

Runs are where the project's commands look for them: in logs/, or in trainer.default_root_dir of configs/local.yaml. A
run's directory, logs/<name>/<run id>, stays if the server has the run, if nothing proves that it ever had it (no
wandb/ folder, offline and not synced, logged to another project), or if logs/keep.txt has its run id or name on a line.
"""

import argparse
import importlib
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import pyrootutils
import wandb
import yaml


def logged_to(*configs: Path) -> tuple[str | None, str | None]:
    """Return the entity and the project of the W&B logger, None if not set; a later config overrides."""
    found: dict[str, str] = {}
    for path in configs:
        with path.open(encoding="utf-8") as file:
            loggers = ((yaml.safe_load(file) or {}).get("trainer") or {}).get("logger")
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, dict) and "WandbLogger" in logger.get(
                "class_path", "WandbLogger"
            ):
                found |= {
                    key: value for key, value in (logger.get("init_args") or {}).items() if value
                }
    return found.get("entity"), found.get("project")


def keep_list(path: Path) -> set[str]:
    """Return the run ids and names to keep; `logs/<name>` stands for the name."""
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else []
    return {Path(line.split("#")[0].strip()).name for line in lines}


def was_sent(run: Path) -> bool:
    """Return whether W&B has folders in a run's directory, and all of them are this run's and reached the server."""
    pattern = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(run.name)}")
    folders = {
        folder: pattern.fullmatch(folder.name) for folder in run.rglob("wandb/*run-*")
    }  # of test etc. as well
    sent = (
        match and (not match[1] or any(folder.glob("*.wandb.synced")))
        for folder, match in folders.items()
    )
    return bool(folders) and all(sent)


def ask_server(entity: str | None, project: str) -> tuple[str, str | None, set[str]]:
    """Return the project's entity, the user's default entity, and the ids of all runs that the project has."""
    try:
        with (
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):  # on a terminal, wandb would ask for a key
            # few retries, to give up before Api's own timeout: after that wandb's service may hang when the script ends
            wandb.setup(wandb.Settings(x_graphql_retry_max=1, x_graphql_timeout_seconds=20))
            api = wandb.Api(timeout=60)
            default = api.settings["entity"] or api.default_entity
            runs = api.runs(f"{entity}/{project}" if entity else project)
            ids = {run.id for run in runs}  # of all pages; an unknown project is an error
            if len(ids) < len(runs):
                raise ValueError(f"the server listed {len(ids)} of {len(runs)} runs")
            return runs.entity, default, ids
    except (
        Exception
    ) as error:  # wandb's own, those of requests, built-in: any of them means that nothing is known
        raise ValueError(
            f"cannot ask W&B about {entity or '<your entity>'}/{project}: {error}"
        ) from error


def logs_folder(root: Path, option: str | None) -> Path:
    """Return the folder of the runs, which the project's package knows; ValueError is raised if a config is wrong."""
    modules = sorted((root / "src").glob("*/engine/run_directory.py"))
    if not modules:
        raise ValueError(
            "src/ has no package with engine/run_directory.py, which knows where the runs are"
        )
    package = modules[0].parents[1].name
    sys.path.insert(0, str(root / "src"))
    engine = importlib.import_module(f"{package}.engine.run_directory")
    return Path(engine.chosen_folder(option))


def deleted_runs(root: Path, logs: Path, chosen: str | None) -> list[Path]:
    """Return the directories of the runs that the server no longer has; ValueError is raised if it cannot be asked."""
    configs = [root / "configs" / name for name in ("default.yaml", "local.yaml")]
    entity, project = logged_to(*(path for path in configs if path.exists()))
    if chosen:
        entity, _, project = chosen.rpartition("/")
    if not project:
        raise ValueError("the configs name no W&B project: pass --project ENTITY/PROJECT")
    keep = keep_list(logs / "keep.txt") | keep_list(root / "logs" / "keep.txt")
    # listed before the server is asked: a run that starts in between must not look deleted
    runs = [
        run for run in sorted(logs.glob("*/*")) if not (run.is_symlink() or run.parent.is_symlink())
    ]
    runs = [run for run in runs if was_sent(run) and not {run.name, run.parent.name} & keep]
    entity, default, ids = ask_server(entity, project)
    runs = [run for run in runs if run.name not in ids]
    homes = [
        {(own or default, name) for own, name in map(logged_to, run.glob("config*.yaml"))}
        for run in runs
    ]
    return [run for run, home in zip(runs, homes, strict=True) if home == {(entity, project)}]


def confirmed(question: str) -> bool:
    """Return whether somebody at a terminal says yes."""
    with suppress(EOFError, KeyboardInterrupt):
        return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")
    return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Remove the directories of runs that were deleted on the W&B server."
    )
    parser.add_argument(
        "--project",
        metavar="ENTITY/PROJECT",
        help="default: the W&B logger's in configs/default.yaml",
    )
    parser.add_argument(
        "--trainer.default_root_dir",
        dest="folder",
        metavar="FOLDER",
        help="of the runs; default: as for fit, that of configs/local.yaml or logs/",
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    options = parser.parse_args()
    try:
        root = Path(
            pyrootutils.setup_root(__file__, indicator=".project-root")
        )  # loads .env, as the project does
        logs = logs_folder(root, options.folder)
        runs = deleted_runs(root, logs, options.project)
        size = {
            run: sum(path.lstat().st_size for path in run.rglob("*") if path.is_file()) / 1e6
            for run in runs
        }
    except (OSError, ValueError, yaml.YAMLError) as error:
        sys.exit(f"error: {' '.join(str(error).split())} (nothing was removed)")
    for run in runs:
        place = run.relative_to(root) if run.is_relative_to(root) else run
        print(f"{place}  {size[run]:.1f} MB")
    if (
        runs
        and not options.yes
        and not confirmed(f"Remove these {len(runs)}, checkpoints included? [y/N] ")
    ):
        print("Nothing was removed (--yes removes without asking).")
        return
    for run in runs:
        shutil.rmtree(run, ignore_errors=True)
    gone = [run for run in runs if not run.exists()]
    print(f"Run directories removed: {len(gone)}, freed: {sum(size[run] for run in gone):.1f} MB")
    if left := [str(run) for run in runs if run not in gone]:
        sys.exit(f"error: cannot remove all of {', '.join(left)}")


if __name__ == "__main__":
    main()
