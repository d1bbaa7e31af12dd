"""What only a GPU shows: that no step waits for it, and that what it trains is what a CPU gets and goes on with."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from helpers.commands import DIGITS, run, succeed
from helpers.template import Render
from test_speed import measured, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
PLAIN = ("--model.compile=false", "--trainer.precision=32-true", "--data.on_device=false")
RECIPE = ("-c", "configs/trainer/gpu.yaml")
CALLBACKS = """
    import os
    import signal

    import torch
    from lightning.pytorch import Callback


    class Waiting(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            torch.cuda.set_sync_debug_mode("error" if 5 <= index < 15 else "default")


    class Stop(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            if trainer.global_step == 30:
                os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models, tooling = ["simplenet", "mlp"], ["distributed", "report"]
    rendered = render(
        datasets=["digits"], models=models, tooling=tooling, package_name="my_project"
    )
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("gpu") / "my-project")
    (project / "src" / "my_project" / "callbacks" / "own.py").write_text(textwrap.dedent(CALLBACKS))
    return project


def fit(project: Path, *options: str, code: int = 0) -> tuple[Path, str]:
    """Train on the GPU; return the run's directory, and what is printed."""
    done = run(project, "fit", *DIGITS, *QUIET, *options, CUDA_VISIBLE_DEVICES="0")
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    (directory,) = re.findall("^Run directory: (.*)$", output, re.M)
    return project / directory, output


def accuracy(output: str) -> float:
    return measured(output)[0]


@pytest.mark.parametrize("options", [(), RECIPE, (*RECIPE, "--model.compile=false")])
def test_no_step_waits_for_the_device(project: Path, options: tuple[str, ...]) -> None:
    watched = "--trainer.callbacks+=my_project.callbacks.own.Waiting"
    fit(project, *options, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1000", watched)


def test_macro_f1_does_not_wait_for_the_device(project: Path) -> None:
    code = """
import torch
from my_project.utils.macro_f1 import MacroF1

metric = MacroF1(10).cuda()
logits = torch.randn(64, 10, device="cuda")
labels = torch.randint(10, (64,), device="cuda")
metric.update(logits, labels)
torch.cuda.set_sync_debug_mode("error")
metric.update(logits, labels)
"""
    subprocess.run([sys.executable, "-c", code], cwd=project / "src", check=True)


def test_what_the_recipe_trains_is_plain_and_a_cpu_evaluates_it(project: Path) -> None:
    directory, output = fit(
        project, *RECIPE, "--trainer.max_epochs=10", "--test_after_fit=true", "--name=recipe"
    )
    assert accuracy(output) > 0.95
    assert {value.dtype for value in weights(directory).values()} == {torch.float32, torch.int64}
    on_cpu = succeed(project, "test", *DIGITS, *QUIET, "--run=recipe", *PLAIN)
    assert accuracy(on_cpu) == pytest.approx(accuracy(output), abs=0.01)


@pytest.mark.parametrize("options", [(), RECIPE])
def test_a_run_that_is_stopped_goes_on(project: Path, options: tuple[str, ...]) -> None:
    mlp = (
        "--model.net=my_project.models.mlp.MLP",
        "--trainer.deterministic=true",
        "--trainer.max_epochs=3",
    )
    whole, _ = fit(project, *options, *mlp)
    stop = "--trainer.callbacks+=my_project.callbacks.own.Stop"
    stopped, _ = fit(project, *options, *mlp, stop, code=128 + 15)
    succeed(
        project,
        "fit",
        f"--run={stopped.name}",
        "--trainer.callbacks=null",
        CUDA_VISIBLE_DEVICES="0",
    )
    torch.testing.assert_close(weights(stopped), weights(whole))


def test_data_that_are_kept_on_the_device_are_the_same_data(project: Path) -> None:
    options = ("--trainer.max_epochs=1", "--trainer.deterministic=true")
    plain, kept = (
        weights(fit(project, *options, f"--data.on_device={value}")[0])
        for value in ("false", "true")
    )
    torch.testing.assert_close(kept, plain)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_process_of_several_trains_and_reports(project: Path, strategy: str) -> None:
    several = ["-c", f"configs/trainer/{strategy}.yaml", "--trainer.devices=1"]
    several += ["--trainer.strategy.processes=1"] * (strategy == "fsdp")
    directory, output = fit(project, *several, "--trainer.max_epochs=10", "--test_after_fit=true")
    assert accuracy(output) > 0.95
    assert list(directory.rglob("confusion*.png"))
