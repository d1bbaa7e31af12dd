"""timm: any of its networks, pretrained weights from a file, and the ways of a run that must not download them again.

The real timm runs, with the real torchvision as far as it is written in Python: see helpers/operators.py. Its smallest
networks are trained, with weights in a file. A download is not run here: timm leaves it to `huggingface_hub`.
"""

import csv
import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail, run_warm, succeed
from helpers.operators import declare_operators
from helpers.template import Render
from helpers.timm import ENVIRONMENT, FOLDER, needs_timm
from PIL import Image

pytestmark = needs_timm

CONFIGS = ("-c", "configs/data/digits.yaml", "-c", "configs/model/timm.yaml")
QUICK = (
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
MEAN, STD = 0.3053, 0.3247  # of the digits


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the tests of this file train."""
    datasets = ["digits", "image_folder"]
    models = ["timm", "simplenet"]
    rendered = render(
        package_name="tuned", datasets=datasets, models=models, tooling=["export", "report"]
    )
    return shutil.copytree(rendered, tmp_path_factory.mktemp("timm") / "tuned")


@pytest.fixture(scope="module")
def timm() -> Iterator[Any]:
    """The library, in this process."""
    declare_operators()
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        timm = importlib.import_module("timm")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(sys.modules["huggingface_hub"].constants, "HF_HUB_OFFLINE", True)
        yield timm
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("timm", "torchvision"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def net(timm: Any, project: Path) -> Iterator[Any]:
    """The project's class TimmNet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project / "src"))
        yield importlib.import_module("tuned.models.timm_net").TimmNet
    for name in [name for name in sys.modules if name.partition(".")[0] == "tuned"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def weights(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of test_resnet, as timm saves them: of a network with 1,000 classes."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def fit(project: Path, name: str, *options: str) -> str:
    started = ("fit", *CONFIGS, *QUICK, f"--name={name}", "--model.net.name=test_resnet")
    return succeed(project, *started, *options, cwd=None, **ENVIRONMENT)


def run_of(project: Path, name: str) -> Path:
    (path,) = project.glob(f"logs/{name}/*")
    return path


def state(project: Path, name: str, which: str = "last") -> dict[str, torch.Tensor]:
    path = run_of(project, name) / "checkpoints" / f"{which}.ckpt"
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return loaded


# The network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_network_takes_colours_and_greys(net: Any, name: str, channels: int) -> None:
    made = net(7, (channels, 160, 160), name, pretrained=False, drop_path_rate=0.1)
    logits = made(torch.rand(2, channels, 160, 160))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for key, parameter in made.named_parameters():
        assert parameter.grad is not None, key


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])  # 0.5, and by colour
def test_the_backbone_gets_images_normalised_as_in_its_pretraining(
    net: Any, timm: Any, name: str
) -> None:
    made = net(10, (3, 64, 64), name, pretrained=False).eval()
    config = timm.data.resolve_model_data_config(made.backbone)
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = made.head(made.backbone((pixels - mean) / std))
    torch.testing.assert_close(made(pixels), expected)

    class Data:
        mean, std = MEAN, STD

    made.on_new_run(Data())
    torch.testing.assert_close(made((pixels - MEAN) / STD), expected)


def test_weights_of_a_file_are_loaded_as_timm_loads_them(
    net: Any, timm: Any, weights: Path
) -> None:
    made = net(7, (1, 28, 28), "test_resnet", pretrained=str(weights))
    overlay = {"file": str(weights)}
    expected = timm.create_model(
        "test_resnet", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, in_chans=1
    )
    for key, value in expected.state_dict().items():
        assert torch.equal(made.backbone.state_dict()[key], value), key
    assert "state_dict" not in made.backbone.pretrained_cfg, "they would be kept twice"


# Training -------------------------------------------------------------------------------------------------------------


def test_the_head_learns_alone_and_the_run_goes_on_without_the_file(
    project: Path, weights: Path
) -> None:
    output = fit(project, "tuned", f"--model.net.pretrained={weights}", "--trainer.max_epochs=1")
    assert "Pretrained: test_resnet, on images of 160x160 pixels; yours have 28x28 pixels" in output
    assert "arning" not in output
    assert f"pretrained: {weights}" in (run_of(project, "tuned") / "config.yaml").read_text()
    saved = torch.load(weights, weights_only=True)
    one = state(project, "tuned")
    for key, value in saved.items():
        if key.startswith("layer"):
            assert torch.equal(one[f"net.backbone.{key}"], value), key

    weights.rename(weights.with_name("elsewhere"))  # the run no longer needs them
    try:
        longer = ("--run=tuned", "--trainer.max_epochs=2")
        succeed(project, "fit", *longer, *QUICK, cwd=None, **ENVIRONMENT)
        succeed(project, "test", "--run=tuned", *QUICK[1:], cwd=None, **ENVIRONMENT)
    finally:
        weights.with_name("elsewhere").rename(weights)


def test_the_backbone_learns_from_the_second_epoch_on_with_a_smaller_rate(
    project: Path, weights: Path
) -> None:
    """In the run of the test before."""
    saved = torch.load(weights, weights_only=True)
    two = state(project, "tuned")
    assert not torch.equal(
        two["net.backbone.layer1.0.conv1.weight"], saved["layer1.0.conv1.weight"]
    )
    with (run_of(project, "tuned") / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr/rest"]]
    for row in rows:
        assert float(row["lr/net.backbone"]) == pytest.approx(0.1 * float(row["lr/rest"]))
    path = run_of(project, "tuned") / "checkpoints" / "last.ckpt"
    groups = torch.load(path, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert sorted(group["weight_decay"] for group in groups) == [0, 0, 0.05, 0.05]


def test_a_run_that_stops_within_an_epoch_ends_with_the_same_weights(
    project: Path, weights: Path
) -> None:
    options = (f"--model.net.pretrained={weights}", "--model.lr_scheduler=null")
    fit(project, "whole", *options, "--trainer.max_epochs=2")
    fit(project, "parts", *options, "--trainer.max_steps=6")
    longer = ("--trainer.max_steps=-1", "--trainer.max_epochs=2")
    succeed(project, "fit", "--run=parts", *longer, *QUICK, cwd=None, **ENVIRONMENT)
    whole, parts = state(project, "whole"), state(project, "parts")
    for key, value in whole.items():
        assert torch.equal(parts[key], value), key


def test_a_new_run_takes_the_weights_of_another_one_and_downloads_none(project: Path) -> None:
    still = ("--model.optimizer.lr=0", "--trainer.max_epochs=1")
    output = fit(project, "second", "--init_from=tuned", *still)  # with `pretrained: true`
    assert "Pretrained" not in output
    first, second = state(project, "tuned", "best"), state(project, "second")
    for key in ("net.head.weight", "net.backbone.layer1.0.conv1.weight", "net.scale", "net.offset"):
        assert torch.equal(first[key], second[key]), key


def test_an_exported_network_predicts_what_the_run_does(project: Path) -> None:
    path = {**ENVIRONMENT, "PYTHONPATH": f"{project / 'src'}:{FOLDER}"}
    done = run_warm(
        project, "-m", "tuned.export", "--run=tuned", "--format=torch_export", cwd=None, **path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (apart,) = re.findall(r"Largest difference of 256 samples: (\S+)", done.stdout)
    assert float(apart) < 1e-5


def test_new_pictures_are_predicted(project: Path, weights: Path, tmp_path: Path) -> None:
    for part, count in (("train", 12), ("test", 4)):
        for label, colour in enumerate(("blue", "red")):
            folder = tmp_path / part / colour
            folder.mkdir(parents=True)
            for number in range(count):
                shade = 200 + number
                pixel = (0, 0, shade) if label == 0 else (shade, 0, 0)
                Image.new("RGB", (20, 20), pixel).save(folder / f"{number}.png")
    data = ("-c", "configs/data/image_folder.yaml", f"--data.folder={tmp_path}")
    size = ("--data.image_size=32", "--data.batch_size=4", "--data.num_workers=0")
    rate = ("--trainer.max_epochs=5", "--model.param_groups=null", "--model.optimizer.lr=0.01")
    fit(project, "colours", *data, *size, *rate, f"--model.net.pretrained={weights}")
    new = ("--run=colours", f"--data.predict={tmp_path / 'test'}", "--data.num_workers=0")
    succeed(project, "predict", *new, cwd=None, **ENVIRONMENT)
    with (run_of(project, "colours") / "new" / "test" / "predictions.csv").open() as file:
        found = {row["file"]: row["class"] for row in csv.DictReader(file)}
    assert found.keys() == {
        f"{colour}/{number}.png" for colour in ("blue", "red") for number in range(4)
    }
    assert all(label == str(int(file.startswith("red"))) for file, label in found.items()), found


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet51"}, "timm has no network resnet51: did you mean resnet51q, resnet50, "),
        ({"name": "test_vit"}, "test_vit takes images of 160x160 pixels, not 28x28 pixels: set "),
        ({"pretrained": "none"}, "there is no none, which model.net.pretrained names"),
        ({"pretrained": __file__}, "test_timm.py is damaged, or holds more than weights"),
        ({"name": "test_convnext", "pretrained": "{weights}"}, "of another network, or of a run"),
        ({"name": "vgg11", "drop_path_rate": 0.1}, "timm cannot make vgg11: "),
        ({"pretrained": True}, "timm cannot make test_resnet: "),
        ({"input_shape": (9,)}, "TimmNet takes images of shape (C, H, W), not data of shape (9,)"),
    ],
)
def test_a_mistake_is_refused(
    net: Any, weights: Path, options: dict[str, Any], message: str
) -> None:
    given = {"input_shape": (1, 28, 28), "name": "test_resnet", "pretrained": False, **options}
    if given["pretrained"] == "{weights}":
        given["pretrained"] = str(weights)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        net(10, **given)
    assert type(error.value).__name__ == "UserError"
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


def test_the_command_line_says_it_in_one_line(project: Path) -> None:
    line = fail(
        project, "fit", *CONFIGS, *QUICK, "--model.net.name=resnet51", cwd=None, **ENVIRONMENT
    )
    assert line.startswith("timm has no network resnet51: did you mean resnet51q, resnet50, ")
