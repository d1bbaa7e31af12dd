"""What makes the rendered project fast gives the same results as what is slow. How fast, `make bench` says."""

import csv
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import DIGITS, fail, run_warm, succeed
from helpers.template import ROOT, Render, sweep

SHORT = (
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.max_epochs=1",
)
SKLEARN = ROOT / ".venv" / "sklearn"
STOP = """
import os
import signal

from lightning.pytorch import Callback


class Stop(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 25 and not trainer.ckpt_path:
            os.kill(os.getpid(), signal.SIGTERM)
"""


# PyTorch traces the network, and leaves out half a minute of the C++ compiler
TRACED = """
from functools import partial

import torch

from .simplenet import SimpleNet

torch.compile = partial(torch.compile, backend="aot_eager")


class TracedNet(SimpleNet):
    pass
"""


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to train in, with a data module whose samples take long to load."""
    rendered = render(
        datasets=["digits"],
        models=["simplenet", "mlp"],
        tooling=["profile"],
        package_name="my_project",
    )
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("speed") / "my-project")
    slow = """
        import time

        from .digits import DigitsDataModule


        class SlowDataModule(DigitsDataModule):
            def setup(self, stage):
                super().setup(stage)
                self.train_set.__class__ = type("Slow", (type(self.train_set),), {"__getitems__": slow})


        def slow(data, indices):
            time.sleep(0.5)  # of which a step takes a small part on a busy machine, too
            return data[indices]
    """
    (project / "src" / "my_project" / "data_modules" / "slow.py").write_text(textwrap.dedent(slow))
    slow_net = """
        import time
        from typing import Any

        from .simplenet import SimpleNet


        class SlowNet(SimpleNet):
            def forward(self, images: Any) -> Any:
                time.sleep(0.05)
                return super().forward(images)
    """
    (project / "src" / "my_project" / "models" / "slow.py").write_text(textwrap.dedent(slow_net))
    (project / "src" / "my_project" / "models" / "traced.py").write_text(TRACED)
    return project


def execute(project: Path, code: str, **env: str) -> str:
    """Run Python code in a process of its own, see it succeed, and return what it prints."""
    path = f"{project / 'src'}{os.pathsep}{env.pop('PYTHONPATH', '')}"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path, **env}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fit(project: Path, *options: str) -> tuple[Path, str]:
    """Train for an epoch; return the run's directory, and what is printed."""
    output = succeed(project, "fit", *DIGITS, *SHORT, *options)
    (directory,) = re.findall("^Run directory: (.*)$", output, re.M)
    return project / directory, output


def weights(directory: Path) -> dict[str, torch.Tensor]:
    checkpoint: dict[str, Any] = torch.load(
        directory / "checkpoints" / "last.ckpt", "cpu", weights_only=True
    )
    return dict(checkpoint["state_dict"])


def measured(output: str) -> list[float]:
    """Return accuracy and loss from the table that the output ends with."""
    return [
        float(re.findall(rf"{name}\W+([\d.e-]+)", output)[-1]) for name in ("test/acc", "test/loss")
    ]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_a_step_frees_stays_for_the_next_one(project: Path) -> None:
    code = """
        import resource
        from my_project.engine.start import keep_freed_memory

        def faults() -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20):
                parts = [bytearray(b"x") * (6 << 20) for _ in range(8)]
                del parts
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        before = faults()
        keep_freed_memory()
        faults()
        print(before, faults())
    """
    before, after = map(int, execute(project, code).split())
    assert before > 100 * max(after, 1)


def test_garbage_is_looked_for_but_not_in_what_is_imported(project: Path) -> None:
    code = """
        import atexit
        import gc
        from my_project.__main__ import main

        atexit.register(lambda: print(gc.get_freeze_count(), gc.isenabled()))
        main(["--help"])
    """
    frozen, is_enabled = execute(project, code).split()[-2:]
    assert int(frozen) > 100_000 and is_enabled == "True"


def test_the_order_of_samples_is_torchs(project: Path) -> None:
    code = """
        from torch.utils.data import DistributedSampler
        from my_project.engine.samplers import ShuffledSampler

        for size in (1, 7, 25_000):
            for processes in (1, 2, 3, 10):
                for rank in range(processes):
                    for epoch in (0, 3):
                        kinds = ShuffledSampler, DistributedSampler
                        both = [kind(range(size), processes, rank, seed=5) for kind in kinds]
                        for sampler in both:
                            sampler.set_epoch(epoch)
                        ours, torchs = map(list, both)
                        assert ours == torchs, (size, processes, rank, epoch)
    """
    execute(project, code)


def test_data_that_are_kept_on_the_device_are_the_same_data(project: Path) -> None:
    plain, kept = (
        weights(fit(project, f"--data.on_device={value}")[0]) for value in ("false", "true")
    )
    torch.testing.assert_close(kept, plain, rtol=0, atol=0)


def test_data_cannot_be_kept_on_the_device_and_loaded_by_workers(project: Path) -> None:
    message = fail(project, "fit", *DIGITS, "--data.on_device=true", "--data.num_workers=2")
    assert message == "on_device is without workers, but num_workers is 2: set one to false or 0"


@pytest.mark.skipif(not shutil.which("gcc"), reason="torch.compile needs a C compiler")
@pytest.mark.parametrize("net", ["traced.TracedNet", *sweep("simplenet.SimpleNet")])
def test_what_is_trained_with_the_recipe_for_gpus_is_a_plain_checkpoint(
    project: Path, net: str
) -> None:
    own = f"--model.net=my_project.models.{net}"
    recipe = ("-c", "configs/trainer/gpu.yaml", own)
    once = (
        "--trainer.limit_train_batches=1",
        "--trainer.limit_val_batches=1",
        "--trainer.num_sanity_val_steps=0",
    )
    directory, _ = fit(
        project, *recipe, f"--name={net}", *once
    )  # in training, and in validation: two to compile
    assert (
        weights(directory).keys()
        == weights(fit(project, "--trainer.limit_train_batches=1")[0]).keys()
    )
    assert {value.dtype for value in weights(directory).values()} == {torch.float32, torch.int64}
    plain = ("--model.compile=false", "--trainer.precision=32-true")
    output = succeed(project, "test", *DIGITS, *SHORT[:2], *plain, own, f"--name={net}")
    assert "test/acc" in output
    code = f"""
        import torch
        from my_project.modules.classification import ClassificationModule

        module = ClassificationModule.load_from_checkpoint("{directory / "checkpoints" / "best.ckpt"}")
        print(module.hparams.compile, tuple(module(torch.zeros(2, 1, 28, 28)).shape))
    """
    assert execute(project, code).splitlines()[-1] == "True (2, 10)"


def test_products_of_matrices_are_as_precise_as_they_are_asked_to_be(project: Path) -> None:
    code = """
        import torch
        from my_project.__main__ import main

        configs = "-c configs/data/digits.yaml -c configs/model/mlp.yaml"
        main(["fit", *configs.split(), "--trainer.fast_dev_run=true", *OPTIONS])
        print(torch.get_float32_matmul_precision())
    """
    for options, expected in (("[]", "highest"), ("['--matmul_precision=high']", "high")):
        assert execute(project, code.replace("OPTIONS", options)).split()[-1] == expected
    message = fail(project, "fit", *DIGITS, "--matmul_precision=tf32")
    assert message.startswith("matmul_precision is tf32, but ")


@pytest.mark.parametrize(
    ("options", "most", "advice"),
    [
        (
            ("--model.net=my_project.models.slow.SlowNet",),
            20,
            "The network is the limit: try a larger batch_size",
        ),
        (("--data=my_project.data_modules.slow.SlowDataModule",), 100, "Data are the limit"),
    ],
)
def test_a_report_says_what_limits_training(
    project: Path, options: tuple[str, ...], most: int, advice: str
) -> None:
    _, output = fit(project, "-c", "configs/trainer/profile.yaml", *options)
    (found,) = re.findall(
        r"^Speed: ([\d,]+) samples/s, (\d+)% of the time waiting for data. (.*)$", output, re.M
    )
    assert int(found[0].replace(",", "")) > 0
    assert most - 20 <= int(found[1]) <= most
    assert found[2].startswith(advice)


def test_a_run_that_goes_on_within_an_epoch_is_reported_as_any(project: Path) -> None:
    (project / "src" / "my_project" / "callbacks" / "stop.py").write_text(STOP)
    stop = ("--name=stopped", "--trainer.callbacks+=my_project.callbacks.stop.Stop")
    profile = ("-c", "configs/trainer/profile.yaml")
    done = run_warm(project, "fit", *DIGITS, *SHORT[:2], "--trainer.max_epochs=2", *stop, *profile)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    output = succeed(project, "fit", "--run=stopped")
    (found,) = re.findall(r"^Speed: ([\d,]+) samples/s, (\d+)% ", output, re.M)
    assert int(found[0].replace(",", "")) > 0


def test_too_few_steps_are_not_reported(project: Path) -> None:
    _, output = fit(
        project, "-c", "configs/trainer/profile.yaml", "--trainer.limit_train_batches=5"
    )
    assert "Speed: train for more than ten steps to see it" in output


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone says what is a process's own"
)
def test_workers_share_the_data(project: Path) -> None:
    code = """
        import re
        from pathlib import Path

        import torch
        from my_project.data_modules.in_memory import ImageTensors, InMemoryDataModule

        class Images(ImageTensors):
            def __getitems__(self, indices):
                batch = super().__getitems__(indices)
                found = re.findall(r"Private_Dirty: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())
                return (*batch, torch.tensor([int(number) / 1024 for number in found]))

        class Data(InMemoryDataModule):
            mean, std = 0.0, 1.0

            def load(self, train):
                return Images(torch.ones(300_000, 1, 28, 28, dtype=torch.uint8), torch.arange(300_000) % 10)

        data = Data(batch_size=1000, num_workers=2)
        data.setup("fit")
        print(max(batch[-1].item() for batch in data.train_dataloader()))
    """
    assert float(execute(project, code)) < 100, "MiB of a worker's own, of 200 MiB of data"


@pytest.mark.skipif(
    not SKLEARN.exists(), reason="`make test` installs scikit-learn to .venv/sklearn"
)
def test_the_metrics_are_scikit_learns(project: Path, tmp_path: Path) -> None:
    fit(project, "--name=measured")
    output = succeed(
        project, "test", *DIGITS, *SHORT[:2], "--name=measured", "--data.batch_size=50"
    )
    succeed(project, "predict", *DIGITS, *SHORT[:2], "--name=measured")
    (path,) = project.glob("logs/measured/*/predictions.csv")
    with path.open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    classes, probabilities = (
        [row["class"] for row in rows],
        [[row[f"p{i}"] for i in range(10)] for row in rows],
    )
    (tmp_path / "predictions.json").write_text(json.dumps([classes, probabilities]))
    code = f"""
        import json
        from my_project.data_modules.digits import DigitsDataModule
        from sklearn.metrics import accuracy_score, log_loss

        classes, probabilities = json.load(open({str(tmp_path / "predictions.json")!r}))
        labels = DigitsDataModule().load(train=False).tensors[1]
        print(accuracy_score(labels, classes), log_loss(labels, probabilities))
    """
    expected = [float(value) for value in execute(project, code, PYTHONPATH=str(SKLEARN)).split()]
    assert measured(output) == pytest.approx(expected, rel=1e-4)
