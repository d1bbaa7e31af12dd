"""The command line: LightningCLI with default configs, run directories, and checkpoints found by name.

Read it to see in which order a command does things. Add options of your own in the package's cli.py.
"""

import re
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..utils.project import UserError, project_root, shown
from .averaged_weights import without_averaging
from .best_checkpoint import BestCheckpoint
from .checkpoints import check_checkpoint
from .class_changes import insert_resets
from .commit import commit_all
from .configs import Given, check_order, given, plain_key, requested_run, without_empty_configs
from .dictionaries import check_options_in_dictionaries, check_options_in_lists
from .encoding import check_characters, with_texts_of_configs
from .finders import check_callbacks
from .init_weights import (
    InitialWeights,
    initial_weights,
    load_initial_weights,
    refuse_with_checkpoint,
)
from .links import (
    FROM_DATA,
    check_checkpoint_links,
    check_data_link,
    checked_value,
    missing_from_data,
    name_of_metric,
    pass_network_to_data,
    say_unused_links,
)
from .local_settings import with_local_settings
from .loggers import disable_loggers, place_loggers, run_name
from .messages import construction_message, explain_parse_error, own_error, user_message, with_place
from .monitor import check_directions, check_file_names
from .new_data import new_data_of, pass_run_to_data
from .new_run import announce_new_run
from .noise import silence_noise
from .options import add_options, check_options
from .predictions import PredictionWriter
from .pretrained import keep_without_pretrained, read_no_pretrained_weights
from .record import RunRecord
from .results import Results, results_of
from .run_callbacks import as_list, callbacks_of, loggers_of_fit, plugins_of
from .run_directory import logs_folder
from .runs import check_writable, find_run, locked
from .saved_config import config_text, config_values, forget_actions
from .secrets import refuse_secrets_of_the_command, refuse_secrets_of_the_model
from .start_point import Start, choose_start
from .stopping import CTRL_C
from .training_end import why_interrupted
from .values import check_values

# Lightning's own option for a name, which holds for every logger here, and for none
LOGGER_NAME = re.compile(r"^--trainer\.logger\.name(?=$|=)")  # matches --trainer.logger.name=exp1


class RunCLI(LightningCLI):
    """A command line that gives each run a directory and a record, and finds checkpoints by name.

    The hooks stand below in the order in which Lightning calls them:

    1. `init_parser` and `add_arguments_to_parser` declare the options, for each sub-command.
    2. `parse_arguments` reads configs and options.
    3. `before_instantiate_classes` chooses the run's directory and the checkpoint.
    4. `instantiate_classes` builds the data module and the model, and `instantiate_trainer` the trainer.
    5. `after_instantiate_classes` checks that they fit together.
    6. The sub-command runs. After a fit, `after_fit` is called.

    Args:
        args: The arguments of the command line; `sys.argv[1:]` if None.

    Raises:
        UserError: An argument, the data or a checkpoint is wrong.
    """

    initial: InitialWeights | None = None  # what a new run starts from
    results: Results | None = None  # of an evaluation

    def __init__(self, args: Sequence[str] | None = None) -> None:
        silence_noise()
        self.parsers: dict[str, LightningArgumentParser] = {}  # by sub-command
        self.command_line: list[str] = []
        self.typed: list[Given] = []  # values from configs and options
        self.continued_run: Path | None = None  # the run that `--run` names
        self.asked_checkpoint: str | None = None
        self.from_data: dict[str, Any] = {}  # arguments of the model that the data module provides
        self.links: dict[tuple[str, str], None] = {}  # sources and targets, in their order
        self.start: Start | None = None
        try:
            with ExitStack() as self.resources:
                self.run_command(list(sys.argv[1:] if args is None else args))
        except SIGTERMException as stop:
            self.end_interrupted(stop)
        except Exception as error:
            self.kill_child_processes()
            message = user_message(error)
            if not message:
                raise
            raise UserError(message) from error
        finally:
            self.clean_up()

    def run_command(self, args: list[str]) -> None:
        """Let Lightning parse the arguments, build everything, and run the sub-command."""
        super().__init__(
            # RunRecord writes config.yaml instead: as the user gave it, without the paths that are filled in below.
            save_config_callback=None,
            # `init_parser` needs the sub-command, which Lightning does not pass.
            parser_kwargs={verb: {"verb": verb} for verb in self.subcommands()},
            # Modules build their optimizers, because only the trainer knows how long a schedule has to be.
            auto_configure_optimizers=False,
            args=args,
        )

    def end_interrupted(self, stop: SIGTERMException) -> NoReturn:
        """End as the signal ends a program that does not handle it, after the training has been saved.

        Raises:
            KeyboardInterrupt: It was Ctrl-C.
            SystemExit: It was SIGTERM, or the terminal was closed, or another process had the signal.
        """
        if why_interrupted(self.trainer, stop) == CTRL_C:
            raise KeyboardInterrupt
        sys.exit(128 + signal.SIGTERM)

    def kill_child_processes(self) -> None:
        """Kill the child processes of the training, because they would wait for this one forever."""
        trainer = getattr(self, "trainer", None)
        launcher = trainer.strategy.launcher if trainer else None
        if launcher and hasattr(launcher, "kill"):
            # Windows has no SIGKILL, and its SIGTERM cannot be handled.
            launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))

    def clean_up(self) -> None:
        """Remove the directory of the results if it is empty, and close the connection to other processes."""
        if self.start:
            with suppress(OSError):
                self.results_directory.rmdir()
                self.results_directory.parent.rmdir()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # Gloo's threads would abort the interpreter at exit

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the same object.

        StochasticWeightAveraging copies the module. Its optimizer refers to the parser, and the parser to this object.
        """
        return self

    @property
    def directory(self) -> Path:
        """The run's directory. It is known from `before_instantiate_classes` on, so `before_fit` may use it."""
        if self.start is None:
            raise AttributeError("the run's directory is chosen in before_instantiate_classes")
        return self.start.directory

    @property
    def results_directory(self) -> Path:
        """The directory of predictions.csv and the report. It is the run's, if these are the run's own."""
        return self.results.directory if self.results else self.directory

    # 1. Options

    def init_parser(self, verb: str = "", **kwargs: Any) -> LightningArgumentParser:
        """Return the parser of a sub-command. It raises errors instead of printing the usage."""
        parser = super().init_parser(exit_on_error=False, allow_abbrev=False, **kwargs)
        self.parsers[verb] = parser
        self.record_links(parser)
        if verb:
            add_options(parser, verb)
        return parser

    def record_links(self, parser: LightningArgumentParser) -> None:
        """Remember the links that are added to a parser, because jsonargparse skips one without a word."""
        link_arguments = parser.link_arguments

        def record_and_link(source: Any, target: str, *args: Any, **kwargs: Any) -> None:
            self.links[str(source), target] = None
            link_arguments(source, target, *args, **kwargs)

        parser.link_arguments = record_and_link  # type: ignore[method-assign]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that all sub-commands share, and link arguments of the model to their sources."""
        parser.add_argument(
            "--name",
            type=str | None,
            help="Name of the run, which is saved in logs/<name>/<run id>.",
        )
        parser.add_argument(
            "--run",
            type=str | None,
            help="Use config and checkpoint of the run <directory|id|name|last>.",
        )
        precisions = Literal["highest", "high", "medium"]
        parser.add_argument(
            "--matmul_precision",
            type=precisions,
            default="highest",
            help="Precision of float32 products; high uses TF32 on a GPU.",
        )
        parser.add_argument(
            "--ignore_warnings", type=bool, default=False, help="Hide all warnings."
        )
        parser.add_class_arguments(BestCheckpoint, "checkpoint")
        parser.link_arguments("checkpoint.monitor", "model.init_args.monitor", name_of_metric)
        parser.link_arguments("checkpoint.mode", "model.init_args.mode")
        for key in FROM_DATA:
            parser.link_arguments(
                f"data.{key}",
                f"model.init_args.{key}",
                partial(self.take_from_data, key),
                apply_on="instantiate",
            )

    def take_from_data(self, key: str, value: Any) -> Any:
        """Return an argument that the data module provides to the model."""
        value = checked_value(key, value)
        self.from_data[key] = value
        check_data_link(key, value, self.config[self.subcommand], self.typed)
        return value

    # 2. Arguments

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the default configs, or the config of the run that `--run` names, and then the arguments."""
        args = [LOGGER_NAME.sub("--name", argument) for argument in args]
        self.command_line = list(args)
        for argument in args:
            check_characters(argument)
        verbs = list(self.subcommands())
        check_order(args, verbs)
        refuse_secrets_of_the_command(args)
        run = requested_run(args)
        if run:
            self.continued_run = find_run(run, logs_folder(args))
        if args and args[0] in verbs:
            check_options(args[0], args)
            args = [args[0], *self.with_first_configs(args[1:])]
        args = insert_resets(without_empty_configs(args))
        self.typed = given(args)
        self.config = self.parsed(parser, args)
        config = self.config[self.config.subcommand]
        linked = [plain_key(target) for _, target in self.links]
        check_values(config.as_dict(), self.typed, linked)
        check_checkpoint_links(config, self.typed)
        check_directions(config, self.typed)
        check_options_in_dictionaries(config, self.typed)
        check_options_in_lists(config, self.typed)
        # Hide the checkpoint, because Lightning would let its hyperparameters override configs and options.
        self.asked_checkpoint = config.ckpt_path
        config.ckpt_path = None

    def with_first_configs(self, args: Sequence[str]) -> list[str]:
        """Return the options of a sub-command with the first configs in front: the run's, or the default ones."""
        if self.continued_run:
            return ["-c", str(self.continued_run / "config.yaml"), *args]
        configs = project_root() / "configs"
        args = with_local_settings(args, configs / "local.yaml")
        return ["-c", str(configs / "default.yaml"), *args]

    def parsed(self, parser: LightningArgumentParser, args: Sequence[str]) -> Namespace:
        try:
            return parser.parse_args(with_texts_of_configs(args))
        except UnicodeError as error:  # in a file that a config includes
            raise UserError(f"a config is not read as UTF-8: set PYTHONUTF8=1 ({error})") from error
        except ArgumentError as error:
            known = self.parsers["fit"].get_defaults(skip_validation=True).keys()
            message = explain_parse_error(str(error), known, self.typed, args)
            raise UserError(message) from error

    # 3. Run and checkpoint

    def before_instantiate_classes(self) -> None:
        """Choose the run's directory and the checkpoint, and let the loggers write there."""
        config = self.config[self.subcommand]
        config.ckpt_path = self.asked_checkpoint
        self.apply_process_settings(config)
        self.fill_in_defaults(config)
        self.requested = config.clone()  # the content of config.yaml
        is_fit = self.subcommand == "fit"
        if is_fit:
            refuse_secrets_of_the_model(config.as_dict())
        self.start = self.choose_start(config)
        config.ckpt_path = self.start.checkpoint
        if is_fit:
            self.initial = self.choose_initial_weights(config)
        else:
            self.results = self.evaluated(self.start)
        pass_run_to_data(config, str(self.subcommand), self.start.directory)
        pass_network_to_data(config, self.typed)
        if config.ckpt_path or self.initial:
            read_no_pretrained_weights(config.get("model"))
        config.trainer.default_root_dir = str(self.results_directory)
        if config.trainer.fast_dev_run:
            disable_loggers(config.trainer, is_fit)
            return
        self.claim_directory(self.start.directory, exclusive=is_fit)
        place_loggers(config.trainer, self.start.directory)

    def apply_process_settings(self, config: Namespace) -> None:
        if config.ignore_warnings:
            warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision(config.matmul_precision)

    def fill_in_defaults(self, config: Namespace) -> None:
        """Reset what the config of a continued run must not decide, and replace unsuitable defaults of Lightning."""
        if self.continued_run:
            defaults = self.parsers[str(self.subcommand)].get_defaults(skip_validation=True)
            forget_actions(config, defaults, self.continued_run / "config.yaml", self.typed)
        if config.weights_only is None:
            # For a checkpoint from a URL, Lightning treats None as False.
            config.weights_only = True
        if self.subcommand == "predict" and config.return_predictions is None:
            # PredictionWriter writes them to disk. A million predictions would fill the memory.
            config.return_predictions = False

    def choose_start(self, config: Namespace) -> Start:
        logs = Path(config.trainer.default_root_dir or "")
        if not logs.is_absolute():
            logs = logs_folder(self.command_line)
        name = run_name(config)
        return choose_start(str(self.subcommand), config, name, logs, self.continued_run)

    def choose_initial_weights(self, config: Namespace) -> InitialWeights | None:
        """Return the weights that `--init_from` names for a new run. Its config.yaml keeps the path of the file."""
        if self.continued_run or self.asked_checkpoint:
            saved = None
            if self.continued_run:
                saved = self.continued_run / "config.yaml"
            refuse_with_checkpoint(self.typed, saved)
        if config.ckpt_path:  # the checkpoint has the weights
            return None
        initial = initial_weights(config, logs_folder(self.command_line))
        if initial:
            self.requested.init_from = str(initial.path)
        return initial

    def evaluated(self, start: Start) -> Results:
        """Return what this evaluation evaluates."""
        verb = str(self.subcommand)
        config = config_values(self.parsers[verb], self.requested, left_out=[])
        if new_data_of(self.requested):  # its predictions have a folder of their own
            del config["data"]
        return results_of(verb, start.directory, start.checkpoint, config)

    def claim_directory(self, directory: Path, exclusive: bool) -> None:
        """Create the run's directory before a logger writes to it. If `exclusive`, lock it until this command ends."""
        rank_zero_only(directory.mkdir)(parents=True, exist_ok=True)
        check_writable(directory)
        if exclusive:
            rank_zero_only(self.resources.enter_context)(locked(directory))

    # 4. Data module, model and trainer

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except Exception as error:
            raise self.cause_of(error) from None

    def cause_of(self, error: Exception) -> Exception:
        """Return the class's own error, as a UserError if the user can mend it."""
        cause = own_error(error)
        missing = missing_from_data(self.config[self.subcommand], self.from_data)
        if isinstance(cause, UserError) and missing and "is missing" in str(cause):
            return UserError(missing)
        if isinstance(cause, UserError):
            return cause
        message = user_message(cause)
        if message:
            return UserError(with_place(message, self.typed))
        line = construction_message(cause)
        if line:
            return UserError(line)
        return cause

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the callbacks and plugins of every run.

        Lightning's forced callbacks are not used, because they raise an error with `enable_checkpointing: false`.
        """
        init = self.config_init[self.subcommand]
        if init.get("git_commit_before_fit"):  # before RunRecord reads the commit
            commit_all(project_root(), "_".join(self.directory.parts[-2:]))
        self.checkpoint = init.checkpoint
        self.checkpoint.dirpath = str(self.directory / "checkpoints")
        check_file_names(as_list(init.trainer.callbacks), self.directory / "checkpoints")
        record = None
        if not init.trainer.fast_dev_run:
            record = RunRecord(
                self.directory, self.command_line, self.config_to_save(), self.initial, self.results
            )
        if record and self.subcommand == "fit":
            kwargs["logger"] = loggers_of_fit(init.trainer, record)
        new_data = new_data_of(self.config[self.subcommand])
        predictions = PredictionWriter(self.results_directory, new_data)
        callbacks = callbacks_of(
            str(self.subcommand), init.trainer, predictions, record, self.checkpoint
        )
        plugins = plugins_of(init.trainer)
        return super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)

    def config_to_save(self) -> str | None:
        """Return the text for config.yaml; None if this command must not change an existing one."""
        if self.subcommand != "fit" and (self.directory / "config.yaml").exists():
            return None
        return config_text(self.parsers[str(self.subcommand)], self.requested)

    # 5. Checks

    def after_instantiate_classes(self) -> None:
        """Raise UserError if the checkpoint or a callback does not fit the model.

        Then print whether the results of an evaluation will not be the run's own.
        """
        say_unused_links(self.links, self.datamodule, self.model)
        keep_without_pretrained(self.model)
        config = self.config[self.subcommand]
        is_fit = self.subcommand == "fit"
        if config.ckpt_path is not None:
            weights_only = config.weights_only is not False
            check_checkpoint(config.ckpt_path, self.model, weights_only, is_fit)
        if self.initial:
            load_initial_weights(self.model, self.initial)
        if is_fit and config.ckpt_path is None:
            announce_new_run(self.model, self.datamodule)
        if is_fit:
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            check_callbacks(callbacks, config.as_dict(), self.model, bool(config.ckpt_path))
        if self.results and not self.results.of_the_run:
            rank_zero_info(
                f"Not the run's own results, which stay as they are: {self.results.difference}"
            )

    # 6. After a fit

    def after_fit(self) -> None:
        if self.config.fit.test_after_fit:
            self.test_best_checkpoint()

    def test_best_checkpoint(self) -> None:
        """Test the best checkpoint; without one, test the final weights."""
        best = self.checkpoint.best_model_path
        self.trainer.callbacks = without_averaging(self.trainer.callbacks)  # type: ignore[attr-defined]
        self.trainer.test(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=best or None,
            weights_only=self.config.fit.weights_only,
        )
        tested = "the weights at the end (there is no best checkpoint)"
        if best:
            tested = shown(best)
        rank_zero_info(f"Tested: {tested}")
