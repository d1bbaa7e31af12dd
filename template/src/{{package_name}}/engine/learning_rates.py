"""Logs the learning rate. Read it if the column `lr` of metrics.csv is missing or surprising."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LearningRates(Callback):
    """Logs the learning rate with which steps are made: as `lr`, or as `lr/<group>` if groups of parameters differ.

    It is logged every `log_every_n_steps` steps, and at the end of each epoch. It goes to the loggers alone, because
    it is no metric that a checkpoint could follow.
    """

    def __init__(self) -> None:
        # The rates of the last step, because schedules change them after the step
        self.last: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last = state_dict["last"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.last = learning_rates(trainer)
        step = step_of_batch(trainer, pl_module, trainer.global_step)
        if (step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # not declared
            self.write(trainer, step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, step_of_batch(trainer, pl_module, trainer.global_step - 1))

    def write(self, trainer: Trainer, step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **self.last}, step=step)


def step_of_batch(trainer: Trainer, module: LightningModule, step: int) -> int:
    """Return the step of the present batch: `step`, or the number of the batch if the module steps by itself.

    Several optimizers would count a batch several times.
    """
    if module.automatic_optimization:
        return step
    return trainer.fit_loop.epoch_loop.total_batch_idx


def learning_rates(trainer: Trainer) -> dict[str, float]:
    """Return the present learning rates by their column: `lr`, or `lr/<group>` of several groups."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    rates = {}
    for number, group in enumerate(groups):
        # `lr_name` is shared by groups of utils/param_groups.py that differ only in their weight decay.
        name = group.get("lr_name") or group.get("name") or number
        rates[f"lr/{name}"] = float(group["lr"])
    if len(rates) == 1:
        return {"lr": float(groups[0]["lr"])}
    return rates
