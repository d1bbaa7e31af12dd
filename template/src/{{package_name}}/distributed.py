"""What training in several processes needs beyond Lightning: configs/trainer/ddp.yaml and fsdp.yaml use it."""

import platform
from datetime import timedelta
from importlib.metadata import version

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from .utils.project import UserError


class SameVersions(Callback):
    """Refuses to begin where the processes, on machines of their own maybe, have other versions of what they run on."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise UserError in a process that has not what the first one has."""
        ours = {"Python": platform.python_version()}
        ours |= {name: version(name) for name in ("torch", "lightning", "torchmetrics")}
        for name, first in trainer.strategy.broadcast(ours).items():
            if ours[name] != first:
                here = f"process {trainer.global_rank} on {platform.node()} has {name} {ours[name]}"
                raise UserError(
                    f"{here}, and process 0 has {first}: install the same version on all machines"
                )


class FullySharded(ModelParallelStrategy):
    """FSDP2: parameters, gradients and optimizer states are divided among the processes.

    Its units, of which one at a time is whole, are the children of the module's children, and of their lists of layers.
    A process holds the whole network while it is built and while a checkpoint is made.
    Reference: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html

    Args:
        processes: How many there are: devices times num_nodes.
        timeout: How long one of them waits for the others.
    """

    def __init__(self, processes: int, timeout: timedelta = timedelta(minutes=10)) -> None:
        # a checkpoint is one file, which loads in any number of processes
        super().__init__(
            processes, tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout
        )
        self.processes = processes

    def setup_environment(self) -> None:
        """Connect the processes; raise UserError if there are not as many as was said."""
        if self.processes != (there := self.num_nodes * self.num_processes):
            raise UserError(
                f"trainer.strategy.processes is {self.processes}, but devices times num_nodes is {there}"
            )
        super().setup_environment()
        if self.lightning_module is not None:
            self.lightning_module.configure_model = self.shard  # type: ignore[method-assign]  # so no module needs one

    def shard(self) -> None:
        """Divide the parameters of the module, unless they are."""
        assert self.lightning_module is not None
        mesh = self.device_mesh["data_parallel"]
        nets = list(self.lightning_module.children())
        layers = [layer for net in nets for layer in net.children()]
        blocks = [
            block
            for layer in layers
            for block in (layer if isinstance(layer, nn.Sequential) else [layer])
        ]
        for unit in (*blocks, self.lightning_module):
            if not isinstance(unit, FSDPModule) and any(True for _ in unit.parameters()):
                fully_shard(unit, mesh=mesh)
