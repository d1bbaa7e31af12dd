"""docs/migrating_hydra.md: a checkpoint becomes weights and plain data."""

import sys
from pathlib import Path

import pytest
import torch
from helpers.hydra_clone import GUIDE
from test_readme import blocks


def test_a_checkpoint_becomes_weights_and_plain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {
        "net._orig_mod.model.0.weight": torch.ones(1),
        "val_acc.total": torch.zeros(1),
    }  # of a compiled network
    old = {
        "state_dict": weights,
        "epoch": 3,
        "hyper_parameters": {"net": Path()},
        "datamodule_hyper_parameters": Path(),
    }
    torch.save(old, tmp_path / "last.ckpt")
    (script,) = (text for text in blocks(GUIDE, "python") if text.startswith("# plain.py"))
    monkeypatch.setattr(sys, "argv", ["plain.py", str(tmp_path / "last.ckpt")])
    exec(script, {})
    new = torch.load(tmp_path / "last.plain.ckpt", weights_only=True)
    assert new == {"state_dict": {"net.model.0.weight": 1, "val_acc.total": 0}, "epoch": 3}
