"""Checkpoints, made and taken up so that a run ends as if it had never stopped."""

import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.lr_scheduler import OneCycleLR

from ..utils.project import UserError


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, by the monitored metric, and `last.ckpt`, beside any ModelCheckpoint of your own.

    Args:
        monitor: Metric that says which checkpoint is best. ReduceLROnPlateau follows it too.
        mode: `max` if more of it is better, else `min`.
    """

    saved: Path | None = None

    def __init__(self, monitor: str = "val/acc", mode: Literal["min", "max"] = "max") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was best, also where the run's directory has been moved."""
        there, here = state_dict["dirpath"], str(self.dirpath)
        now = here if Path(there).parent.name == Path(here).parent.name else there  # the other is another run's
        paths = {key: value.replace(there, now) for key, value in state_dict.items() if isinstance(value, str)}
        best = {path.replace(there, now): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every epoch; Lightning's `save_last` does so only when there is a new best."""
        super().on_train_epoch_end(trainer, pl_module)
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save what becomes `last.ckpt` as soon as it is whole and the loggers have all that belongs to it."""
        path = Path(self.dirpath or "") / "next.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.saved = path

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.saved and trainer.is_global_zero:
            self.saved.replace(self.saved.with_name("last.ckpt"))
        self.saved = None

    on_train_end = on_train_epoch_start

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save where a signal stops an epoch; if it stops a validation, the epoch before stays the last."""
        if isinstance(exception, SIGTERMException) and trainer.training and not trainer.is_last_batch:
            self.save(trainer)
        self.on_train_epoch_start(trainer, pl_module)


class Resume(Callback):
    """Takes up what Lightning does not; configuration and command line win over the optimizers' old settings."""

    metrics, stopping = dict[str, float](), False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add all random states, and the metrics that ReduceLROnPlateau is yet to see, as `weights_only` loads them."""
        name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())
        own = random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state(), torch.cuda.get_rng_state_all()
        states = [own] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(states, own)
        metrics = {key: value.item() for key, value in trainer.callback_metrics.items() if trainer.is_last_batch}
        checkpoint |= {"random": states, "metrics": metrics}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if "random" in checkpoint:
            self.metrics = checkpoint["metrics"]
            own = checkpoint["random"]  # of each process; of the first one alone, in older checkpoints
            python, numpy, cpu, gpus = own[trainer.global_rank % len(own)] if isinstance(own, list) else own
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(gpus[: torch.cuda.device_count()])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.configured = [{**group} for optimizer in trainer.optimizers for group in optimizer.param_groups]
        # before StochasticWeightAveraging adds an epoch, in which it has a schedule of its own
        self.asked = trainer.estimated_stepping_batches if trainer.lr_scheduler_configs else 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # what a scheduler sets stays as the checkpoint has it
        kept = {"params", "lr", "initial_lr", "momentum", "betas"} if trainer.lr_scheduler_configs else {"params"}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group, configured in zip(groups, self.configured, strict=True):
            group.update({key: value for key, value in configured.items() if key not in kept})
        for config in trainer.lr_scheduler_configs:
            scheduler = cast("Any", config.scheduler)
            if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < self.asked:
                mend = "set max_epochs as it was, or train anew" if trainer.ckpt_path else "leave out its length"
                raise UserError(f"OneCycleLR ends after {scheduler.total_steps} of {self.asked:.0f} steps: {mend}")
            due = config.interval == "epoch" and trainer.current_epoch % config.frequency == 0
            if config.reduce_on_plateau and due and str(config.monitor) in self.metrics:
                scheduler.step(self.metrics[str(config.monitor)])
        loader: Any = trainer.train_dataloader
        if trainer.fit_loop.restarted_mid_epoch and hasattr(loader, "skip"):
            loader.skip = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if hasattr(signal, "SIGKILL"):  # not on Windows
            with suppress(ValueError):  # in a thread
                self.lightnings: Any = signal.signal(signal.SIGTERM, self.stop)
                signal.signal(signal.SIGINT, self.stop)

    def stop(self, *_: Any) -> None:
        """Take the first Ctrl-C for a SIGTERM, and have both wait until no gradients would be lost."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.stopping = True

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # several processes stop together, and ask each other seldom, as that takes time
        asked = trainer.accumulate_grad_batches * (10 if trainer.world_size > 1 else 1)
        due = trainer.is_last_batch or (args[-1] + 1) % asked == 0
        if due and trainer.strategy.reduce_boolean_decision(self.stopping, all=False):
            self.lightnings(signal.SIGTERM, None)  # it stops after this batch

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if self.stopping and trainer.world_size == 1:  # of several, one may have a batch more
            self.lightnings(signal.SIGTERM, None)
