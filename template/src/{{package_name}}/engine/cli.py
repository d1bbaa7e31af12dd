"""The command line: LightningCLI with default configs, run directories and checkpoints found by name."""

import logging
import re
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..utils.project import UserError, project_root, shown
from .averaged_weights import with_current_weights_at_first, without_averaging
from .best_checkpoint import BestCheckpoint
from .checkpoint_files import AtomicCheckpointIO
from .checkpoints import check_checkpoint, find_checkpoint
from .class_changes import drop_replaced
from .commit import commit_all
from .configs import check_order, given, requested_run, without_empty_configs
from .dictionaries import check_options_in_dictionaries
from .finders import check_callbacks
from .finite_weights import FiniteWeights
from .links import (
    FROM_DATA,
    check_checkpoint_links,
    check_data_link,
    missing_from_data,
    name_of_metric,
)
from .local_settings import with_local_settings
from .messages import construction_message, explain_parse_error, user_message, with_place
from .monitor import check_directions, check_file_names
from .options import add_actions, check_actions
from .predictions import PredictionWriter
from .progress import LayerSummary, ProgressBar
from .record import RunRecord
from .resume import Resume
from .run_directory import logs_folder
from .runs import check_writable, find_run, locked, new_id
from .saved_config import ACTIONS, config_text, forget_actions
from .secrets import refuse_secrets_of_the_command, refuse_secrets_of_the_model
from .stopping import StopAtBatchEnd
from .values import check_values

# What the user can do nothing about, such as that a resumed run's directory is not empty; that a loader is not
# resumable, which ours is; and advertisements
warnings.filterwarnings(
    "ignore", ".*many workers|.*LeafSpec|.* is not empty|The `srun` command|.* not resumable"
)
QUIET = (
    r"💡 Tip: |Trainer already configured with model summary|`Trainer\.fit` stopped: `max_epochs="
)
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
    lambda r: not re.match(QUIET, r.getMessage())
)


class RunCLI(LightningCLI):
    """Parse the arguments, `sys.argv[1:]` if None, and run; raise UserError if they, data or a checkpoint is wrong."""

    def __init__(self, args: Sequence[str] | None = None) -> None:
        self.parsers: dict[str, LightningArgumentParser] = {}
        self.from_data: dict[str, Any] = {}
        try:
            with ExitStack() as self.held:
                super().__init__(
                    save_config_callback=None,  # it would save to the logger's folder, and what is filled in here
                    parser_kwargs={verb: {"verb": verb} for verb in self.subcommands()},
                    auto_configure_optimizers=False,  # the modules do: how long a schedule is, only the trainer knows
                    args=list(sys.argv[1:] if args is None else args),
                )
        except SIGTERMException:
            sys.exit(128 + signal.SIGTERM)
        except Exception as error:
            with suppress(
                AttributeError
            ):  # the processes that this one has started would wait for it
                self.trainer.strategy.launcher.kill(signal.SIGKILL)  # type: ignore[union-attr]
            if not (text := user_message(error)):
                raise
            raise UserError(text) from error
        finally:
            with suppress(AttributeError, OSError):  # unless something is in it
                self.directory.rmdir()
                self.directory.parent.rmdir()
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()  # Gloo's threads would abort a Python that ends without

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Stay one: copies of a module, as StochasticWeightAveraging makes, lead here by its optimizer's parser."""
        return self

    def init_parser(self, verb: str = "", **kwargs: Any) -> LightningArgumentParser:
        """Have errors raised, not printed with the usage, and add the options that not all sub-commands have."""
        self.parsers[verb] = parser = super().init_parser(
            exit_on_error=False, allow_abbrev=False, **kwargs
        )
        if verb:
            add_actions(parser, verb)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of all sub-commands, and link what is declared once to where it is used."""
        parser.add_argument(
            "--name", type=str | None, help="The run's name: it goes to logs/<name>/<run id>."
        )
        parser.add_argument(
            "--run", type=str | None, help="Take config and checkpoint of <directory|id|name|last>."
        )
        precisions = Literal["highest", "high", "medium"]
        parser.add_argument(
            "--matmul_precision", type=precisions, default="highest", help="TF32 on a GPU: high."
        )
        parser.add_argument("--ignore_warnings", type=bool, default=False, help="Show no warnings.")
        parser.add_class_arguments(BestCheckpoint, "checkpoint")
        parser.link_arguments("checkpoint.monitor", "model.init_args.monitor", name_of_metric)
        parser.link_arguments("checkpoint.mode", "model.init_args.mode")
        for key in FROM_DATA:
            compute = partial(self.take_from_data, key)
            parser.link_arguments(
                f"data.{key}", f"model.init_args.{key}", compute, apply_on="instantiate"
            )

    def take_from_data(self, key: str, value: Any) -> Any:
        """Return what the data module gives to the model, as plain values, which every logger takes."""
        self.from_data[key] = value = FROM_DATA[key](value)
        check_data_link(key, value, self.typed)
        return value

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments after the default configs, or after that of the run that `--run` names."""
        args = [
            re.sub(r"^--trainer\.logger\.name(?=$|=)", "--name", arg) for arg in args
        ]  # for every logger, and none
        self.arguments = [*args]
        verbs = list(self.subcommands())
        check_order(args, verbs)
        refuse_secrets_of_the_command(args)
        run = requested_run(args)
        self.run = find_run(run, logs_folder(args)) if run else None
        if args and args[0] in verbs:
            check_actions(args[0], args)
            args = [args[0], *self.with_first_configs(args[1:])]
        args = drop_replaced(without_empty_configs(args))
        self.typed = given(args)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            options = self.parsers["fit"].get_defaults(skip_validation=True).keys()
            raise UserError(explain_parse_error(str(error), options, self.typed, args)) from error
        config = self.config[self.config.subcommand]
        check_values(config.as_dict(), self.typed)
        check_checkpoint_links(config, self.typed)
        check_directions(config, self.typed)
        check_options_in_dictionaries(config, self.typed)

    def with_first_configs(self, args: Sequence[str]) -> list[str]:
        """Return the options of a sub-command after the default configs, or after that of the run that goes on."""
        configs = project_root() / "configs"
        if self.run:
            return ["-c", str(self.run / "config.yaml"), *args]
        return [
            "-c",
            str(configs / "default.yaml"),
            *with_local_settings(args, configs / "local.yaml"),
        ]

    def _parse_ckpt_path(self) -> None:
        """Keep Lightning from letting the checkpoint's hyperparameters win over configs and command line."""

    def before_instantiate_classes(self) -> None:
        """Choose the run's directory and the checkpoint, and point the loggers there."""
        config, fit = self.config[self.subcommand], self.subcommand == "fit"
        if config.ignore_warnings:
            warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision(config.matmul_precision)
        if self.run:
            defaults = self.parsers[str(self.subcommand)].get_defaults(skip_validation=True)
            forget_actions(config, defaults, self.run / "config.yaml", self.typed)
        if config.weights_only is None:
            config.weights_only = (
                True  # Lightning takes None as False for a checkpoint from the web
            )
        if self.subcommand == "predict" and config.return_predictions is None:
            config.return_predictions = (
                False  # PredictionWriter has them; a million would fill the memory
            )
        self.given = config.clone()
        if fit:
            refuse_secrets_of_the_model(config.as_dict())
        loggers = (
            config.trainer.logger
            if isinstance(config.trainer.logger, list)
            else [config.trainer.logger]
        )
        loggers = [
            logger.get("init_args", {}) for logger in loggers if isinstance(logger, Namespace)
        ]
        names = [logger.get("name") for logger in loggers if logger.get("name") != "lightning_logs"]
        name = str(next(filter(None, [config.name, *names, "default"])))
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"name is {name}, but must be letters, digits, '_', '-' and '.' alone")
        logs, run = Path(config.trainer.default_root_dir or ""), self.run
        if not logs.is_absolute():
            logs = logs_folder(self.arguments)
        which = config.ckpt_path or (
            ("last" if run else None) if fit else None if config.allow_untrained else "best"
        )
        if which in ("best", "last"):
            run = run or find_run(name, logs, finished=not config.ckpt_path)
            found = find_checkpoint(run, which, config.weights_only is not False)
            if not found and (config.ckpt_path or not fit):
                raise UserError(
                    f"{shown(run)} has no {which} checkpoint: fit --run {run.name}, or --ckpt_path last"
                )
            config.ckpt_path = str(found) if found else None
        elif which and (Path(which).absolute().parent.parent / "config.yaml").exists():
            run = run or Path(which).absolute().parent.parent
        if self.run:
            rank_zero_info(f"Config: {shown(self.run / 'config.yaml')}")
        if which:
            rank_zero_info(
                f"Checkpoint: {shown(config.ckpt_path) if config.ckpt_path else 'none yet, it starts anew'}"
            )
        self.directory = run if run and (self.run or not fit) else logs / name / new_id()
        if not config.trainer.fast_dev_run:  # before a logger begins, or goes on with it
            rank_zero_only(self.directory.mkdir)(parents=True, exist_ok=True)
            check_writable(self.directory)
            if fit:
                rank_zero_only(self.held.enter_context)(locked(self.directory))
        config.trainer.default_root_dir = here = str(self.directory)
        # a fast run ignores loggers, but some would write; callbacks that ask for one find one, as in a real fit
        if (loggers or fit) and config.trainer.fast_dev_run:
            config.trainer.logger, loggers = (
                {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"},
                [],
            )
        for args in loggers:
            name, run_id = self.directory.parts[-2:]
            place = {
                "save_dir": here,
                "name": name,
                "experiment_name": name,
                "id": run_id,
                "run_name": run_id,
            }
            if (
                "version" in args and "id" not in args
            ):  # TensorBoard's folder is the run's, and CSV's one in it
                place |= {
                    "name": "",
                    "version": self.csv_folder() if "flush_logs_every_n_steps" in args else "",
                }
            for key in place.keys() & args.keys():
                args[key] = place[key]

    def csv_folder(self) -> str:
        """Return a folder in the run's directory that no CSVLogger has written to: it deletes an older metrics.csv."""
        number = 1
        folder = "csv"
        while (self.directory / folder).exists():
            number += 1
            folder = f"csv_{number}"
        return folder

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except Exception as error:
            raise self.cause_of(error) from None

    def cause_of(self, error: Exception) -> Exception:
        """Return the error of a class, not jsonargparse's list of types around it; of the owner's class, in a line."""
        cause = error
        while type(cause) is ValueError and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
        if isinstance(cause.__cause__, ImportError):
            cause = cause.__cause__
        missing = missing_from_data(self.config[self.subcommand], self.from_data)
        if isinstance(cause, UserError) and missing and "is missing" in str(cause):
            return UserError(missing)
        text = user_message(cause)
        if not text and (line := construction_message(cause)):
            return UserError(line)
        if text and not isinstance(cause, UserError):
            return UserError(with_place(text, self.typed))
        return cause

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that every run has, as far as the trainer's switches allow, and the file of metrics."""
        init, config = self.config_init[self.subcommand], None
        if init.get("git_commit_before_fit"):  # before the record looks at what is committed
            commit_all(project_root(), "_".join(self.directory.parts[-2:]))
        self.checkpoint, trainer = init.checkpoint, init.trainer
        self.checkpoint.dirpath = str(self.directory / "checkpoints")
        own, loggers = (
            one if isinstance(one, list) else [one] for one in (trainer.callbacks, trainer.logger)
        )
        own = list(filter(None, own))
        check_file_names(own, self.directory / "checkpoints")
        if self.subcommand == "fit":
            own = with_current_weights_at_first(own)
        else:
            own = without_averaging(own)
        used = [Resume(), StopAtBatchEnd(), FiniteWeights(), *own]
        if trainer.enable_progress_bar is not False and not any(
            isinstance(one, callbacks.ProgressBar) for one in used
        ):
            used.append(ProgressBar())
        if trainer.enable_model_summary is not False and not any(
            isinstance(one, callbacks.ModelSummary) for one in used
        ):
            used.append(LayerSummary())
        if not trainer.fast_dev_run:
            if self.subcommand == "fit" or not (self.directory / "config.yaml").exists():
                for key in ACTIONS:
                    self.given.pop(key, None)
                config = config_text(self.parsers[str(self.subcommand)], self.given)
            used.insert(1, record := RunRecord(self.directory, self.arguments, config))
            used += [self.checkpoint] if trainer.enable_checkpointing is not False else []
            used += [PredictionWriter(self.directory)] if self.subcommand == "predict" else []
            if self.subcommand == "fit":
                kwargs["logger"] = [
                    *(logger for logger in loggers if isinstance(logger, Logger)),
                    record.metrics,
                ]
        plugins = trainer.plugins if isinstance(trainer.plugins, list) else [trainer.plugins]
        plugins = [plugin for plugin in plugins if plugin is not None]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        return super().instantiate_trainer(callbacks=used, plugins=plugins, **kwargs)

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint that does not fit the model before anything is started."""
        if (config := self.config[self.subcommand]).ckpt_path is not None:
            check_checkpoint(config.ckpt_path, self.model, config.weights_only is not False)
        if self.subcommand == "fit":
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            check_callbacks(callbacks, config.as_dict(), self.model, bool(config.ckpt_path))

    def after_fit(self) -> None:
        if self.config.fit.test_after_fit:
            best = self.checkpoint.best_model_path
            self.trainer.callbacks = without_averaging(self.trainer.callbacks)  # type: ignore[attr-defined]
            weights_only = self.config.fit.weights_only
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=best or None,
                weights_only=weights_only,
            )
            rank_zero_info(
                f"Tested: {shown(best) if best else 'the weights at the end (there is no best checkpoint)'}"
            )
