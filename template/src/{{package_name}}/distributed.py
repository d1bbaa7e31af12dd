"""Training in several processes, beyond what Lightning has. configs/trainer/ddp.yaml and fsdp.yaml use it."""

import platform
from datetime import timedelta
from importlib.metadata import version

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from .utils.project import UserError

LIBRARIES = ("torch", "lightning", "torchmetrics")


class SameVersions(Callback):
    """Refuses to begin if the processes, which may be on several machines, have different versions of libraries."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise UserError in a process whose versions are not those of the first one."""
        own = versions()
        first = trainer.strategy.broadcast(own)
        for name, wanted in first.items():
            if own[name] != wanted:
                process = f"process {trainer.global_rank} on {platform.node()}"
                problem = f"{process} has {name} {own[name]}, and process 0 has {wanted}"
                raise UserError(f"{problem}: install the same version on all machines")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that train."""
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        found[name] = version(name)
    return found


class FullySharded(ModelParallelStrategy):
    """FSDP2: the processes divide parameters, gradients and optimizer states among them.

    A process holds the whole network while it is built and while a checkpoint is saved. Otherwise it only holds one
    unit at a time: a child of the module's children, or a layer of such a child if that is a list of layers.
    Reference: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html

    Args:
        processes: Number of processes: devices times num_nodes.
        timeout: How long a process waits for the others.
    """

    def __init__(self, processes: int, timeout: timedelta = timedelta(minutes=10)) -> None:
        super().__init__(
            processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,  # one file, which loads in any number of processes
            timeout=timeout,
        )
        self.processes = processes

    def setup_environment(self) -> None:
        """Connect the processes; raise UserError if there are not as many as `processes`."""
        found = self.num_nodes * self.num_processes
        if self.processes != found:
            problem = f"trainer.strategy.processes is {self.processes}"
            raise UserError(f"{problem}, but devices times num_nodes is {found}")
        super().setup_environment()
        if self.lightning_module is not None:
            # Lightning requires this method, and so a module needs none of its own
            self.lightning_module.configure_model = self.shard  # type: ignore[method-assign]

    def shard(self) -> None:
        """Divide the parameters of the module, unless they are divided."""
        assert self.lightning_module is not None
        mesh = self.device_mesh["data_parallel"]
        for unit in (*units(self.lightning_module), self.lightning_module):
            if not isinstance(unit, FSDPModule) and has_parameters(unit):
                fully_shard(unit, mesh=mesh)


def units(module: nn.Module) -> list[nn.Module]:
    """Return the parts of a module that are whole one at a time."""
    found: list[nn.Module] = []
    for net in module.children():
        for layer in net.children():
            if isinstance(layer, nn.Sequential):
                found += layer
            else:
                found.append(layer)
    return found


def has_parameters(module: nn.Module) -> bool:
    """Return whether a module has parameters."""
    return next(module.parameters(), None) is not None
