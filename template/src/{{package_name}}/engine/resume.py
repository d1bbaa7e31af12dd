"""Saves and restores the state that Lightning does not, so that a resumed run ends like an uninterrupted one.

Read this when a resumed run differs from an uninterrupted one.
"""

import os
from copy import deepcopy
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.optim.lr_scheduler import OneCycleLR

from ..utils.project import UserError
from .loop_position import (
    can_skip,
    is_group_open,
    is_validation_due,
    is_within_epoch,
    seen_batches,
    write_position,
)
from .metric_states import add_epoch_means, epoch_means, metric_states, restore_metric_states
from .metrics_file import MetricsFile
from .nothing_left import has_stopped_early, nothing_left
from .random_states import gathered, of_this_process, random_states, restore_random_states
from .schedule_changes import (
    describe_optimizers,
    describe_schedules,
    replace_changed_states,
    step_to_present,
)

# Keys of the optimizer's parameter groups that schedules set.
SET_BY_SCHEDULES = {
    "lr",
    "initial_lr",
    "max_lr",
    "min_lr",
    "momentum",
    "max_momentum",
    "base_momentum",
    "betas",
}

# Modules of the template's own callbacks, without the package's name.
TEMPLATE_MODULES = ("engine.", "callbacks.mask_report", "callbacks.report", "callbacks.speed")


class Resume(Callback):
    """Restores what Lightning does not. Optimizer settings come from the configuration, not from the checkpoint.

    It has to be the first callback, because other callbacks' hooks change the state.
    """

    def __init__(self) -> None:
        self.random: Any = None
        self.metrics: dict[str, float] = {}
        self.checkpoint: dict[str, Any] = {}
        self.saved: dict[str, Any] = {}
        self.stopped: dict[str, Any] = {}
        self.epoch_means: dict[str, Any] = {}
        self.schedule_changed = False
        self.begins_within_epoch = False
        self.trained = False
        self.optimizers: list[str] | None = None
        self.is_searching = False

    # Saving

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # None before training, when BatchSizeFinder or LearningRateFinder saves a checkpoint.
        if self.optimizers is None:
            self.is_searching = True
            if searches_batch_size(trainer):
                trainer.strategy.lr_scheduler_configs = []  # a schedule could end within the search
            checkpoint["random"] = gathered(random_states(), trainer)
            return
        state = self.stopped or self.state(trainer, pl_module)
        checkpoint["random"] = state["random"]
        checkpoint["metrics"] = state["metrics"]
        checkpoint["callbacks"] |= state["callbacks"]
        checkpoint["resume"] = state["resume"]
        if "loops" in checkpoint and trainer.state.fn == "fit":
            write_position(trainer, checkpoint["loops"], epoch_stopped=bool(self.stopped))

    def state(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the state that a resumed run needs to continue from here."""
        own = {"metrics": metric_states(pl_module, trainer), "means": {}}
        if is_within_epoch(trainer):
            own["means"] = epoch_means(trainer)
        trainable = [
            name for name, parameter in pl_module.named_parameters() if parameter.requires_grad
        ]
        resume = {
            "processes": gathered(own, trainer),
            "trainable": trainable,
            "optimizers": self.optimizers,
            "schedules": self.schedules,
            "gradients": open_gradients(trainer, pl_module),
            "order": data_order(trainer),
            "rows": {},
        }
        # Needed by ReduceLROnPlateau, and by callbacks that monitor a metric, which have not seen these values yet.
        metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
        random = gathered(random_states(), trainer)
        return {"random": random, "metrics": metrics, "callbacks": {}, "resume": resume}

    # Epochs that max_steps, max_time or a callback has stopped

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.begin(trainer, pl_module)
        batches = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
        if (
            trainer.should_stop
            and is_within_epoch(trainer)
            and not is_validation_due(trainer, batches)
        ):
            self.keep_state(trainer, pl_module)  # an uninterrupted run would not validate here

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer, pl_module)
        add_epoch_means(trainer, self.epoch_means)
        if is_within_epoch(trainer) and not self.stopped:
            self.keep_state(trainer, pl_module)
        if self.begins_within_epoch:
            # Otherwise Lightning skips ReduceLROnPlateau at the end of an epoch in which the run has resumed.
            trainer.fit_loop.restarting = False
            self.begins_within_epoch = False
            if can_skip(trainer.train_dataloader):
                # It is still set if only the validation was left to do.
                cast("Any", trainer.train_dataloader).skip = 0

    def keep_state(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the state within the epoch, before the end of the epoch changes metrics and callbacks.

        Checkpoints that are saved at this end get the kept state. The state of ModelCheckpoint is
        not kept, because it has to match best.ckpt.
        """
        self.stopped = self.state(trainer, pl_module)
        self.stopped["resume"]["rows"] = last_rows(trainer)
        for callback in cast("Any", trainer).callbacks:
            if not isinstance(callback, ModelCheckpoint) and (state := callback.state_dict()):
                self.stopped["callbacks"][callback.state_key] = deepcopy(state)

    # Loading

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks = cast("Any", trainer).callbacks
        self.patience = {
            id(one): one.patience for one in callbacks if isinstance(one, EarlyStopping)
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.is_searching:
            self.is_searching = False
            restore_random_states(of_this_process(checkpoint["random"], trainer))
            return
        self.checkpoint = checkpoint
        self.saved = checkpoint.get("resume", {})
        self.metrics = checkpoint.get("metrics", {})
        self.random = checkpoint.get("random")
        if self.random is not None:
            restore_random_states(of_this_process(checkpoint["random"], trainer))
        if "trainable" in self.saved and trainer.state.fn == "fit":
            # In `setup`, a BaseFinetuning callback freezes layers that it had unfrozen before the checkpoint.
            for name, parameter in pl_module.named_parameters():
                parameter.requires_grad_(name in self.saved["trainable"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if searches_batch_size(trainer):
            trainer.strategy.setup_optimizers(trainer)  # gives the schedule the right length
        self.configured = [
            {**group} for optimizer in trainer.optimizers for group in optimizer.param_groups
        ]
        # Read before StochasticWeightAveraging adds an epoch, for which it has its own schedule.
        self.planned_steps = (
            trainer.estimated_stepping_batches if trainer.lr_scheduler_configs else 0
        )
        self.optimizers = describe_optimizers(trainer)
        self.schedules = describe_schedules(trainer, self.planned_steps)
        for callback in cast("Any", trainer).callbacks:
            if id(callback) in self.patience:
                callback.patience = self.patience[id(callback)]  # its state has the former one
                trainer.should_stop = trainer.should_stop or has_stopped_early(callback)
        if self.checkpoint:
            self.schedule_changed = replace_changed_states(
                trainer, self.checkpoint, self.planned_steps
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trained = True
        self.checkpoint = {}
        self.apply_configured_settings(trainer)
        if self.schedule_changed:
            step_to_present(trainer)
        self.refuse_short_schedule(trainer)
        if trainer.fit_loop.restarted_mid_epoch:
            self.begins_within_epoch = True
            self.refuse_other_order(trainer)
            self.skip_seen_batches(trainer)
            if self.random is not None:  # loaders may have drawn random numbers
                restore_random_states(of_this_process(self.random, trainer))
        else:
            self.step_pending_plateau(trainer)

    def apply_configured_settings(self, trainer: Trainer) -> None:
        """Set the optimizers to the configured settings, except those that a schedule sets."""
        kept = {"params"}
        if trainer.lr_scheduler_configs and not self.schedule_changed:
            kept |= SET_BY_SCHEDULES
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        # A BaseFinetuning callback may have added groups.
        for group, configured in zip(groups, self.configured, strict=False):
            group.update({key: value for key, value in configured.items() if key not in kept})

    def refuse_short_schedule(self, trainer: Trainer) -> None:
        for config in trainer.lr_scheduler_configs:
            scheduler = cast("Any", config.scheduler)
            if not isinstance(scheduler, OneCycleLR) or scheduler.total_steps >= self.planned_steps:
                continue
            mend = "leave out its length"
            if trainer.ckpt_path:
                mend = "set max_epochs as it was, train anew, or set --model.lr_scheduler null for a constant rate"
            raise UserError(
                f"OneCycleLR ends after {scheduler.total_steps} of {self.planned_steps:.0f} steps: {mend}"
            )

    def step_pending_plateau(self, trainer: Trainer) -> None:
        """Step ReduceLROnPlateau with the metrics of the epoch at whose end the checkpoint was saved."""
        for config in trainer.lr_scheduler_configs:
            due = config.interval == "epoch" and trainer.current_epoch % config.frequency == 0
            if config.reduce_on_plateau and due and str(config.monitor) in self.metrics:
                cast("Any", config.scheduler).step(self.metrics[str(config.monitor)])

    def refuse_other_order(self, trainer: Trainer) -> None:
        """Raise UserError for settings that would give the rest of the epoch other samples."""
        saved = self.saved.get("order", {})
        for key, value in data_order(trainer).items():
            if saved.get(key, value) != value:
                raise UserError(
                    f"{key} is {value}, but {saved[key]} in the epoch in which this checkpoint was saved: "
                    "set it as it was, or start from another checkpoint"
                )

    def skip_seen_batches(self, trainer: Trainer) -> None:
        loader: Any = trainer.train_dataloader
        seen = seen_batches(trainer)
        if can_skip(loader):
            loader.skip = seen
            if seen >= trainer.num_training_batches:
                # With limit_train_batches, the loader has more batches than are used.
                loader.skip = len(loader)
        elif not hasattr(loader, "load_state_dict"):
            rank_zero_warn(
                f"The checkpoint was saved after {seen} batches of an epoch. The rest of it begins with its first "
                "batches again, because your loader cannot skip them."
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path and not self.trained and (line := nothing_left(trainer)):
            rank_zero_info(line)

    # The first batch of a resumed run

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.begin(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.epoch_means:
            add_epoch_means(trainer, self.epoch_means)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore, once, the state that other hooks may have changed since the checkpoint was loaded."""
        if not self.saved:
            return
        saved = self.saved
        self.saved = {}
        own = of_this_process(saved["processes"], trainer)
        if self.begins_within_epoch:
            repeat_epoch_start(trainer, pl_module)
            restore_gradients(pl_module, saved["gradients"])
            restore_last_rows(trainer, saved["rows"])
            self.epoch_means = own["means"]
            for name, value in self.metrics.items():
                trainer.callback_metrics.setdefault(name, torch.tensor(value))
        restore_metric_states(pl_module, own["metrics"])


def searches_batch_size(trainer: Trainer) -> bool:
    return any(isinstance(one, BatchSizeFinder) for one in cast("Any", trainer).callbacks)


def repeat_epoch_start(trainer: Trainer, pl_module: LightningModule) -> None:
    """Call the hook `on_train_epoch_start`, which Lightning skips in an epoch in which it resumes.

    It sets state that no checkpoint holds, such as `accumulate_grad_batches`. Of Lightning's own callbacks, only
    GradientAccumulationScheduler needs it.
    """
    random = random_states()  # restored below, because the first batch is already augmented
    for callback in cast("Any", trainer).callbacks:
        if isinstance(callback, BaseFinetuning) or is_of_template(callback):
            continue
        if is_of_lightning(callback) and not isinstance(callback, GradientAccumulationScheduler):
            continue
        state = deepcopy(callback.state_dict())
        callback.on_train_epoch_start(trainer, pl_module)
        if state:
            callback.load_state_dict(state)  # it may count epochs
    pl_module.on_train_epoch_start()
    restore_random_states(random)


def is_of_lightning(callback: Callback) -> bool:
    return type(callback).__module__.startswith(("lightning.", "pytorch_lightning."))


def is_of_template(callback: Callback) -> bool:
    """Return whether a callback belongs to the template. Other callbacks in its folder belong to the user."""
    package, _, module = type(callback).__module__.partition(".")
    return package == __name__.partition(".")[0] and module.startswith(TEMPLATE_MODULES)


def open_gradients(trainer: Trainer, pl_module: LightningModule) -> dict[str, torch.Tensor]:
    """Return accumulated gradients that no optimizer step has used, by parameter. Only for one device or DDP."""
    if not is_group_open(trainer) or not isinstance(
        trainer.strategy, SingleDeviceStrategy | DDPStrategy
    ):
        return {}
    gradients = {}
    for name, parameter in pl_module.named_parameters():
        if parameter.grad is not None:
            # The mean over all processes gives the same result, because DDP averages it with the next gradients.
            gradients[name] = trainer.strategy.reduce(
                parameter.grad.detach().clone(), reduce_op="mean"
            )
    return gradients


def restore_gradients(pl_module: LightningModule, gradients: dict[str, torch.Tensor]) -> None:
    for name, parameter in pl_module.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter)


def last_rows(trainer: Trainer) -> dict[str, Any]:
    """Return the last row of metrics.csv, before the end of a stopped epoch adds its metrics to it."""
    for logger in trainer.loggers:
        if isinstance(logger, MetricsFile):
            step = max(logger.rows, default=-1)
            row = dict(logger.rows.get(step, {}))
            if is_logged_for_stop(trainer, step):
                row = {}
            return {"step": step, "row": row}
    return {}


def is_logged_for_stop(trainer: Trainer, step: int) -> bool:
    """Return whether Lightning has logged a step only because `should_stop` is set."""
    present = trainer.global_step - 1
    batches = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
    interval = cast("Any", trainer).log_every_n_steps  # not declared
    is_regular = (step + 1) % interval == 0 or is_validation_due(trainer, batches)
    return trainer.should_stop and step == present and not is_regular


def restore_last_rows(trainer: Trainer, saved: dict[str, Any]) -> None:
    """Undo the changes of metrics.csv at the end of a stopped epoch, because the epoch continues."""
    for logger in trainer.loggers:
        if saved and isinstance(logger, MetricsFile):
            logger.rows = {step: row for step, row in logger.rows.items() if step < saved["step"]}
            if saved["row"]:
                logger.rows[saved["step"]] = saved["row"]


def data_order(trainer: Trainer) -> dict[str, Any]:
    """Return the options that decide which samples the batches of an epoch contain, with their values."""
    order: dict[str, Any] = {}
    batch_size = getattr(trainer.train_dataloader, "batch_size", None)
    if isinstance(batch_size, int):
        order["data.batch_size (of all processes together)"] = batch_size * trainer.world_size
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    order |= getattr(sampler, "decides_order", {})
    if "PL_GLOBAL_SEED" in os.environ:
        order["seed_everything"] = int(os.environ["PL_GLOBAL_SEED"])
    return order
