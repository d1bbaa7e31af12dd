"""Every pair of configs trains, and what models reach on real data."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import succeed
from helpers.models import DATASETS, MODELS, QUIET, options
from helpers.template import fits, sweep

EVERY_PAIR = [(dataset, model) for dataset in DATASETS for model in MODELS if fits(dataset, model)]


TRAINED = ("digits", "digit_masks", "mnist", "csv_table", "blank")  # the data are there
PAIRS = [pair for pair in EVERY_PAIR if pair[0] in TRAINED]


def few(pairs: list[tuple[str, str]]) -> list[Any]:
    """Return the pairs, of which those whose dataset and model are both in earlier ones are a sweep."""
    datasets: set[str] = set()
    models: set[str] = set()
    cases: list[Any] = []
    for dataset, model in sorted(pairs, key=lambda pair: pair[0] != "digits"):
        is_new = dataset not in datasets or model not in models
        cases += [(dataset, model)] if is_new else sweep((dataset, model))
        datasets.add(dataset)
        models.add(model)
    return cases


pytestmark = [  # a warning is an error, but those of Lightning's own making
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings(
        "ignore:(?s).*(JsonargparseDeprecation|was deprecated in v4):DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .srun. command is available:UserWarning"),
]


def result(output: str, name: str) -> float:
    """Return the value of this metric from the table that the output ends with."""
    return float(re.findall(rf"test/{name}\W+([\d.e-]+)", output)[-1])


@pytest.mark.parametrize(("dataset", "model"), few(EVERY_PAIR))
def test_every_pair_of_configs_resolves(
    models_project: Path,
    zoo: Any,
    dataset: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(models_project)
    with pytest.raises(SystemExit):
        zoo("cli", "CLI")(["fit", *options(dataset, model), "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load((models_project / "configs" / "model" / f"{model}.yaml").read_text())
    assert (
        config["model"]["init_args"]["net"]["class_path"]
        == shipped["model"]["init_args"]["net"]["class_path"]
    )
    others = {"autoencoder": "val/loss", "regression": "val/loss", "segmentation": "val/iou"}
    monitor = others.get(model, "val/acc")
    assert config["checkpoint"]["monitor"] == monitor
    assert config["checkpoint"]["mode"] == ("min" if monitor == "val/loss" else "max")


@pytest.mark.parametrize(("dataset", "model"), few(PAIRS))
def test_every_pair_of_configs_trains_and_its_checkpoint_loads(
    models_project: Path,
    zoo: Any,
    dataset: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if dataset == "mnist" and "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR, a folder with the four files of MNIST, is not set")
    monkeypatch.chdir(models_project)
    small = ["--model.net.width=8"] if model == "resnet" else []
    short = [
        "max_epochs=1",
        "limit_train_batches=2",
        "limit_val_batches=2",
        "log_every_n_steps=1",
        "accelerator=cpu",
    ]
    trainer = [
        *(f"--trainer.{option}" for option in short),
        f"--trainer.default_root_dir={tmp_path}",
        *QUIET,
    ]
    run = zoo("cli", "CLI")(["fit", *options(dataset, model), *small, *trainer])
    assert run.checkpoint.best_model_score is not None

    path = run.directory / "checkpoints" / "best.ckpt"
    torch.load(path, weights_only=True)
    loaded = type(run.model).load_from_checkpoint(path, weights_only=True).eval()
    inputs, targets = run.datamodule.on_after_batch_transfer(
        next(iter(run.datamodule.val_dataloader())), 0
    )
    with torch.no_grad():
        found, expected = (
            module.predict_step((inputs, targets), 0) for module in (loaded, run.model.cpu().eval())
        )
    for name, values in found.items():
        assert torch.equal(values, expected[name])
        shapes = (3,) if model == "segmentation" else (1, 2)
        assert len(values) == len(inputs) and values.ndim in shapes, "columns, or masks"


@pytest.mark.parametrize(
    ("model", "override", "accuracy"),
    [
        ("blank", (), 0.93),
        ("mlp", (), 0.95),
        ("resnet", ("--model.net.width=8", "--trainer.max_epochs=2"), 0.95),
        ("vit", ("--model.net.patch_size=7", "--model.net.depth=1", "--trainer.max_epochs=8"), 0.9),
        *sweep(
            ("resnet", ("--model.net.width=16", "--trainer.max_epochs=5"), 0.98),
            ("vit", ("--model.net.patch_size=7", "--model.net.depth=3"), 0.95),
        ),
    ],
)
def test_a_classifier_learns_the_digits(
    models_project: Path, model: str, override: tuple[str, ...], accuracy: float
) -> None:
    output = fit(models_project, *options("digits", model), *override)
    assert result(output, "acc") >= accuracy


def test_an_autoencoder_squeezes_the_digits_into_32_numbers(models_project: Path, zoo: Any) -> None:
    data = zoo("data_modules.digits", "DigitsDataModule")()
    data.setup("test")
    images, _ = data.on_after_batch_transfer(data.test_set.tensors, 0)
    assert 0.9 < images.var() < 1.1, "what an image of the mean alone would have for an error"
    assert (
        result(
            fit(models_project, *options("digits", "autoencoder"), "--trainer.max_epochs=5"), "loss"
        )
        < 0.05
    )


def test_a_regression_learns_from_a_table_whatever_its_units(models_project: Path) -> None:
    output = fit(models_project, *options("csv_table", "regression"), "--trainer.max_epochs=20")
    assert result(output, "r2") >= 0.93


def fit(project: Path, *args: str) -> str:
    """Train with seed 1, test the best checkpoint, and see no warning."""
    output = succeed(project, "fit", *args, "--seed_everything=1", "--test_after_fit=true", *QUIET)
    assert "arning" not in output
    return output
