"""The weights that a command names are the weights that it measures."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import DIGITS, fail, python, succeed
from helpers.run_files import rows
from helpers.template import Render
from safetensors.torch import load_file

QUICK = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=8",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
AVERAGES = {
    "none": (),
    "averaging": ("--trainer.callbacks+=WeightAveraging",),
    "ema": ("--trainer.callbacks+=EMAWeightAveraging",),
    "moving": ("-c", "configs/trainer/ema.yaml"),
    "swa": ("--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.01"),
}

# Loads a checkpoint without the command line and Lightning's Trainer, and counts what the network gets right
MEASURE = """
import sys

import torch
from my_project.data_modules.digits import DigitsDataModule
from my_project.modules.classification import ClassificationModule

module = ClassificationModule.load_from_checkpoint(sys.argv[1], map_location="cpu").eval()
data = DigitsDataModule()
data.prepare_data()
data.setup("test")
right = count = 0
with torch.no_grad():
    for batch in data.test_dataloader():
        images, labels = data.on_after_batch_transfer(batch, 0)
        right += int((module.net(images).argmax(1) == labels).sum())
        count += len(labels)
print(right / count)
"""


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(
        render(datasets=["digits"], package_name="my_project", tooling=["export"]),
        tmp_path_factory.mktemp("weights") / "my-project",
    )


def accuracy(project: Path, name: str) -> float:
    (record,) = project.glob(f"logs/{name}/*/run.json")
    return float(json.loads(record.read_text())["metrics"]["test/acc"])


def measured(project: Path, checkpoint: Path) -> float:
    """Return the accuracy of a checkpoint's weights, computed without the command line."""
    script = project / "src" / "measure.py"
    script.write_text(MEASURE)
    done = subprocess.run(
        [python(), str(script), str(checkpoint)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def last_command(run: Path) -> dict[str, Any]:
    """Return what the run's record says of the last command."""
    commands = json.loads((run / "run.json").read_text())["commands"]
    return dict(commands[-1])


def predicted(run: Path, folder: str = "") -> float:
    """Return the share of right classes in a run's predictions.csv."""
    table = rows(run / folder / "predictions.csv")
    return sum(row["class"] == row["label"] for row in table) / len(table)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the network's weights in a checkpoint."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("net.")}


def assert_each_command_takes_its_weights(project: Path, name: str) -> None:
    """See test, predict and export take the best checkpoint, and test the last one if that is named."""
    (run,) = project.glob(f"logs/{name}/*")
    best, last = (run / "checkpoints" / f"{which}.ckpt" for which in ("best", "last"))
    expected = pytest.approx(measured(project, best), abs=1e-6)
    assert accuracy(project, name) == expected, "test after fit"

    output = succeed(project, "test", f"--run={name}")
    assert "outside the 'fit' stage" not in output
    assert accuracy(project, name) == expected, "test"

    # The run keeps the results of its best checkpoint. Those of another one stand with their command.
    succeed(project, "test", f"--run={name}", f"--ckpt_path={last}")
    tested = last_command(run)["metrics"]["test/acc"]
    assert tested == pytest.approx(measured(project, last), abs=1e-6), "test of last"
    assert accuracy(project, name) == expected, "after a test of last"

    succeed(project, "predict", f"--run={name}")
    assert predicted(run) == expected, "predict"

    export = ("-m", "my_project.export", f"--run={name}", "--format=safetensors")
    succeed(project, *export, PYTHONPATH=str(project / "src"))
    exported = load_file(run / "best.safetensors")
    for key, value in weights(best).items():
        assert torch.equal(exported[key], value), f"export: {key}"


@pytest.mark.parametrize("name", AVERAGES)
def test_each_command_takes_the_weights_that_it_names(project: Path, name: str) -> None:
    """However a callback swaps or averages weights, also after a resume."""
    test = "--test_after_fit=true"
    succeed(project, "fit", *DIGITS, *QUICK, *AVERAGES[name], f"--name={name}", test)
    assert_each_command_takes_its_weights(project, name)
    succeed(project, "fit", f"--run={name}", "--trainer.max_epochs=3", test)
    assert_each_command_takes_its_weights(project, name)


@pytest.mark.parametrize("name", AVERAGES)
def test_a_training_starts_from_the_weights_that_it_names(project: Path, name: str) -> None:
    succeed(project, "fit", *DIGITS, *QUICK, *AVERAGES[name], f"--name=source-{name}")
    still = ("--trainer.max_epochs=1", "--model.optimizer.lr=0")
    start = (f"--name=from-{name}", f"--init_from=source-{name}")
    succeed(project, "fit", *DIGITS, *QUICK, *still, *start)
    (source,) = project.glob(f"logs/source-{name}/*/checkpoints/best.ckpt")
    (begun,) = project.glob(f"logs/from-{name}/*/checkpoints/last.ckpt")
    trained = [key for key in weights(source) if key.endswith(("weight", "bias"))]
    assert trained
    for key in trained:  # training moves the statistics of normalisation at any rate
        assert torch.equal(weights(begun)[key], weights(source)[key]), key


def test_labels_of_any_shape_are_split(project: Path) -> None:
    """Class numbers are stratified. Other labels are split at random, by the seed."""
    code = """
import torch
from my_project.data_modules.in_memory import ImageTensors

images = torch.zeros(100, 1, 4, 4, dtype=torch.uint8)
numbers = torch.arange(100) % 10
masks = torch.randint(3, (100, 4, 4))
several = torch.randint(2, (100, 5))
reals = torch.rand(100)
years = torch.arange(1900, 2000)
for labels in (numbers, masks, several, reals, reals[:, None], years):
    train, held_out = ImageTensors(images, labels).split(20, seed=0)
    assert train.tensors[1].shape == (80, *labels.shape[1:])
    assert held_out.tensors[1].shape == (20, *labels.shape[1:])
    if labels is numbers:
        assert held_out.tensors[1].bincount().tolist() == [2] * 10
    else:
        _, other = ImageTensors(images, labels).split(20, seed=1)
        assert held_out.tensors[1].tolist() != other.tensors[1].tolist()
"""
    succeed(project, "-c", code, cwd=project / "src")


def test_a_prediction_keeps_no_predictions_in_memory(project: Path) -> None:
    """Lightning returns, and so holds, every prediction unless it is told not to."""
    succeed(project, "fit", *DIGITS, *QUICK, "--name=memory")
    (project / "src" / "my_project" / "callbacks" / "held.py").write_text(
        "from lightning.pytorch import Callback\n\n\n"
        "class Held(Callback):\n"
        "    def on_predict_epoch_end(self, trainer, pl_module):\n"
        "        print('held', trainer.predict_loop.return_predictions)\n"
    )
    output = succeed(
        project, "predict", "--run=memory", "--trainer.callbacks+=my_project.callbacks.held.Held"
    )
    assert "held False" in output


def test_training_that_has_diverged_is_no_success(project: Path) -> None:
    """What was saved before stays, and the run goes on from there."""
    (project / "src" / "my_project" / "modules" / "diverging.py").write_text(
        "import os\n\n"
        "from .classification import ClassificationModule\n\n\n"
        "class Diverging(ClassificationModule):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        loss = super().training_step(batch, batch_idx)\n"
        "        if 'LOSS' in os.environ:\n"
        "            self.log('train/own_loss', loss * float('nan'))\n"
        "        diverges = self.current_epoch == int(os.environ.get('DIVERGES', -1))\n"
        "        return loss * float('nan') if diverges else loss\n"
    )
    options = (*DIGITS, *QUICK, "--model=my_project.modules.diverging.Diverging")
    for name, interval in (("epoch", "1.0"), ("often", "4")):
        interval = f"--trainer.val_check_interval={interval}"
        message = fail(project, "fit", *options, f"--name={name}", interval, DIVERGES="1")
        steps = 16 if name == "epoch" else 12
        assert message.startswith(f"training has diverged: after {steps} steps the weights are no")
        (record,) = project.glob(f"logs/{name}/*/run.json")
        run = json.loads(record.read_text())
        assert run["status"] == "failed"
        assert run["error"].startswith("UserError: training has diverged")
        for checkpoint in ("best", "last"):
            saved = torch.load(record.parent / "checkpoints" / f"{checkpoint}.ckpt")
            assert saved["global_step"] <= 8
            assert all(value.isfinite().all() for value in saved["state_dict"].values())
        succeed(project, "fit", f"--run={name}")
        assert json.loads(record.read_text())["status"] == "finished"
    assert "train/own_loss is nan in epoch 0" in succeed(
        project, "fit", *options, "--trainer.max_epochs=1", "--name=loss", LOSS="1"
    )


def test_diverged_weights_are_not_saved_where_nothing_is_validated(project: Path) -> None:
    options = (*DIGITS, *QUICK, "--trainer.limit_val_batches=0", "--checkpoint.monitor=null")
    message = fail(project, "fit", *options, "--name=unvalidated", "--model.optimizer.lr=1e38")
    assert message.startswith("training has diverged")
    (directory,) = project.glob("logs/unvalidated/*")
    assert not list(directory.glob("checkpoints/*"))


def test_until_its_first_update_an_average_is_the_weights_of_the_training(project: Path) -> None:
    """A callback of Lightning's validates and saves the random weights from the start instead."""
    options = (*DIGITS, *QUICK, "--model.lr_scheduler=null", "--test_after_fit=true")
    average = ("--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay=0.5")

    def results(name: str) -> tuple[str, dict[str, torch.Tensor]]:
        (directory,) = project.glob(f"logs/{name}/*")
        last = torch.load(directory / "checkpoints" / "last.ckpt")
        state = {key: value for key, value in last["state_dict"].items() if key.startswith("net.")}
        return (directory / "metrics.csv").read_text(), state

    def delayed(name: str, steps: int, *more: str) -> None:
        start = f"--trainer.callbacks.update_starting_at_step={steps}"
        succeed(project, "fit", *options, *average, start, f"--name={name}", *more)

    succeed(project, "fit", *options, "--name=plain")
    delayed("later", 1000)
    delayed("in-time", 12)
    metrics, weights = results("plain")
    assert results("later")[0] == metrics
    for key, value in results("later")[1].items():
        assert torch.equal(value, weights[key]), key
    assert accuracy(project, "later") == accuracy(project, "plain")
    assert results("in-time")[0].splitlines()[:2] == metrics.splitlines()[:2]
    assert results("in-time")[0] != metrics, "from its first update on, the average counts"

    delayed("resumed", 12, "--trainer.max_epochs=1")
    succeed(project, "fit", "--run=resumed", "--trainer.max_epochs=2")
    assert results("resumed")[0] == results("in-time")[0]
    for key, value in results("in-time")[1].items():
        assert torch.equal(results("resumed")[1][key], value), key


def test_moving_average_soon_forgets_the_first_weights_and_resumes_exactly(project: Path) -> None:
    """Lightning's EMAWeightAveraging is at chance level here, because it keeps 92 % of the random weights."""
    options = (*DIGITS, *QUICK, *AVERAGES["moving"])
    options += (
        "--trainer.limit_train_batches=40",
        "--model.lr_scheduler=null",
        "--model.optimizer.lr=0.003",
    )
    succeed(project, "fit", *options, "--name=whole")
    (whole,) = project.glob("logs/whole/*")
    record = json.loads((whole / "run.json").read_text())
    assert record["metrics"]["val/acc"] > 0.9

    succeed(project, "fit", *options, "--name=halves", "--trainer.max_steps=50")
    succeed(project, "fit", "--run=halves", "--trainer.max_steps=-1")
    (halves,) = project.glob("logs/halves/*")
    saved = [torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (whole, halves)]
    for key, value in saved[0].items():
        assert torch.equal(saved[1][key], value), key
