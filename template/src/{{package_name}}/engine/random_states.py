"""Saves and restores the states of all random number generators. Read it if a resumed run draws other numbers."""

import random
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Trainer

RandomStates = tuple[Any, Any, torch.Tensor, list[torch.Tensor]]


def random_states() -> RandomStates:
    """Return the generator states of Python, NumPy, torch and each GPU, in types that `weights_only` loads."""
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())
    numpy_state = (name, keys.tolist(), *rest)
    return random.getstate(), numpy_state, torch.get_rng_state(), torch.cuda.get_rng_state_all()


def restore_random_states(states: RandomStates) -> None:
    """Restore the generators to states that `random_states` returned."""
    python, numpy_state, cpu, gpus = states
    random.setstate(python)
    np.random.set_state(numpy_state)
    torch.set_rng_state(cpu)
    torch.cuda.set_rng_state_all(gpus[: torch.cuda.device_count()])


def gathered(own: Any, trainer: Trainer) -> list[Any]:
    """Return the values of all processes, by rank. This is a collective operation: all processes must call it."""
    everyone = [own] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(everyone, own)
    return everyone


def of_this_process(saved: Any, trainer: Trainer) -> Any:
    """Return this process's part of a result of `gathered`.

    Checkpoints of the first releases hold only the state of the first process, and no list.
    """
    if not isinstance(saved, list):
        return saved
    return saved[trainer.global_rank % len(saved)]
