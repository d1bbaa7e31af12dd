"""The dataset to fill in."""

from pathlib import Path

import pytest
import torch
from helpers.datasets import MODELS, data_module, train

pytestmark = pytest.mark.usefixtures("without_hub")


@pytest.mark.parametrize("model", MODELS)
def test_the_stub_trains_with_every_model_as_it_is(datasets_project: Path, model: str) -> None:
    assert "test/loss" in train(datasets_project, "blank", model, "--trainer.max_epochs=1")


def test_the_stub_gives_the_same_data_at_every_call(datasets_package: Path) -> None:
    data = data_module("blank", "BlankDataModule")
    for is_train in (True, False):
        assert all(
            torch.equal(*both)
            for both in zip(data.load(is_train).tensors, data.load(is_train).tensors, strict=True)
        )
    assert not torch.equal(data.load(True).tensors[0][:200], data.load(False).tensors[0])
