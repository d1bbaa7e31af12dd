"""The command line: LightningCLI with default configs, run directories and checkpoints found by name."""

import logging
import os
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from .callbacks.run import BestCheckpoint, PredictionWriter, ProgressBar, Resume
from .utils.arguments import drop_replaced, explain, read_config
from .utils.project import UserError, new_run_id, project_root, shown
from .utils.runs import check_checkpoint, commit_all, find_checkpoint

# What the user can do nothing about (that a run is resumed, that Lightning imports Comet late, …), and advertisements
NOISE = ".*does not have many workers|.*LeafSpec|.* directory .* is not empty|The dirpath has changed"
warnings.filterwarnings("ignore", NOISE)
QUIET = r"💡 Tip: |`Trainer\.fit` stopped: `max_epochs=|Experiment with name .* not found|To get all data logged auto"
for source in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.loggers.mlflow", "comet_ml.experiment"):
    logging.getLogger(source).addFilter(lambda r: not re.match(QUIET, r.getMessage()))


class CLI(LightningCLI):
    """Parse the arguments, `sys.argv[1:]` if None, and run; raise UserError if they, data or a checkpoint is wrong."""

    def __init__(self, args: Sequence[str] | None = None) -> None:
        self.parsers: dict[str, LightningArgumentParser] = {}
        try:
            super().__init__(
                save_config_callback=None,  # it would save to the logger's folder, and what is filled in here
                parser_kwargs={verb: {"verb": verb} for verb in self.subcommands()},
                auto_configure_optimizers=False,  # the modules do: how long a schedule is, only the trainer knows
                args=list(sys.argv[1:] if args is None else args),
            )
        except (UserError, MisconfigurationException, ModuleNotFoundError, OSError) as error:
            with suppress(AttributeError, OSError):
                os.removedirs(self.directory)  # if nothing is in it yet
            hint = " (is it installed? pip install -e .)" if "No module named" in str(error) else ""
            raise UserError(" ".join(str(error).split()) + hint) from error

    def init_parser(self, verb: str = "", **kwargs: Any) -> LightningArgumentParser:
        """Have errors raised, not printed with the usage, and add the options that only `fit` has."""
        self.parsers[verb] = parser = super().init_parser(exit_on_error=False, allow_abbrev=False, **kwargs)
        if verb == "fit":
            parser.add_argument("--test_after_fit", type=bool, default=False, help="Test the best checkpoint then.")
            parser.add_argument("--git_commit_before_fit", type=bool, default=False, help="Commit all before training.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of all sub-commands, and link what is declared once to where it is used."""
        parser.add_argument("--name", type=str | None, help="The run's name: it goes to logs/<name>/<run id>.")
        parser.add_argument("--ignore_warnings", type=bool, default=False, help="Show no warnings.")
        parser.add_class_arguments(BestCheckpoint, "checkpoint")
        parser.link_arguments("checkpoint.monitor", "model.init_args.monitor")
        parser.link_arguments("checkpoint.mode", "model.init_args.mode")
        for key, plain in {"num_classes": int, "num_outputs": int, "input_shape": list}.items():  # for all loggers
            parser.link_arguments(f"data.{key}", f"model.init_args.{key}", plain, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments after the default configs, which are implicit first `-c` files."""
        args = [re.sub(r"^--trainer\.logger\.name(?=$|=)", "--name", arg) for arg in args]  # for every logger, and none
        start = next((i + 1 for i, arg in enumerate(args) if arg in self.subcommands()), 0)
        if start:
            configs = [project_root() / "configs" / name for name in ("default.yaml", "local.yaml")]
            args[start:start] = [arg for path in configs if read_config(path) for arg in ("-c", str(path))]
        try:
            self.config = parser.parse_args(drop_replaced(args))
        except ArgumentError as error:
            options = self.parsers["fit"].get_defaults(skip_validation=True).keys()
            raise UserError(explain(str(error), options)) from error

    def _parse_ckpt_path(self) -> None:
        """Keep Lightning from letting the checkpoint's hyperparameters win over configs and command line."""

    def before_instantiate_classes(self) -> None:
        """Choose the checkpoint and the run's directory, and point the loggers there."""
        config = self.config[self.subcommand]
        if config.ignore_warnings:
            warnings.simplefilter("ignore")
        self.given = config.clone()
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
        loggers = [logger.get("init_args", {}) for logger in loggers if isinstance(logger, Namespace)]
        unset = {"save_dir": (None, "logs", ".", "./mlruns")}
        own = {k: v for one in loggers[::-1] for k, v in one.items() if v not in unset.get(k, (None, "lightning_logs"))}
        self.name = str(config.name or own.get("name") or own.get("experiment_name") or "default")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(f"name is {self.name}, but must be letters, digits, '_', '-' and '.' alone")
        logs = Path(own.get("save_dir") or config.trainer.default_root_dir or project_root() / "logs").absolute()
        run_id = own.get("id") or own.get("version") or own.get("run_name")
        run = self.directory = logs / self.name / str(run_id or new_run_id())
        config.ckpt_path = config.ckpt_path or (None if self.subcommand == "fit" else "best")
        if config.ckpt_path in ("best", "last"):
            config.ckpt_path = str(find_checkpoint(run.parent, str(run_id or "*"), config.ckpt_path))
            rank_zero_info(f"Checkpoint: {shown(config.ckpt_path)}")
        if self.subcommand != "fit":  # beside the checkpoint's run, without touching its files
            folder = Path(config.ckpt_path).absolute().parent
            run = folder.parent if folder.name == "checkpoints" else run
            self.directory = run / f"{self.subcommand}-{new_run_id()}"
        config.trainer.default_root_dir = here = str(self.directory)
        name, title = run.parent.name, str(self.directory.relative_to(run.parent))
        if loggers and config.trainer.fast_dev_run:  # which ignores them, but some would write nevertheless
            config.trainer.logger, loggers = {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"}, []
        for args in loggers:
            rank_zero_only(self.directory.mkdir)(parents=True, exist_ok=True)  # Comet writes there at once
            place = {"name": name, "version": run.name, "save_dir": here, "experiment_name": name, "run_name": title}
            if "version" in args and "id" not in args:  # TensorBoard's and CSV's folder is the run's
                again = f"/{new_run_id()}" * (self.directory / "metrics.csv").exists()  # CSVLogger would delete it
                place = {"name": "", "version": self.directory.name + again, "save_dir": str(self.directory.parent)}
            elif "experiment_key" in args:  # Comet's, which online=False would make record nothing (Lightning #21617)
                os.environ |= {"COMET_START_ONLINE": "false", "COMET_OFFLINE_DIRECTORY": here}
                os.environ["COMET_START_EXPERIMENT_NAME"], args.online = f"{name}/{title}", args.online or None
            elif "tracking_uri" in args and not args.tracking_uri:
                place |= {"tracking_uri": f"sqlite:///{logs}/mlflow.db", "artifact_location": f"{run.parent}/mlflow"}
            for key in place.keys() & args.keys():
                args[key] = place[key]

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # the error of a class as it is, not jsonargparse's list of types around it
            cause = error.__cause__ if type(error) is ValueError and error.__cause__ else error
            raise (cause.__cause__ if isinstance(cause.__cause__, ImportError) else cause) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that every run has, as far as the trainer's switches allow."""
        trainer = self.config_init[self.subcommand].trainer
        self.checkpoint = self.config_init[self.subcommand].checkpoint
        self.checkpoint.dirpath = str(self.directory / "checkpoints")
        own = trainer.callbacks or []
        used = [Resume(), *([own] if isinstance(own, Callback) else own)]
        if trainer.enable_checkpointing is not False and not trainer.barebones and not trainer.fast_dev_run:
            used.append(self.checkpoint)
        has_bar = any(isinstance(callback, callbacks.ProgressBar) for callback in used)
        if trainer.enable_progress_bar is not False and not trainer.barebones and not has_bar:
            used.append(ProgressBar())
        if self.subcommand == "predict" and not trainer.fast_dev_run:
            used.append(PredictionWriter(self.directory))
        return super().instantiate_trainer(callbacks=[callbacks.LambdaCallback(setup=self.begin_run), *used], **kwargs)

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint that does not fit the model before anything is started."""
        config = self.config[self.subcommand]
        if config.ckpt_path is not None:
            check_checkpoint(config.ckpt_path, self.model, config.weights_only is not False)

    def begin_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the run's directory, and save the config in it as it was given, so that `-c` takes it for a new run."""
        if trainer.is_global_zero and stage == self.subcommand and not self.config[stage].trainer.fast_dev_run:
            self.directory.mkdir(parents=True, exist_ok=True)
            again = f"-{new_run_id()}" * (self.directory / "config.yaml").exists()  # the run goes on
            for key in ("ckpt_path", "test_after_fit", "git_commit_before_fit"):  # what to do now, not what the run is
                self.given.pop(key, None)
            self.parsers[stage].save(self.given, self.directory / f"config{again}.yaml", skip_unset=False)
            rank_zero_info(f"Run directory: {shown(self.directory)}")

    def before_fit(self) -> None:
        if self.config.fit.git_commit_before_fit:
            commit_all(project_root(), f"{self.name}_{self.directory.name}")

    def after_fit(self) -> None:
        if self.config.fit.test_after_fit:
            best = self.checkpoint.best_model_path
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best or None)
            rank_zero_info(f"Tested: {shown(best) if best else 'the weights at the end (there is no best checkpoint)'}")

    def after_test(self) -> None:
        rank_zero_info(f"Tested: {shown(self.config.test.ckpt_path)}")
