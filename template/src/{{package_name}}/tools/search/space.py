"""Chooses a trial's values from the space of the search."""

import json
from typing import Any

from optuna.trial import Trial

from ...utils.project import UserError
from .settings import Range


def suggested_options(trial: Trial, space: dict[str, Range | list[Any]]) -> list[str]:
    """Return the options of `fit` that set a trial's values. Raise UserError if a range is invalid."""
    options = []
    for key, allowed in space.items():
        value = suggest(trial, key, allowed)
        options.append(f"--{key}={value}")
    return options


def suggest(trial: Trial, key: str, allowed: Range | list[Any]) -> str:
    """Return a trial's value of a key, as YAML."""
    try:
        if isinstance(allowed, list):
            value = suggest_choice(trial, key, allowed)
        else:
            value = suggest_number(trial, key, allowed)
    except ValueError as error:
        advice = "if the study has begun, name another one with --study"
        raise UserError(f"space.{key}: {error} ({advice})") from error

    if isinstance(value, str):
        return value
    return json.dumps(value)


def suggest_choice(trial: Trial, key: str, choices: list[Any]) -> Any:
    """Return one of several choices. Lists and dictionaries become JSON, because Optuna only accepts plain values."""
    plain = []
    for choice in choices:
        if isinstance(choice, list | dict):
            plain.append(json.dumps(choice))
        else:
            plain.append(choice)
    return trial.suggest_categorical(key, plain)


def suggest_number(trial: Trial, key: str, allowed: Range) -> int | float:
    """Return a number from a range."""
    low = allowed.low
    high = allowed.high
    if isinstance(low, int) and isinstance(high, int):
        step = int(allowed.step or 1)
        return trial.suggest_int(key, low, high, step=step, log=allowed.log)
    return trial.suggest_float(key, low, high, step=allowed.step, log=allowed.log)
