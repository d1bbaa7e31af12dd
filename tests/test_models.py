"""The networks and modules that one can choose: shapes, gradients, checkpoints, errors, and results on real data."""

import csv
import importlib
import math
import os
import random
import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import fail, succeed
from helpers.template import QUESTIONS, Render, fits, sweep

MODELS = ("simplenet", "mlp", "resnet", "vit", "blank", "autoencoder", "regression")
CLASSIFIERS = {
    "simplenet": "SimpleNet",
    "mlp": "MLP",
    "resnet": "ResNet",
    "vit": "ViT",
    "blank": "BlankNet",
}
SHAPES = ((1, 28, 28), (3, 32, 32), (3, 48, 64))
DATASETS = tuple(QUESTIONS["datasets"]["choices"].values())
EVERY_PAIR = [(dataset, model) for dataset in DATASETS for model in MODELS if fits(dataset, model)]
PAIRS = [pair for pair in EVERY_PAIR if pair[0] in ("digits", "mnist", "csv_table", "blank")]


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
QUIET = (
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with all models, and a table to learn from: a price that depends on x0 to x4, and its size."""
    project = render(package_name="zoo", datasets=list(DATASETS), models=list(MODELS))
    if "MNIST_DIR" in os.environ:
        shutil.copytree(os.environ["MNIST_DIR"], project / "data" / "mnist")
    numbers = random.Random(0)
    with (project / "data" / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(10)), "price", "size"])
        for _ in range(2000):
            x = [numbers.random() for _ in range(10)]
            y = friedman(x) + numbers.gauss(0, 1)
            writer.writerow([*x, 200_000 + 10_000 * y, "large" if y > 14 else "small"])
    return project


def friedman(x: list[float]) -> float:
    """Return Friedman's (1991) first function: of its values, a noise of 1 leaves at most R2 = 0.96 to explain."""
    return 10 * math.sin(math.pi * x[0] * x[1]) + 20 * (x[2] - 0.5) ** 2 + 10 * x[3] + 5 * x[4]


@pytest.fixture(scope="module")
def zoo(project: Path) -> Iterator[Any]:
    """A function that imports from that project's package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project / "src"))
        yield lambda module, name: getattr(importlib.import_module(f"zoo.{module}"), name)
    for name in [name for name in sys.modules if name.split(".")[0] == "zoo"]:
        del sys.modules[name]


def options(dataset: str, model: str) -> list[str]:
    """Return the options that choose a dataset and a model, and what to learn from the table."""
    configs = ["-c", f"configs/data/{dataset}.yaml", "-c", f"configs/model/{model}.yaml"]
    if dataset != "csv_table":
        return configs
    task = (
        ["--data.target=price", "--data.task=regression"]
        if model == "regression"
        else ["--data.target=size"]
    )
    return [*configs, f"--data.features={[f'x{i}' for i in range(10)]}", *task]


def batch(images: torch.Tensor, *targets: float) -> tuple[torch.Tensor, torch.Tensor]:
    return images, torch.tensor(targets)


def result(output: str, name: str) -> float:
    """Return the value of this metric from the table that the output ends with."""
    return float(re.findall(rf"test/{name}\W+([\d.e-]+)", output)[-1])


# Networks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_network_gives_logits_and_learns_with_all_of_its_parameters(
    zoo: Any, name: str, shape: tuple[int, int, int]
) -> None:
    net = zoo(f"models.{name}", CLASSIFIERS[name])(7, shape)
    logits = net(torch.randn(4, *shape))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", [*CLASSIFIERS, "autoencoder"])
def test_a_compiled_network_is_compiled_as_a_whole(
    zoo: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep, fullgraph=True))
    if name == "autoencoder":
        net = partial(zoo("models.autoencoder", "Autoencoder"), latent_dim=5)
        module = zoo("modules.autoencoder", "AutoencoderModule")(net, (1, 28, 28), compile=True)
    else:
        net = zoo(f"models.{name}", CLASSIFIERS[name])
        module = zoo("modules.classification", "ClassificationModule")(
            net, 10, (1, 28, 28), compile=True
        )
    module(torch.randn(4, 1, 28, 28))
    assert len(graphs) == 1 and len(list(graphs[0].graph.nodes)) > 3


@pytest.mark.parametrize("shape", [*SHAPES, (1, 12, 12), (2, 13, 27), (1, 15, 14)], ids=str)
def test_an_autoencoder_gives_images_of_the_shape_of_its_inputs(
    zoo: Any, shape: tuple[int, int, int]
) -> None:
    net = zoo("models.autoencoder", "Autoencoder")(shape, latent_dim=5)
    images, latents = net(torch.randn(4, *shape))
    assert images.shape == (4, *shape) and latents.shape == (4, 5)
    images.square().sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(("depth", "count"), [(18, 11_173_962), (34, 21_282_122), (50, 23_520_842)])
def test_a_resnet_has_the_parameters_that_it_is_known_for(zoo: Any, depth: int, count: int) -> None:
    net = zoo("models.resnet", "ResNet")(10, (3, 32, 32), depth)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_resnet_halves_the_images_three_times(zoo: Any) -> None:
    net = zoo("models.resnet", "ResNet")(10, (3, 32, 32), width=8)
    assert torch.nn.Sequential(*list(net)[:-3])(torch.randn(2, 3, 32, 32)).shape == (2, 64, 4, 4)


def test_an_mlp_has_the_hidden_layers_that_it_is_given(zoo: Any) -> None:
    mlp = zoo("models.mlp", "MLP")
    sizes = [
        layer.out_features
        for layer in mlp(3, (10,), [20, 30], 0.5)
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [20, 30, 3]
    assert [
        layer.p for layer in mlp(3, (10,), [20], 0.5) if isinstance(layer, torch.nn.Dropout)
    ] == [0.5]
    assert mlp(3, (10,), [])(torch.randn(4, 10)).shape == (4, 3)


def test_a_vit_gives_the_same_in_training_and_in_evaluation(zoo: Any) -> None:
    torch.manual_seed(0)
    net, images = zoo("models.vit", "ViT")(10, (1, 28, 28)), torch.randn(4, 1, 28, 28)
    trained = net(images)
    with torch.inference_mode():  # torch has other code for it
        torch.testing.assert_close(net.eval()(images), trained, rtol=1e-4, atol=1e-5)


def test_a_vit_knows_where_a_patch_is(zoo: Any) -> None:
    net, images = zoo("models.vit", "ViT")(10, (1, 28, 28)), torch.randn(4, 1, 28, 28)
    assert not torch.allclose(net(images), net(images.flip(3).roll(4, 2).flip(3)), atol=1e-4)
    net.positions.data.zero_()
    torch.testing.assert_close(net(images), net(images.roll(4, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "args", "message"),
    [
        (
            "resnet.ResNet",
            (10, (9,)),
            "ResNet takes images of shape (C, H, W), not data of shape (9,)",
        ),
        (
            "vit.ViT",
            (10, (9,)),
            "ViT takes images whose sides are multiples of patch_size 4, not (9,)",
        ),
        (
            "vit.ViT",
            (10, (1, 30, 28)),
            "ViT takes images whose sides are multiples of patch_size 4, not (1, 30, 28)",
        ),
        ("vit.ViT", (10, (1, 28, 28), 4, 62), "dim is 62, but must be a multiple of heads, 4"),
        (
            "autoencoder.Autoencoder",
            ((9,),),
            "Autoencoder takes images of shape (C, H, W), not data of shape (9,)",
        ),
    ],
)
def test_what_a_network_cannot_take_is_refused(
    zoo: Any, path: str, args: tuple[Any, ...], message: str
) -> None:
    module, name = path.split(".")
    with pytest.raises(zoo("utils.project", "UserError"), match=f"^{re.escape(message)}$"):
        zoo(f"models.{module}", name)(*args)


def test_the_command_line_says_in_one_line_what_a_network_cannot_take(project: Path) -> None:
    line = fail(project, "fit", *options("digits", "vit"), "--model.net.patch_size=5")
    assert line == "ViT takes images whose sides are multiples of patch_size 5, not (1, 28, 28)"


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("resnet", ["--model.net.depth=20"], "model.net.depth is 20, but must be 18 or 34 or 50"),
        (
            "regression",
            [],
            "RegressionModule needs num_outputs, but DigitsDataModule gives num_classes and input_shape",
        ),
    ],
)
def test_an_option_or_a_dataset_that_does_not_fit_is_refused(
    project: Path,
    zoo: Any,
    model: str,
    override: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(zoo("utils.project", "UserError"), match=f"^{re.escape(message)}.*$"):
        zoo("cli", "CLI")(["fit", *options("digits", model), *override, *QUIET])


# Modules --------------------------------------------------------------------------------------------------------------


def regression(zoo: Any, outputs: int = 1, mean: float = 0, std: float = 1) -> Any:
    """Return a module whose network gives its inputs, for targets of this mean and standard deviation."""
    module_class = zoo("modules.regression", "RegressionModule")
    module = module_class(lambda num_outputs, input_shape: torch.nn.Identity(), outputs, (outputs,))
    module.target_mean.fill_(mean)
    module.target_std.fill_(std)
    return module


def evaluate(module: Any, *batches: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """Return the metrics of these batches, as validation computes them."""
    for index, one in enumerate(batches):
        module.validation_step(one, index)
    return {
        name: float(metric.compute()) for name, metric in module.val_metrics.items(keep_base=True)
    }


def test_the_metrics_of_a_regression_are_those_of_all_samples_together(zoo: Any) -> None:
    torch.manual_seed(0)
    targets, errors = torch.randn(50), torch.randn(50)
    inputs = (targets + errors)[:, None]
    module = regression(zoo, mean=1.0, std=2.0)
    found = evaluate(
        module, ((inputs[:45] - 1) / 2, targets[:45]), ((inputs[45:] - 1) / 2, targets[45:])
    )
    expected = {
        "loss": errors.square().mean() / 4,
        "mae": errors.abs().mean(),
        "rmse": errors.square().mean().sqrt(),
        "r2": 1 - errors.square().sum() / (targets - targets.mean()).square().sum(),
    }
    assert found == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )


def test_a_regression_takes_targets_of_any_number_type_with_and_without_a_second_dimension(
    zoo: Any,
) -> None:
    module, inputs = regression(zoo), torch.tensor([[1.0], [3.0], [5.0]])
    for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8):
        targets = torch.tensor([1, 2, 3], dtype=dtype)
        for given in (targets, targets[:, None]):
            module.val_metrics.reset()
            found = evaluate(module, (inputs, given))
            assert found == pytest.approx(
                {"loss": 5 / 3, "mae": 1, "rmse": (5 / 3) ** 0.5, "r2": -1.5}
            )
    several = regression(zoo, outputs=2)
    assert (
        evaluate(several, (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1, 3], [3, 5]])))["mae"]
        == 0.5
    )


def test_r2_is_right_far_from_zero(zoo: Any) -> None:
    torch.manual_seed(0)
    years = 2000 + torch.randn(100_000)
    module = regression(zoo, mean=2000.0, std=1.0)
    predicted = (years - 2000 + 0.5 * torch.randn(len(years)))[:, None]
    found = evaluate(module, *zip(predicted.chunk(1500), years.chunk(1500), strict=True))
    assert found["r2"] == pytest.approx(0.75, abs=0.01)


def test_predictions_are_in_the_units_of_the_targets(zoo: Any) -> None:
    module = regression(zoo, mean=2000.0, std=10.0)
    found = module.predict_step(batch(torch.tensor([[-1.0], [0.5]])), 0)
    assert found["prediction"].tolist() == [1990, 2005]
    several = regression(zoo, outputs=2).predict_step(batch(torch.ones(3, 2)), 0)
    assert several["prediction"].shape == (3, 2)


def test_the_loss_of_an_autoencoder_is_the_mean_over_samples_and_pixels_and_ignores_labels(
    zoo: Any,
) -> None:
    class Halves(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images / 2, images.flatten(1)[:, :3]

    module = zoo("modules.autoencoder", "AutoencoderModule")(
        lambda input_shape: Halves(), (1, 4, 4)
    )
    images = torch.randn(7, 1, 4, 4)
    module.validation_step(batch(images[:5], 1, 2), 0)
    module.validation_step(batch(images[5:]), 1)
    assert float(module.val_loss.compute()) == pytest.approx(
        float(images.square().mean()) / 4, rel=1e-5
    )
    found = module.predict_step(batch(images), 0)
    assert found.keys() == {"error", "latent"} and found["latent"].shape == (7, 3)
    torch.testing.assert_close(found["error"], images.square().mean((1, 2, 3)) / 4)


# From the configs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "model"), few(EVERY_PAIR))
def test_every_pair_of_configs_resolves(
    project: Path, zoo: Any, dataset: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit):
        zoo("cli", "CLI")(["fit", *options(dataset, model), "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load((project / "configs" / "model" / f"{model}.yaml").read_text())
    assert (
        config["model"]["init_args"]["net"]["class_path"]
        == shipped["model"]["init_args"]["net"]["class_path"]
    )
    unsupervised = model in ("autoencoder", "regression")
    assert config["checkpoint"]["monitor"] == ("val/loss" if unsupervised else "val/acc")
    assert config["checkpoint"]["mode"] == ("min" if unsupervised else "max")


@pytest.mark.parametrize(("dataset", "model"), few(PAIRS))
def test_every_pair_of_configs_trains_and_its_checkpoint_loads(
    project: Path,
    zoo: Any,
    dataset: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if dataset == "mnist" and "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR, a folder with the four files of MNIST, is not set")
    monkeypatch.chdir(project)
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
        assert len(values) == len(inputs) and values.ndim in (1, 2), "a column, or several"


# Results on real data -------------------------------------------------------------------------------------------------


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
    project: Path, model: str, override: tuple[str, ...], accuracy: float
) -> None:
    output = fit(project, *options("digits", model), *override)
    assert result(output, "acc") >= accuracy


def test_an_autoencoder_squeezes_the_digits_into_32_numbers(project: Path, zoo: Any) -> None:
    data = zoo("data_modules.digits", "DigitsDataModule")()
    data.setup("test")
    images, _ = data.on_after_batch_transfer(data.test_set.tensors, 0)
    assert 0.9 < images.var() < 1.1, "what an image of the mean alone would have for an error"
    assert (
        result(fit(project, *options("digits", "autoencoder"), "--trainer.max_epochs=5"), "loss")
        < 0.05
    )


def test_a_regression_learns_from_a_table_whatever_its_units(project: Path) -> None:
    output = fit(project, *options("csv_table", "regression"), "--trainer.max_epochs=20")
    assert result(output, "r2") >= 0.93


def fit(project: Path, *args: str) -> str:
    """Train with seed 1, test the best checkpoint, and see no warning."""
    output = succeed(project, "fit", *args, "--seed_everything=1", "--test_after_fit=true", *QUIET)
    assert "arning" not in output
    return output
