"""Parameter groups: scales of the learning rate, weight decay and freezing, by the names of parameters."""

import csv
import importlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.commands import DIGITS, fail, succeed
from helpers.template import Render
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

QUICK = (
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
SGD = ("--model.optimizer=SGD", "--model.optimizer.lr=0.1", "--model.optimizer.momentum=0.9")
DECAY = "--model.optimizer.weight_decay=0.1"
Entries = list[dict[str, Any]]
# The first convolution of SimpleNet, and its batch normalisation
FIRST = ["net.0", "net.1"]


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the tests of this file train."""
    models = ["simplenet", "mlp", "vit"]
    rendered = render(datasets=["digits"], models=models, package_name="my_project")
    return shutil.copytree(rendered, tmp_path_factory.mktemp("tuning") / "my-project")


def groups(entries: Entries) -> str:
    return f"--model.param_groups={json.dumps(entries)}"


def fit(project: Path, name: str, entries: Entries, *options: str) -> str:
    return succeed(
        project, "fit", *DIGITS, *QUICK, f"--name={name}", "--trainer.max_epochs=1", groups(entries), *options
    )  # fmt: skip


def last(project: Path, name: str) -> Any:
    (path,) = project.glob(f"logs/{name}/*/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)


def optimizer_groups(project: Path, name: str) -> list[dict[str, Any]]:
    return list(last(project, name)["optimizer_states"][0]["param_groups"])


def columns(project: Path, name: str) -> list[str]:
    (path,) = project.glob(f"logs/{name}/*/metrics.csv")
    with path.open() as file:
        return list(csv.DictReader(file).fieldnames or [])


# Learning rate and weight decay ---------------------------------------------------------------------------------------


def test_scales_of_several_entries_multiply_and_each_rate_is_logged(project: Path) -> None:
    entries: Entries = [
        {"params": FIRST, "lr_scale": 0.5},
        {"params": "net.0.*", "lr_scale": 0.5},
        {"params": "norms_and_biases", "weight_decay": 0},
    ]
    fit(project, "scales", entries, "--model.lr_scheduler=null", *SGD, DECAY)
    found = {
        (round(group["lr"], 6), group["weight_decay"]): len(group["params"])
        for group in optimizer_groups(project, "scales")
    }
    # Two convolutions without biases, two normalisations, three linear layers
    assert found == {(0.025, 0.1): 1, (0.05, 0): 2, (0.1, 0.1): 4, (0.1, 0): 5}
    rates = [name for name in columns(project, "scales") if name.startswith("lr")]
    assert rates == ["lr/net.0-net.1-net.0", "lr/net.0-net.1", "lr/rest"]


@pytest.mark.parametrize("schedule", ["WarmupSchedule", "OneCycleLR", "CosineAnnealingLR"])
def test_a_schedule_keeps_the_scales(project: Path, schedule: str) -> None:
    chosen = {
        "WarmupSchedule": ["=my_project.utils.schedules.WarmupSchedule"],
        "OneCycleLR": ["=OneCycleLR", ".max_lr=0.02"],
        "CosineAnnealingLR": ["=CosineAnnealingLR", ".T_max=3"],
    }
    options = [f"--model.lr_scheduler{option}" for option in chosen[schedule]]
    entries: Entries = [{"params": FIRST, "lr_scale": 0.1}]
    fit(project, schedule, entries, "--trainer.limit_train_batches=7", *options)
    (path,) = project.glob(f"logs/{schedule}/*/metrics.csv")
    for row in csv.DictReader(path.read_text().splitlines()):
        assert float(row["lr/net.0-net.1"]) == pytest.approx(0.1 * float(row["lr/rest"]))


def test_one_line_leaves_norms_and_biases_without_weight_decay(project: Path) -> None:
    entries: Entries = [{"params": "norms_and_biases", "weight_decay": 0}]
    fit(project, "norms", entries)
    decays = [group["weight_decay"] for group in optimizer_groups(project, "norms")]
    assert decays == [0.01, 0]
    assert "lr" in columns(project, "norms"), "there is one learning rate"


def test_the_learning_rate_decays_from_layer_to_layer_of_a_transformer(project: Path) -> None:
    vit = ("-c", "configs/model/vit.yaml", "--model.net.depth=3", "--model.lr_scheduler=null")
    entries: Entries = [{"params": "net", "layer_decay": 0.5}]
    fit(project, "layers", entries, *vit, "--model.optimizer.lr=0.016")
    found = optimizer_groups(project, "layers")
    assert [group["lr_name"] for group in found] == [f"net.layer_{number}" for number in range(5)]
    # Patches and positions, three blocks, the last norm and the head
    assert [group["lr"] for group in found] == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.016])
    assert [len(group["params"]) for group in found] == [3, 12, 12, 12, 4]


# Freezing -------------------------------------------------------------------------------------------------------------


def same(one: Any, other: Any, names: list[str]) -> list[bool]:
    return [torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in names]


def test_what_is_frozen_does_not_move_until_its_epoch(project: Path) -> None:
    """Neither momentum nor weight decay moves it, nor do batches move the statistics of its normalisation."""
    names = ["net.0.weight", "net.1.weight", "net.1.bias", "net.1.running_mean"]
    entries: Entries = [{"params": FIRST, "freeze": 1}]
    options = (*SGD, DECAY, "--model.lr_scheduler=null")
    fit(project, "frozen", entries, *options)
    fit(
        project,
        "never",
        entries,
        *options,
        "--trainer.limit_train_batches=1",
        "--model.optimizer.lr=0",
    )
    one, other = last(project, "frozen"), last(project, "never")
    assert same(one, other, names) == [True] * 4
    assert same(one, other, ["net.4.weight", "net.5.running_mean"]) == [False] * 2
    count = len(optimizer_groups(project, "frozen"))
    succeed(project, "fit", "--run=frozen", "--trainer.max_epochs=2", *QUICK)
    assert same(last(project, "frozen"), one, names) == [False] * 4
    assert len(optimizer_groups(project, "frozen")) == count


def test_the_last_entry_says_what_is_frozen_for_ever(project: Path) -> None:
    entries: Entries = [
        {"params": "net", "freeze": True},
        {"params": ["net.9", "net.11", "net.13"], "freeze": False},
    ]
    fit(project, "head", entries, "--trainer.max_epochs=2")
    fit(project, "start", entries, "--model.optimizer.lr=0", "--trainer.limit_train_batches=1")
    one, other = last(project, "head"), last(project, "start")
    assert all(same(one, other, ["net.0.weight", "net.4.weight", "net.5.running_var"]))
    assert not any(same(one, other, ["net.9.weight", "net.13.bias"]))


@pytest.mark.parametrize("unfrozen", [1, True])
def test_two_processes_freeze_and_train_as_one_does(project: Path, unfrozen: int) -> None:
    """The trained gradients are averaged over the processes, also of what is unfrozen later."""
    mlp = ("-c", "configs/model/mlp.yaml", "--trainer.max_epochs=2", "--data.val_size=157")
    entries: Entries = [{"params": "net.1", "freeze": unfrozen}]
    name = f"alone-{unfrozen}"
    fit(project, name, entries, *mlp, "--data.batch_size=64")
    several = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")
    fit(project, f"two-{unfrozen}", entries, *mlp, "--data.batch_size=32", *several)
    one, two = (last(project, run)["state_dict"] for run in (name, f"two-{unfrozen}"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, msg=key)


def test_fsdp_cannot_freeze_and_says_so_in_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FSDP needs several GPUs, so only the function that builds the optimizer runs."""
    monkeypatch.syspath_prepend(str(project / "src"))
    optim = importlib.import_module("my_project.utils.optim")
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]  # other tests import other projects by this name
    module: Any = torch.nn.Linear(2, 1)
    module.optimizer = partial(torch.optim.SGD, lr=0.1)
    module.param_groups = [{"params": "bias", "freeze": 1}]
    module.trainer = SimpleNamespace(strategy=FSDPStrategy(), callbacks=[])
    answer = r"^param_groups cannot freeze parameters with FSDPStrategy: take the strategy ddp$"
    with pytest.raises(ValueError, match=answer):
        optim.build_optimizer(module)
    module.param_groups = [{"params": "bias", "lr_scale": 0.1}]
    assert len(optim.build_optimizer(module).param_groups) == 2
    module.param_groups = [{"params": "bias", "freeze": 1}]
    module.trainer.strategy = DDPStrategy()
    optim.build_optimizer(module)
    assert [type(callback).__name__ for callback in module.trainer.callbacks] == ["Freezing"]


# Mistakes and changes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        (
            {"params": "net.0.weigt", "freeze": 1},
            "param_groups: no parameter is named net.0.weigt: did you mean net.0.weight, ",
        ),
        ({"params": "backbone", "freeze": 1}, "param_groups: no parameter is named backbone"),
        ({"params": "net", "freeze": 1}, "param_groups freezes all parameters in the first epoch"),
        ({"params": "net", "lr_scale": -1}, "model.param_groups.lr_scale is -1.0, but must be at"),
        (
            {"params": "net", "lrscale": 1},
            "model.param_groups.lrscale is not a known key: did you mean lr_scale?",
        ),
        ({"freeze": 1}, "model.param_groups.params is missing"),
    ],
)
def test_a_mistake_is_a_line(project: Path, entry: dict[str, Any], answer: str) -> None:
    line = fail(project, "fit", *DIGITS, *QUICK, groups([entry]))
    assert line.startswith(answer), line


def test_a_resumed_run_may_have_other_groups(project: Path) -> None:
    entries: Entries = [{"params": "net.0", "lr_scale": 0.5}]
    fit(project, "changed", entries)
    other = groups([{"params": "net.4", "lr_scale": 0.5}, {"params": "net.0", "freeze": True}])
    longer = ("--trainer.max_epochs=2", *QUICK)
    output = succeed(project, "fit", "--run=changed", other, *longer)
    assert "Optimizer: the groups of param_groups have changed" in output
    frozen = groups([{"params": "net.4", "lr_scale": 0.5}])
    longer = ("--trainer.max_epochs=3", *QUICK)
    assert "Optimizer: " not in succeed(project, "fit", "--run=changed", frozen, *longer)
