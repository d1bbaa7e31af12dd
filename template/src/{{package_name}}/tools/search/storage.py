"""Opens the database that the workers of a study share, and explains its errors."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from ...utils.project import UserError, mask
from .settings import Search

LONGEST_REASON = 200  # characters of a database's error message
DATABASE_ERRORS = (ImportError, SQLAlchemyError, StorageInternalError)  # ImportError: no driver

warnings.filterwarnings("ignore", category=ExperimentalWarning)  # because of the heartbeat

# Puts a trial back into the queue if its worker has died, or its search was stopped
hand_on = RetryHeartbeatStaleTrialCallback(max_retry=5)


def connect(search: Search, logs: Path) -> RDBStorage:
    """Return the database of a search, with its tables."""
    for _ in range(2):
        with suppress(SQLAlchemyError):
            return open_storage(search, logs)
        # Workers that start together all try to create the tables, and all but one fail.
        time.sleep(1)
    return open_storage(search, logs)


def open_storage(search: Search, logs: Path) -> RDBStorage:
    """Open the database, and create its tables if it has none."""
    return RDBStorage(
        search.storage or f"sqlite:///{logs / 'search.db'}",
        heartbeat_interval=search.heartbeat,
        grace_period=2 * search.heartbeat,
        heartbeat_stale_trial_callback=hand_on,
    )


@contextmanager
def explained(storage: str | None) -> Iterator[None]:
    """Turn errors of the database into UserErrors."""
    try:
        yield
    except DATABASE_ERRORS as error:
        place = mask(storage or "logs/search.db")
        reason = " ".join(str(driver_error(error)).split())
        raise UserError(f"storage {place} cannot be used: {reason[:LONGEST_REASON]}") from error


def driver_error(error: Exception) -> BaseException:
    """Return the error of the database's driver, because it is shorter than those of SQLAlchemy and Optuna."""
    wrapped = error if isinstance(error, SQLAlchemyError) else error.__cause__
    original = getattr(wrapped, "orig", None)
    if isinstance(original, BaseException):
        return original
    return error
