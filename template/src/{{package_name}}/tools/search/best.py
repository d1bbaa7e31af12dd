"""Writes the configuration of a study's best trial to configs/experiment/, for `fit -c`."""

from pathlib import Path

import optuna
import yaml
from optuna.trial import TrialState

from ...utils.project import UserError, project_root, shown, write

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
MARK = "# Written by a search"


def write_best(study: optuna.Study, metric: str) -> None:
    """Write the configuration of the best trial to a config, and print its path.

    Raises:
        UserError: No trial was completed, or another file has the config's path.
    """
    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        name = study.study_name
        raise UserError(
            f"all trials of {name} were stopped early, or diverged: the pruner is too strict, or the space too wide"
        )

    best = study.best_trial
    trial = f"trial {best.number}"
    value = f"{metric} {best.value:.6g}"
    run = best.user_attrs["run"]
    config = without_trial_settings(project_root() / run / "config.yaml")

    path = experiment(study.study_name)
    path.parent.mkdir(exist_ok=True)
    head = f"{MARK}: {trial} of {study.study_name}, {value} in {run}"
    write(path, f"{head}\n{config}")

    done = len(study.get_trials(deepcopy=False, states=DONE))
    print(f"Best of {done}: {trial}, {value}, fit -c {shown(path)}")


def without_trial_settings(path: Path) -> str:
    """Return a trial's config without settings of the trial: its name, its folder and the disabled model summary."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    trainer = config["trainer"]
    config.pop("name", None)
    trainer.pop("enable_model_summary", None)
    trainer.pop("default_root_dir", None)
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def experiment(study: str) -> Path:
    """Return the path for the best trial's config. Raise UserError if a file exists there that no search wrote."""
    folder = project_root() / "configs" / "experiment"
    path = folder / f"{study}.yaml"
    if not path.exists():
        return path
    text = path.read_text(encoding="utf-8")
    if not text.startswith(MARK):
        advice = "rename it, or name another study with --study"
        raise UserError(f"{shown(path)} was not written by a search: {advice}")
    return path
