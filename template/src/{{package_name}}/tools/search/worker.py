"""Runs the trials of a study. A trial is an ordinary run in `logs/<study>/`, in a separate process."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import fail_stale_trials
from optuna.trial import Trial, TrialState

from ...engine.finite_weights import DIVERGED
from ...engine.run_directory import logs_folder
from ...utils.project import UserError, project_root, write
from ..fit_process import FitProcess
from ..run_files import Run
from .best import DONE
from .settings import Search
from .space import suggested_options
from .storage import connect, hand_on

FAILURES = 3  # a worker gives up after this number of failures in a row

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Worker:
    """Runs one trial after the other, until the study has `search.trials` of them.

    Args:
        search: Settings of the search.
        arguments: Arguments of `fit` that all trials share.

    Raises:
        UserError: The storage cannot be used, or the stored study has another direction.
    """

    def __init__(self, search: Search, arguments: Sequence[str]) -> None:
        self.search = search
        self.arguments = arguments
        logs = logs_folder(arguments)
        # Held from counting the trials until the next one runs. Otherwise two workers could both begin the last trial.
        self.start_lock = FileLock(logs / ".search.lock", fallback_to_soft=False)
        self.study = optuna.create_study(
            storage=connect(search, logs),
            sampler=search.sampler,
            pruner=search.pruner,
            study_name=search.study,
            direction=search.direction,
            load_if_exists=True,
        )
        direction = self.study.direction.name.lower()
        if direction != search.direction:
            problem = (
                f"direction is {search.direction}, but the study {search.study} is to {direction}"
            )
            raise UserError(f"{problem}: name another one with --study")

    def work(self) -> None:
        """Run trials. Raise UserError if one fails before any is done, or after several failures in a row."""
        failures = 0
        while True:
            with suppress(OSError):  # the file system has no locks
                self.start_lock.acquire()
            fail_stale_trials(self.study)  # puts trials of dead workers back into the queue
            trials = self.study.get_trials(deepcopy=False)
            states = Counter(trial.state for trial in trials)
            done = sum(states[state] for state in DONE)
            if done >= self.search.trials:
                self.start_lock.release()
                return

            begun = done + states[TrialState.RUNNING]
            if begun >= self.search.trials and not states[TrialState.WAITING]:
                self.start_lock.release()
                time.sleep(1)  # because another worker may die and leave its trial
                continue

            try:
                self.study.optimize(self.run, n_trials=1)
                failures = 0
            except UserError as error:
                failures += 1
                if not done or failures == FAILURES:
                    raise
                print(f"The trial failed: {error}", file=sys.stderr)

    def run(self, trial: Trial) -> float:
        """Train with a trial's values and return the best value of the metric. Optuna calls this.

        An interrupted trial resumes its run.

        Raises:
            UserError: The run failed.
            TrialPruned: The pruner stopped the run, or training diverged, which means that the values are bad.
        """
        self.start_lock.release()
        options = suggested_options(trial, self.search.space)
        process = FitProcess(self.fit_arguments(trial, options))
        try:
            process.listen()
            if process.directory:
                trial.set_user_attr("run", os.path.relpath(process.directory, project_root()))
            values, pruned = self.follow(trial, process)
        except KeyboardInterrupt:
            hand_on(self.study, self.study.trials[trial.number])  # the next search resumes it
            raise
        finally:
            process.stop()

        if (process.error or "").startswith(DIVERGED) and process.directory:
            self.add_trial_to_record(process.directory, trial, pruned=True)
            print(f"Trial {trial.number}: {process.error}", *options, file=sys.stderr)
            raise optuna.TrialPruned
        self.check(process, pruned)
        if not values or not process.directory:
            raise UserError(f"the run ended before {self.search.metric} was measured")
        self.add_trial_to_record(process.directory, trial, pruned)
        return self.result(trial, values, pruned, options)

    def fit_arguments(self, trial: Trial, options: Sequence[str]) -> list[str]:
        """Return the arguments of `fit` that begin a trial's run, or resume its existing one."""
        begun = project_root() / trial.user_attrs.get("run", "none")
        if (begun / "config.yaml").exists():
            return ["fit", f"--run={begun}"]
        # After the other arguments, because a run's config.yaml has a name too.
        name = f"--name={self.search.study}"
        return ["fit", "--trainer.enable_model_summary=false", *self.arguments, *options, name]

    def follow(self, trial: Trial, process: FitProcess) -> tuple[list[float], bool]:
        """Report each value of the metric to Optuna, and stop the run if the pruner decides so.

        Returns:
            The values of the metric, and whether the run was stopped early.
        """
        values: list[float] = []
        reported: set[int] = set()
        pruned = False
        for epoch, value in process.epochs(self.search.metric):
            values.append(value)
            if epoch not in reported:  # Optuna accepts one value for each epoch
                reported.add(epoch)
                trial.report(value, epoch)
            if not pruned and trial.should_prune():
                pruned = True
                process.terminate()
        return values, pruned

    def check(self, process: FitProcess, pruned: bool) -> None:
        """Raise UserError if the run failed. A pruned run was told to stop, so its exit status is ignored."""
        failure = process.error if pruned else process.failure
        if failure:
            raise UserError(failure)
        if process.status and not pruned:
            raise UserError(f"the process of the run ended with status {process.status}")

    def add_trial_to_record(self, directory: Path, trial: Trial, pruned: bool) -> None:
        """Add the trial to the run's run.json."""
        record = dict(Run(directory).record)
        record["trial"] = {"study": self.search.study, "number": trial.number, "pruned": pruned}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        write(directory / "run.json", text + "\n")

    def result(
        self, trial: Trial, values: Sequence[float], pruned: bool, options: Sequence[str]
    ) -> float:
        """Print a trial's best value, and return it. Raise TrialPruned if the run was stopped early."""
        best = max(values) if self.search.direction == "maximize" else min(values)
        line = f"Trial {trial.number}: {self.search.metric} {best:.6g}"
        if pruned:
            line += ", pruned"
        print(line, *options, file=sys.stderr)
        if pruned:
            raise optuna.TrialPruned
        return best
