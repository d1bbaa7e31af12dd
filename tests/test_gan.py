"""The GAN of the documentation: two optimizers, whose training resumes exactly, also in two processes."""

from pathlib import Path

import pytest
import torch
from helpers.commands import run_warm, succeed
from helpers.pages import blocks, write
from helpers.resuming import CALLBACKS, QUIET, same
from helpers.run_files import load, rows, run_of
from helpers.template import Render

GAN = (
    *("fit", "-c", "configs/data/digits.yaml", "-c", "configs/model/gan.yaml", *QUIET),
    "--data=my_project.data_modules.gan_digits.GANDigitsDataModule",
)
SHORT = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=6",
    "--trainer.log_every_n_steps=2",
)
TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2", *SHORT)


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with the files of the page."""
    rendered = render(package_name="my_project", datasets=["digits"])
    for language, code in blocks("gan"):
        write(rendered, language, code)
    (rendered / "src" / "my_project" / "callbacks" / "stop.py").write_text(CALLBACKS)
    return rendered


@pytest.mark.parametrize("batch", [4, 9])
def test_a_stopped_training_ends_like_an_uninterrupted_one(project: Path, batch: int) -> None:
    whole, stopped = f"whole{batch}", f"stopped{batch}"
    succeed(project, *GAN, *SHORT, f"--name={whole}")
    stop = "--trainer.callbacks+=my_project.callbacks.stop.Stop"
    how = ("--trainer.callbacks.how=SIGTERM", f"--trainer.callbacks.batch={batch}")
    assert run_warm(project, *GAN, *SHORT, stop, *how, f"--name={stopped}").returncode == 143
    succeed(project, "fit", f"--run={stopped}", *QUIET, "--trainer.callbacks=null")
    one, other = (
        load(run_of(project, name) / "checkpoints" / "last.ckpt") for name in (whole, stopped)
    )
    for key in ("state_dict", "optimizer_states"):
        assert same(one[key], other[key]), key
    assert len(one["optimizer_states"]) == 2


def test_both_networks_learn_and_pictures_are_drawn(project: Path) -> None:
    succeed(project, *GAN, *SHORT, "--trainer.max_epochs=1", "--name=drawn")
    run = run_of(project, "drawn")
    checkpoint = run / "checkpoints" / "last.ckpt"
    before = load(checkpoint)["state_dict"]
    succeed(project, "fit", "--run=drawn", *QUIET, "--trainer.max_epochs=2")
    after = load(checkpoint)["state_dict"]
    for weight in ("generator.0.weight", "discriminator.0.weight"):
        assert not torch.equal(before[weight], after[weight])
    assert {"lr/generator", "lr/discriminator"} <= rows(run / "metrics.csv")[0].keys()

    succeed(project, "predict", "--run=drawn")
    predictions = rows(run / "predictions.csv")
    assert len(predictions) == 360
    assert predictions[0].keys() == {"id", "drawn"}
    assert len({(run / row["drawn"]).read_bytes() for row in predictions}) == 360


def test_two_processes_need_to_know_of_unused_parameters(project: Path) -> None:
    done = run_warm(project, *GAN, *TWO, "--trainer.strategy=ddp", "--name=refused")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "set --trainer.strategy ddp_find_unused_parameters_true" in done.stderr
    succeed(project, *GAN, *TWO, "--trainer.strategy=ddp_find_unused_parameters_true", "--name=two")
