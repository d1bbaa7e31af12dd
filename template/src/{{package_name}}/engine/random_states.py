"""The states of all random number generators, so that a resumed run draws the numbers of an uninterrupted one."""

import random
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Trainer

RandomStates = tuple[Any, Any, torch.Tensor, list[torch.Tensor]]


def random_states() -> RandomStates:
    """Return the states of Python, NumPy, torch and each GPU, in types that `weights_only` loads."""
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())
    numpy_state = (name, keys.tolist(), *rest)
    return random.getstate(), numpy_state, torch.get_rng_state(), torch.cuda.get_rng_state_all()


def restore_random_states(states: RandomStates) -> None:
    """Set all generators to states that `random_states` returned."""
    python, numpy_state, cpu, gpus = states
    random.setstate(python)
    np.random.set_state(numpy_state)
    torch.set_rng_state(cpu)
    torch.cuda.set_rng_state_all(gpus[: torch.cuda.device_count()])


def gathered(own: Any, trainer: Trainer) -> list[Any]:
    """Return what each process has. All processes have to call this."""
    everyone = [own] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(everyone, own)
    return everyone


def of_this_process(saved: Any, trainer: Trainer) -> Any:
    """Return this process's part of what was gathered.

    Checkpoints of the first releases hold the state of the first process alone, and no list.
    """
    if not isinstance(saved, list):
        return saved
    return saved[trainer.global_rank % len(saved)]
