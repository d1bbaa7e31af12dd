"""The networks: shapes, gradients, and what they refuse."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail
from helpers.models import QUIET, options

CLASSIFIERS = {
    "simplenet": "SimpleNet",
    "mlp": "MLP",
    "resnet": "ResNet",
    "vit": "ViT",
    "blank": "BlankNet",
}


SHAPES = ((1, 28, 28), (3, 32, 32), (3, 48, 64))


pytestmark = [  # a warning is an error, but those of Lightning's own making
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings(
        "ignore:(?s).*(JsonargparseDeprecation|was deprecated in v4):DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .srun. command is available:UserWarning"),
]


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


def test_the_command_line_says_in_one_line_what_a_network_cannot_take(models_project: Path) -> None:
    line = fail(models_project, "fit", *options("digits", "vit"), "--model.net.patch_size=5")
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
    models_project: Path,
    zoo: Any,
    model: str,
    override: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(models_project)
    with pytest.raises(zoo("utils.project", "UserError"), match=f"^{re.escape(message)}.*$"):
        zoo("cli", "CLI")(["fit", *options("digits", model), *override, *QUIET])
