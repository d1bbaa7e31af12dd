"""Measure how fast the rendered project and the template are: `make bench`, or some figures by name.

What is compared is measured in turn, several times, in the same run; a figure is the ratio of the two medians. The
table is printed, and written with all measured values to build/bench/. MNIST comes from the folder MNIST_DIR, if
that is set, and is downloaded otherwise.
"""

import argparse
import functools
import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import copier
import jinja2
import lightning
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
OUT = ROOT / "build" / "bench"
PROJECT = OUT / "project"
MNIST = ("-c", "configs/data/mnist.yaml", "-c", "configs/model/simplenet.yaml")
ENV = {
    **os.environ,
    "PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{HERE}",
    "CUDA_VISIBLE_DEVICES": "",
}
PYTHON = sys.executable
Measure = Callable[[], float]


@dataclass
class Figure:
    """The median of what was measured, over the median of what it is compared with, if there is something."""

    name: str
    unit: str
    ours: list[float]
    other: list[float] | None
    target: str = ""  # such as ">= 0.9"
    note: str = ""
    value: float = field(init=False)

    def __post_init__(self) -> None:
        self.value = statistics.median(self.ours) / (
            statistics.median(self.other) if self.other else 1
        )

    @property
    def is_reached(self) -> bool:
        if not self.target:
            return True
        sign, limit = self.target.split()
        return self.value >= float(limit) if sign == ">=" else self.value <= float(limit)

    def row(self) -> str:
        ours, other = (
            f"{statistics.median(values):.4g} {self.unit}" if values else ""
            for values in (self.ours, self.other)
        )
        ratio = f"{self.value:.2f}" if self.other else ""
        return f"| {self.name} | {ours} | {other} | {ratio} | {self.target}{'' if self.is_reached else ', missed'} |"


def run(*command: str | Path, cwd: Path | None = None, **env: str) -> tuple[float, float, str]:
    """Run a command; return seconds, the peak of its memory in MiB, and what it prints."""
    start = time.perf_counter()
    output = OUT / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=cwd or PROJECT, env={**ENV, **env}, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(map(str, command))} failed:\n{output.read_text()[-3000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, output.read_text()


def in_turn(repeats: int, **measures: Measure) -> dict[str, list[float]]:
    """Measure each, one after the other, so often, or as often as REPEATS says."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(int(os.environ.get("REPEATS", repeats))):
        for name, measure in measures.items():
            values[name].append(measure())
    return values


def render(project: Path, **answers: list[str]) -> None:
    """Render a project from the working tree, with MNIST in it if it is at hand."""
    data = {"package_name": "my_project", **answers}
    copier.run_copy(str(ROOT), project, data=data, vcs_ref="HEAD", defaults=True, quiet=True)
    if folder := os.environ.get("MNIST_DIR"):
        (project / "data" / "mnist").symlink_to(Path(folder).resolve())


def fit(*options: str, **env: str) -> tuple[float, float, str]:
    return run(PYTHON, "src/main.py", "fit", *MNIST, *options, cwd=PROJECT, **env)


def train(project: Path, *options: str, **env: str) -> float:
    """Samples of MNIST per second in whole epochs, with validation and checkpoints; the first epoch warms up."""
    result, path = OUT / "seconds.json", f"{project / 'src'}{os.pathsep}{HERE}"
    clock = ("--trainer.max_epochs=3", "--trainer.callbacks+=clock.Clock")
    run(
        PYTHON,
        "src/main.py",
        "fit",
        *options,
        *clock,
        cwd=project,
        CLOCK=str(result),
        PYTHONPATH=path,
        **env,
    )
    return float(55_000 / statistics.median(json.loads(result.read_text())[1:]))


def train_with(script: str, *options: str, **env: str) -> float:
    """Samples of MNIST per second of what the project is compared with, likewise."""
    result = OUT / "seconds.json"
    run(PYTHON, HERE / script, f"--out={result}", *options, cwd=PROJECT, **env)
    return float(55_000 / statistics.median(json.loads(result.read_text())["seconds"][1:]))


def throughput() -> list[Figure]:
    """Samples per second against a loop and against single pictures."""

    def compared(size: int) -> dict[str, Measure]:
        return {
            "project": lambda: train(PROJECT, *MNIST, f"--data.batch_size={size}"),
            "loop": lambda: train_with("loop.py", f"--batch_size={size}"),
            "keeping": lambda: train_with("loop.py", f"--batch_size={size}", "--keep_memory"),
        }

    single = {"per_sample": lambda: train_with("per_sample.py", "--epochs=2")}
    figures = []
    for size, target in ((64, ">= 0.9"), (256, ">= 0.95")):
        values = in_turn(5, **compared(size), **(single if size == 64 else {}))
        name, ours = f"training against a loop, batch {size}", values["project"]
        figures.append(Figure(name, "samples/s", ours, values["loop"], target))
        figures.append(
            Figure(f"{name}, which keeps memory too", "samples/s", ours, values["keeping"])
        )
        if size == 64:
            other = values["per_sample"]
            figures.append(
                Figure("training against single pictures", "samples/s", ours, other, ">= 3")
            )
    return figures


def gains() -> list[Figure]:
    """Samples per second of the project against what it does without one of the things that make it fast."""
    source = Path("src/my_project")
    edits = {
        "memory kept between steps": (
            source / "engine/start.py",
            {"    keep_freed_memory()\n    forget": "    forget"},
        ),
        "whole batches": (
            source / "data_modules/in_memory.py",
            {
                "    def __getitems__(": "    __getitems__ = None\n\n    def batch(",
                "collate_fn=tuple, ": "",
            },
        ),
        "metrics once an epoch": (
            source / "modules/classification.py",
            {
                "self.train_acc.update(logits, batch[1])": 'self.log("acc", self.train_acc(logits, batch[1]), True)'
            },
        ),
        "fused AdamW": (Path("configs/model/simplenet.yaml"), {"fused: true": "fused: false"}),
    }

    def without(name: str, file: Path, changes: dict[str, str]) -> Path:
        project = OUT / f"without {name}"
        shutil.copytree(PROJECT, project, symlinks=True, ignore=shutil.ignore_patterns("logs"))
        text = (project / file).read_text()
        for part, instead in changes.items():
            assert part in text, f"{file} is without {part}"
            text = text.replace(part, instead)
        (project / file).write_text(text)
        return project

    projects = {"project": PROJECT, **{name: without(name, *edit) for name, edit in edits.items()}}
    figures = []
    for size in (64, 256):
        batch = f"--data.batch_size={size}"
        values = in_turn(
            3,
            **{
                name: functools.partial(train, path, *MNIST, batch)
                for name, path in projects.items()
            },
        )
        figures += [
            Figure(
                f"training with {name}, batch {size}", "samples/s", values["project"], values[name]
            )
            for name in edits
        ]
    return figures


# Without compiling, which takes a minute
RECIPE = ("-c", "configs/trainer/gpu.yaml", "--model.compile=false")
CHANGES = {
    "with compile": ("--model.compile=true",),
    "without bf16-mixed": ("--trainer.precision=32-true",),
    "without bf16-mixed and TF32": ("--trainer.precision=32-true", "--matmul_precision=highest"),
    "without on_device": ("--data.on_device=false",),
    "without fused AdamW": ("--model.optimizer.fused=false",),
}


def gpu() -> list[Figure]:
    """Samples per second on a GPU, if there is one: with the recipe, with changes of it, and of what it replaces."""
    if not torch.cuda.is_available():
        return []
    project, device = (
        OUT / "gpu",
        {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]},
    )
    render(project, models=["simplenet", "resnet", "vit"])

    def training(model: str, size: int, *options: str) -> Measure:
        configs = (
            *MNIST[:2],
            "-c",
            f"configs/model/{model}.yaml",
            *options,
            f"--data.batch_size={size}",
        )
        return lambda: train(project, *configs, **device)

    values = in_turn(
        3,
        pictures=lambda: train_with("per_sample.py", "--epochs=2", **device),
        loop=lambda: train_with("loop.py", "--epochs=5", **device),
        plain=training("simplenet", 64),
        small=training("simplenet", 64, *RECIPE),
        large=training("simplenet", 4096, *RECIPE),
    )
    epoch = [55_000 / value for value in values["large"]]
    figures = [
        Figure(
            "GPU, batch 4096 against single pictures",
            "samples/s",
            values["large"],
            values["pictures"],
            ">= 30",
        ),
        Figure("GPU, an epoch of MNIST, batch 4096", "s", epoch, None, "<= 1"),
        Figure(
            "GPU, batch 64 against single pictures",
            "samples/s",
            values["plain"],
            values["pictures"],
        ),
        Figure("GPU, batch 64 against a loop", "samples/s", values["plain"], values["loop"]),
        Figure(
            "GPU, batch 64, with the recipe against without",
            "samples/s",
            values["small"],
            values["plain"],
        ),
    ]
    for model, size in (("simplenet", 1024), ("resnet", 256), ("vit", 256)):
        measures = {
            name: training(model, size, *RECIPE, *options) for name, options in CHANGES.items()
        }
        values = in_turn(3, recipe=training(model, size, *RECIPE), **measures)
        figures += [
            Figure(f"GPU, {model}, {name}", "samples/s", values[name], values["recipe"])
            for name in CHANGES
        ]
    return figures


def time_to_99() -> list[Figure]:
    """Seconds from typing the command to a test accuracy of 99 %, with three seeds each."""
    result, accuracies = OUT / "accuracy.json", []

    def project(seed: int) -> float:
        options = ("--trainer.max_epochs=3", f"--seed_everything={seed}", "--test_after_fit=true")
        seconds, _, printed = fit(*options)
        found = re.search(r"test/acc\s*│\s*([\d.]+)", printed)
        accuracies.append(float(found[1]) if found else 0.0)
        return seconds

    def per_sample(seed: int) -> float:
        seconds = run(
            PYTHON,
            HERE / "per_sample.py",
            "--epochs=30",
            "--until=0.99",
            f"--seed={seed}",
            f"--out={result}",
        )
        accuracies.append(json.loads(result.read_text())["accuracy"])
        return seconds[0]

    ours, other = [], []
    for seed in (1, 2, 3):
        ours.append(project(seed))
        other.append(per_sample(seed))
    note = (
        ", ".join(f"{value:.2%}" for value in accuracies[::2])
        + " after three epochs, with seeds 1 to 3"
    )
    return [Figure("time to 99 %, single pictures against ours", "s", other, ours, ">= 5", note)]


def start_up() -> list[Figure]:
    """Seconds until help is printed, and until the first batch, against importing what LightningCLI is in."""

    def seconds(*command: str) -> Measure:
        return lambda: run(PYTHON, *command)[0]

    first = ("src/main.py", "fit", *MNIST, "--trainer.callbacks+=clock.FirstBatch")
    values = in_turn(
        9,
        imports=seconds("-c", "import lightning.pytorch.cli"),
        help=seconds("src/main.py", "--help"),
        fit=seconds(*first),
    )
    return [
        Figure("--help against an import", "s", values["help"], values["imports"], "<= 1.15"),
        Figure(
            "fit until the first batch against an import",
            "s",
            values["fit"],
            values["imports"],
            "<= 1.3",
        ),
    ]


def memory() -> list[Figure]:
    """The peak of memory of a fit against the loop's."""
    values = in_turn(
        3,
        project=lambda: fit("--trainer.max_epochs=1")[1],
        loop=lambda: run(PYTHON, HERE / "loop.py", "--epochs=1", f"--out={OUT / 'loop.json'}")[1],
    )
    return [
        Figure("peak of memory against a loop", "MiB", values["project"], values["loop"], "<= 1.3")
    ]


def growth() -> list[Figure]:
    """A project's own memory, speed and start of an epoch with more samples, in files that are mapped into memory."""
    result, sizes = OUT / "steps.json", (60_000, 600_000, 6_000_000)

    for size in sizes:
        for part, count in (("train", size), ("val", 1000)):
            folder, generator = OUT / f"mapped_{size}" / part, np.random.default_rng(0)
            folder.mkdir(parents=True)
            with (folder / "images").open("wb") as file:
                for _ in range(count // 1000):
                    file.write(generator.bytes(1000 * 784))
            (folder / "labels").write_bytes(
                generator.integers(10, size=count, dtype=np.uint8).tobytes()
            )

    def fit_mapped(size: int) -> dict[str, float]:
        data = ("--data=mapped.MappedDataModule", f"--data.folder={OUT / f'mapped_{size}'}")
        steps = (
            "--trainer.limit_train_batches=600",
            "--trainer.limit_val_batches=0",
            "--trainer.max_epochs=2",
        )
        model = ("-c", "configs/model/simplenet.yaml", "--trainer.callbacks+=clock.Steps")
        run(PYTHON, "src/main.py", "fit", *model, *data, *steps, CLOCK=str(result))
        return dict(json.loads(result.read_text()))

    rows = [[fit_mapped(size) for size in sizes] for _ in range(int(os.environ.get("REPEATS", 7)))]
    speed, memory, start = (
        [[row[i][key] for row in rows] for i in range(3)]
        for key in ("samples_per_second", "memory", "start")
    )
    shuffle = []
    for _ in rows:
        begin = time.perf_counter()
        torch.randperm(sizes[-1])
        shuffle.append(time.perf_counter() - begin)
    for size in sizes:
        shutil.rmtree(OUT / f"mapped_{size}")
    return [
        Figure("speed, 600 thousand samples against 60", "samples/s", speed[1], speed[0], ">= 0.9"),
        Figure(
            "speed, 6 million samples against 60 thousand",
            "samples/s",
            speed[2],
            speed[0],
            ">= 0.9",
        ),
        Figure("memory, 600 thousand samples against 60", "MiB", memory[1], memory[0], "<= 1.1"),
        Figure(
            "memory, 6 million samples against 60 thousand", "MiB", memory[2], memory[0], "<= 1.1"
        ),
        Figure("start of an epoch with 60 thousand samples", "s", start[0], None),
        Figure(
            "start of an epoch with 6 million against shuffling them",
            "s",
            start[2],
            shuffle,
            "<= 1.5",
        ),
    ]


def pictures() -> list[Figure]:  # noqa: PLR0915
    """Training on 50,000 JPEG files of 256 pixels by 256, with workers and without."""
    result, project = OUT / "steps.json", OUT / "pictures"
    render(project, datasets=["image_folder"])
    generator, files = np.random.default_rng(0), list[bytes]()
    for _ in range(500):
        noise = generator.normal(scale=10, size=(256, 256, 3))
        colours = Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8)).resize(
            (256, 256)
        )
        picture = Image.fromarray((np.asarray(colours) + noise).clip(0, 255).astype(np.uint8))
        picture.save(file := io.BytesIO(), "jpeg", quality=90)
        files.append(file.getvalue())
    for i in range(50_000):
        part = "test" if i % 50 == 0 else "train"
        folder = project / "data" / "pictures" / part / f"class{i // 50 % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(files[i % len(files)])

    def fit_pictures(workers: int) -> float:
        configs = ("-c", "configs/data/image_folder.yaml", "-c", "configs/model/simplenet.yaml")
        limits = (
            "--trainer.limit_train_batches=150",
            "--trainer.limit_val_batches=0",
            "--trainer.max_epochs=1",
        )
        options = (f"--data.num_workers={workers}", "--trainer.callbacks+=clock.Steps", *limits)
        path = f"{project / 'src'}{os.pathsep}{HERE}"
        run(
            PYTHON,
            "src/main.py",
            "fit",
            *configs,
            *options,
            cwd=project,
            CLOCK=str(result),
            PYTHONPATH=path,
        )
        return float(json.loads(result.read_text())["samples_per_second"])

    code = """
        import itertools, sys, time
        from my_project.data_modules.image_folder import ImageFolderDataModule

        data = ImageFolderDataModule(num_workers=int(sys.argv[1]))
        data.setup("fit")
        batches = iter(data.train_dataloader())
        next(batches)
        start = time.perf_counter()
        print(sum(len(labels) for _, labels in itertools.islice(batches, 150)) / (time.perf_counter() - start))
    """

    def read_pictures(workers: int) -> float:
        quiet = (
            "-W",
            "ignore",
            "-c",
            textwrap.dedent(code),
        )  # about more workers than there are cores
        return float(
            run(PYTHON, *quiet, str(workers), cwd=project, PYTHONPATH=str(project / "src"))[2]
        )

    counts, figures = [0, *sorted({1, 2, 4, os.cpu_count() or 1})], []
    for name, measure in (("reading", read_pictures), ("training on", fit_pictures)):
        values = in_turn(3, **{str(count): functools.partial(measure, count) for count in counts})
        figures += [
            Figure(
                f"{name} JPEG files, {count} worker(s) against none",
                "samples/s",
                values[str(count)],
                values["0"],
            )
            for count in counts[1:]
        ]
    shutil.rmtree(project)
    return figures


def small_pictures(folder: Path, count: int) -> None:
    """Write JPEG files of 64 pixels by 64, a fiftieth of them for testing. Links repeat 500 of them."""
    generator, first = np.random.default_rng(0), list[Path]()
    for i in range(count):
        part = "test" if i % 50 == 0 else "train"
        path = folder / part / f"class{i // 50 % 10}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i >= 500:
            path.hardlink_to(first[i % 500])
            continue
        digit = Image.fromarray(generator.integers(256, size=(8, 8), dtype=np.uint8))
        digit.resize((64, 64)).save(path, quality=90)
        first.append(path)


SMALL = OUT / "packed"  # a project with small pictures
OF_PACKED = {
    "JPEG": "my_project.data_modules.image_folder.ImageFolderDataModule",
    "packed": "my_project.data_modules.packed.PackedDataModule",
    "in memory": "held.HeldDataModule",
}


def of_small(*command: str | Path) -> float:
    """Run a command in the project with small pictures, and return how long it took."""
    path = f"{SMALL / 'src'}{os.pathsep}{HERE}"
    return run(PYTHON, *command, cwd=SMALL, PYTHONPATH=path, CLOCK=str(OUT / "steps.json"))[0]


def options_of_small(kind: str, count: int) -> list[str]:
    """Return the arguments of a data module for so many thousand small pictures."""
    if kind == "JPEG":
        return [f"folder=pictures{count}", "image_size=64", "grey=true"]
    return [f"folder=packed{count}"]


def train_on_small(count: int) -> Figure:
    """Return the speed of a training on packed pictures against one on the same pictures in memory."""
    of_small(HERE / "alternate.py", OUT / "steps.json", f"packed{count}")
    speeds = json.loads((OUT / "steps.json").read_text())
    name = f"training on {count} thousand packed pictures against in memory"
    return Figure(name, "samples/s", speeds["packed"], speeds["in memory"], ">= 0.9")


def reading_figures(count: int, workers: int) -> list[Figure]:
    """Return speed, memory and start of an epoch without a network, packed against the others."""
    got = {}
    for kind, module in OF_PACKED.items():
        options = options_of_small(kind, count)
        of_small(HERE / "reading.py", OUT / "steps.json", str(workers), module, *options)
        got[kind] = json.loads((OUT / "steps.json").read_text())
    figures = []
    for what, unit in (("reading", "samples/s"), ("memory", "MiB"), ("start of an epoch", "s")):
        for other in ("in memory", "JPEG"):
            name = f"{what}, {count} thousand packed pictures, {workers} workers, against {other}"
            figures.append(Figure(name, unit, [got["packed"][what]], [got[other][what]]))
    return figures


def packed() -> list[Figure]:
    """Small pictures as JPEG files, packed and in memory: speed, memory and start of an epoch; and packing them."""
    render(SMALL, datasets=["image_folder"], tooling=["pack"])
    figures = []
    for count in (50, 500):
        small_pictures(SMALL / f"pictures{count}", 1000 * count)
        jpeg = [f"--data.{option}" for option in options_of_small("JPEG", count)]
        config = ("-c", "configs/data/image_folder.yaml", "--data.num_workers=2")
        seconds = of_small("-m", "my_project.pack", *config, *jpeg, f"--to=packed{count}")
        rate = [1000 * count / seconds]
        figures.append(Figure(f"packing {count} thousand pictures", "pictures/s", rate, None))
    for count in (50, 500):
        figures.append(train_on_small(count))
        for workers in (0, 2):
            figures += reading_figures(count, workers)
    shutil.rmtree(SMALL)
    return figures


def rendering() -> list[Figure]:
    """Seconds of `copier copy` against the same questions without a template, and of an update between two releases."""
    sys.path.insert(0, str(ROOT / "docs"))
    from release import git, history, releases

    full, empty = OUT / "template", OUT / "empty"
    for folder in (full, empty):
        folder.mkdir()
        history(folder)
    answers = "{{ _copier_conf.answers_file }}.jinja"
    git(empty, "rm", "-r", "--quiet", "template")
    (empty / "template").mkdir()
    shutil.copy(full / "template" / answers, empty / "template" / answers)
    git(empty, "add", "--all")
    git(empty, "commit", "--quiet", "--message", "Empty")
    git(empty, "tag", "--annotate", "v999.0.0", "--message", "Empty")

    def copy(template: Path) -> float:
        shutil.rmtree(OUT / "copied", ignore_errors=True)
        return run(
            PYTHON, "-m", "copier", "copy", "--quiet", "--defaults", template, "copied", cwd=OUT
        )[0]

    def update() -> float:
        project = OUT / "updated"
        shutil.rmtree(project, ignore_errors=True)
        copier.run_copy(str(full), project, vcs_ref=releases()[-2], defaults=True, quiet=True)
        git(project, "init", "--quiet")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", "x")
        return run(PYTHON, "-m", "copier", "update", "--quiet", "--defaults", cwd=project)[0]

    values = in_turn(7, full=lambda: copy(full), empty=lambda: copy(empty), update=update)
    note = f"{compilations(full)} texts compiled by Jinja, {git_calls(full)} calls of git"
    return [
        Figure(
            "copier copy against an empty template",
            "s",
            values["full"],
            values["empty"],
            "<= 1.6",
            note,
        ),
        Figure("copier update between two releases", "s", values["update"], None, "<= 3"),
    ]


def compilations(template: Path) -> int:
    """How many texts Jinja compiles for a project."""
    count, compile_text = 0, jinja2.Environment.compile

    def counting(*args: object, **kwargs: object) -> object:
        nonlocal count
        count += 1
        return compile_text(*args, **kwargs)  # type: ignore[call-overload]

    jinja2.Environment.compile = counting  # type: ignore[method-assign, assignment]
    copier.run_copy(str(template), OUT / "counted", defaults=True, quiet=True, overwrite=True)
    jinja2.Environment.compile = compile_text  # type: ignore[method-assign]
    return count


def git_calls(template: Path) -> int:
    """How often git is called for a project."""
    calls, folder = OUT / "calls.txt", OUT / "bin"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\necho >> "{calls}"\nexec {shutil.which("git")} "$@"\n')
    (folder / "git").chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    run(
        PYTHON,
        "-m",
        "copier",
        "copy",
        "--quiet",
        "--defaults",
        template,
        OUT / "called",
        cwd=OUT,
        PATH=path,
    )
    return len(calls.read_text().splitlines())


def suite() -> list[Figure]:
    """Seconds that the rendered project's own tests take."""
    return [
        Figure(
            "the project's own tests", "s", [run(PYTHON, "-m", "pytest", "-q")[0]], None, "<= 30"
        )
    ]


FIGURES = (
    throughput,
    gains,
    gpu,
    time_to_99,
    start_up,
    rendering,
    suite,
    memory,
    growth,
    pictures,
    packed,
)


def machine() -> dict[str, str | int]:
    """What was measured, and on what."""
    processor = (
        re.search("model name\\s*: (.*)", Path("/proc/cpuinfo").read_text())
        if sys.platform == "linux"
        else None
    )
    return {
        "processor": processor[1] if processor else platform.processor(),
        "cores": os.cpu_count() or 0,
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "copier": copier.__version__,
    }


def main() -> None:
    names = [function.__name__ for function in FIGURES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("figures", nargs="*", help=f"some of {', '.join(names)}; all by default")
    chosen = parser.parse_args().figures or names
    if wrong := set(chosen) - set(names):
        parser.error(f"{', '.join(sorted(wrong))}: choose among {', '.join(names)}")
    if chosen == ["gpu"] and not torch.cuda.is_available():
        parser.error("gpu: PyTorch finds no GPU")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    render(PROJECT)
    figures = [
        figure for function in FIGURES if function.__name__ in chosen for figure in function()
    ]
    notes = [f"- {figure.name}: {figure.note}." for figure in figures if figure.note]
    facts = machine()
    lines = [
        "| Figure | Ours | Other | Ratio | Target |",
        "|---|---|---|---|---|",
        *(f.row() for f in figures),
        "",
    ]
    lines += [*notes, "- " + ", ".join(f"{key} {value}" for key, value in facts.items()) + "."]
    print("\n".join(lines))
    (OUT / "results.md").write_text("\n".join(lines) + "\n")
    results = {"machine": facts, "figures": [asdict(figure) for figure in figures]}
    (OUT / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
