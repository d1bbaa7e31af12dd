"""The tooling choice `export`: what the files hold, and that only what predicts as the model does is written."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import DIGITS, succeed
from helpers.pages import blocks
from helpers.run_files import run_of
from helpers.server import Server
from helpers.template import Render, files
from onnxruntime import InferenceSession
from PIL import Image

SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
MLP = ("-c", "configs/data/digits.yaml", "-c", "configs/model/mlp.yaml")
TABLE = ("-c", "configs/data/csv_table.yaml", "--data.batch_size=16")


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with a run of a network that normalises by batches and drops, compiled."""
    answers: dict[str, Any] = {
        "datasets": ["digits", "csv_table"],
        "models": ["simplenet", "mlp", "regression"],
        "loggers": ["csv"],
        "tooling": ["export"],
    }
    project = render(package_name="my_project", **answers)
    succeed(
        project,
        "fit",
        *DIGITS,
        *SHORT,
        "--model.compile=true",
        "--name=exp1",
        TORCHDYNAMO_DISABLE="1",
    )
    succeed(project, "predict", *DIGITS, "--run=exp1", TORCHDYNAMO_DISABLE="1")
    rows = [f"{i},{'red' if i % 3 else 'blue'},{i * i}" for i in range(60)]
    (project / "data" / "table.csv").write_text("\n".join(["x,colour,y", *rows]) + "\n")
    return project


def export(warm: Server, project: Path, *args: str) -> str:
    """Export, see it succeed without a warning, and return what it prints."""
    done = warm.run(project, "-m", "my_project.export", *args, cwd=project / "src")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(warm: Server, project: Path, *args: str) -> str:
    done = warm.run(project, "-m", "my_project.export", *args, cwd=project / "src")
    assert done.returncode and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


def predictions(project: Path) -> tuple[list[int], Any]:
    """Return classes and probabilities that `predict` wrote, float64 of shape (360, 10)."""
    with (run_of(project, "exp1") / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [int(row["class"]) for row in rows], np.array(
        [[float(row[f"p{i}"]) for i in range(10)] for row in rows]
    )


@pytest.fixture(scope="module")
def pixels(project: Path) -> torch.Tensor:
    """The images that are held out, as they are in the dataset: uint8 of shape (360, 1, 28, 28)."""
    code = """
        import torch
        from my_project.data_modules.digits import DigitsDataModule

        torch.save(DigitsDataModule().load(train=False).tensors[0], "pixels.pt")
    """
    outside(project, project, code, PYTHONPATH="src")
    images: torch.Tensor = torch.load(project / "pixels.pt")
    assert images.dtype == torch.uint8
    return images


def outside(project: Path, folder: Path, code: str, **env: str) -> str:
    """Run Python that knows nothing of the project, unless PYTHONPATH says so."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnx_takes_pixels_and_predicts_as_the_model_does(
    warm: Server, project: Path, pixels: torch.Tensor
) -> None:
    before = files(project)
    output = export(warm, project, "--run=exp1")
    file = run_of(project, "exp1") / "best.onnx"
    assert output.endswith(f"Exported: {os.path.relpath(file, project / 'src')}\n")
    new = {name for name in files(project) - before if "__pycache__" not in name}
    assert new == {file.relative_to(project).as_posix()}

    session = InferenceSession(file)
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("inputs", "tensor(uint8)", [1, 28, 28])
    classes, p = predictions(project)
    found = dict(
        zip(("class", "p"), session.run(["class", "p"], {"inputs": pixels.numpy()}), strict=True)
    )
    assert found["class"].tolist() == classes
    np.testing.assert_allclose(found["p"], p, atol=1e-5)
    for size in (1, 7):  # any number of samples
        (some,) = session.run(["p"], {"inputs": pixels[:size].numpy()})
        np.testing.assert_allclose(some, p[:size], atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert metadata["run"] == f"exp1/{file.parent.name}"


def test_a_program_needs_none_of_the_projects_code(
    warm: Server, project: Path, pixels: torch.Tensor, tmp_path: Path
) -> None:
    export(
        warm,
        project,
        "--run=exp1",
        "--format=torch_export",
        f"--output={tmp_path / 'there' / 'model.pt2'}",
    )
    code = f"""
        import sys, torch
        extra = {{"classes": ""}}
        program = torch.export.load("model.pt2", extra_files=extra).module()
        for size in (360, 7):
            found = program(torch.load({str(project / "pixels.pt")!r})[:size])
        assert "my_project" not in sys.modules and "lightning" not in sys.modules
        torch.save(found, "found.pt")
        print(extra["classes"])
    """
    assert json.loads(outside(project, tmp_path / "there", code)) == [
        str(digit) for digit in range(10)
    ]
    found = torch.load(tmp_path / "there" / "found.pt")
    classes, p = predictions(project)
    assert found["class"].tolist() == classes[:7]
    np.testing.assert_allclose(found["p"].detach(), p[:7], atol=1e-5)


def test_weights_are_those_of_the_checkpoint_that_one_asks_for(warm: Server, project: Path) -> None:
    export(warm, project, "--run=exp1", "--format=safetensors", "--checkpoint=last")
    code = """
        import sys
        import torch
        from safetensors.torch import load_file

        there, here = load_file("last.safetensors"), torch.load("checkpoints/last.ckpt")["state_dict"]
        assert there.keys() == here.keys() and all(torch.equal(there[name], here[name]) for name in here)
    """
    outside(project, run_of(project, "exp1"), code)


def test_tables_and_numbers_are_exported_too(warm: Server, project: Path) -> None:
    red = ("--data.target=colour", "--name=red")
    succeed(project, "fit", *TABLE, "-c", "configs/model/mlp.yaml", *red, *SHORT)
    export(warm, project, "--run=red")
    session = InferenceSession(run_of(project, "red") / "best.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["blue", "red"]
    numbers = ("--data.target=y", "--data.task=regression", "--name=numbers")
    succeed(project, "fit", *TABLE, "-c", "configs/model/regression.yaml", *numbers, *SHORT)
    export(warm, project, "--run=numbers")
    session = InferenceSession(run_of(project, "numbers") / "best.onnx")
    (found,) = session.run(["prediction"], {"inputs": np.zeros((3, 3), "float32")})
    assert found.shape == (3,)


def script(project: Path, name: str, *args: str) -> list[dict[str, str]]:
    """Run a script of the documentation, and return the rows that it prints."""
    code = next(code for _, code in blocks("export") if code.startswith(f"# scripts/{name}\n"))
    folder = project / "scripts"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(code)
    package = project / "src" / "my_project"
    for file in ("engine/picture_files.py", "data_modules/table_encoding.py"):
        shutil.copy(package / file, folder)
    command = [sys.executable, str(folder / name), *args]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def predicted(project: Path, name: str, path: Path) -> list[dict[str, str]]:
    """Predict new data with the project itself, and return the rows."""
    succeed(project, "predict", f"--run={name}", f"--data.predict={path}", TORCHDYNAMO_DISABLE="1")
    with (run_of(project, name) / "new" / path.stem / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_new_pictures_are_read_as_the_project_reads_them(
    warm: Server, project: Path, pixels: torch.Tensor, tmp_path: Path
) -> None:
    export(warm, project, "--run=exp1")
    folder = tmp_path / "pictures"
    for i, image in enumerate(pixels[:6]):
        path = folder / f"folder {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).resize((90, 56)).save(path)
    (folder / "folder 0" / "1.png").write_text("no picture")
    expected = predicted(project, "exp1", folder)
    found = script(
        project, "predict_images.py", str(run_of(project, "exp1") / "best.onnx"), str(folder)
    )
    assert [row["file"] for row in found] == [row["file"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert bool(row["problem"]) == bool(other["problem"]) == (row["file"] == "folder 0/1.png")
        if not row["problem"]:
            assert row["class_name"] == other["class"]
            assert float(row["p"]) == pytest.approx(float(other[f"p{other['class']}"]), abs=1e-5)


def test_new_rows_are_encoded_as_the_project_encodes_them(
    warm: Server, project: Path, tmp_path: Path
) -> None:
    """Rows with gaps, dates, a new text, a text that looks like a number, and a customer's number."""
    lines = ["customer,x,day,code,colour"]
    for i in range(60):
        x = "" if i % 7 == 0 else i
        code = ["007", "x", ""][i % 3]
        lines.append(f"c{i:03},{x},2026-01-{1 + i % 28:02},{code},{'red' if i % 2 else 'blue'}")
    table = project / "data" / "customers.csv"
    table.write_text("\n".join(lines) + "\n")
    options = (f"--data.file={table}", "--data.target=colour", "--data.ids=customer")
    mlp = (*TABLE, "-c", "configs/model/mlp.yaml", *SHORT)
    succeed(project, "fit", *mlp, *options, "--name=colours")

    table.unlink()  # neither predictions nor an export that is checked on new data need it
    table = tmp_path / "rows.csv"
    rows = ["2026-02-01,007,9,c1", "2026-03-01T06:00,new,,007", "soon,x,1,c3", "2025-01-01,,2.5,"]
    table.write_text("\n".join(["day,code,x,customer", *rows]) + "\n")
    expected = predicted(project, "colours", table)
    assert refused(warm, project, "--run=colours").startswith("error: there is no ")
    output = export(warm, project, "--run=colours", f"--data.predict={table}")
    assert output.startswith("Largest difference of 4 samples: ")
    model = str(run_of(project, "colours") / "best.onnx")
    found = script(project, "predict_rows.py", model, str(table))
    assert [row["problem"] for row in found] == ["", "", "column day has no date", ""]
    assert [row["customer"] for row in expected] == ["c1", "007", "c3", ""]
    for row, other in zip(found, expected, strict=True):
        assert (row["problem"], row["class_name"]) == (other["problem"], other["class_name"])
        if not row["problem"]:
            assert float(row["p"]) == pytest.approx(float(other[f"p{other['class']}"]), abs=1e-6)


def test_what_predicts_otherwise_is_not_written(
    warm: Server, project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    file.write_text("mine")
    message = refused(warm, project, "--run=exp1", "--tolerance=0", f"--output={file}")
    assert (
        message.startswith("error: the exported model differs by ") and "--tolerance 0" in message
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("model.onnx", "mine")
    ]


def test_mistakes_are_told_in_a_line(warm: Server, project: Path) -> None:
    assert refused(warm, project, "--run=exp9").startswith("error: there is no run exp9 in ")
    assert "invalid choice: 'tflite'" in refused(warm, project, "--run=exp1", "--format=tflite")
    succeed(project, "fit", *MLP, *SHORT, "--name=none", "--trainer.enable_checkpointing=false")
    assert "has no best checkpoint" in refused(warm, project, "--run=none")


def test_batches_of_different_length_are_told_in_a_line(warm: Server, project: Path) -> None:
    (project / "src" / "my_project" / "data_modules" / "lengths.py").write_text(
        "from .digits import DigitsDataModule\n\n\n"
        "class Cropped:\n"
        "    def __init__(self, loader):\n"
        "        self.loader = loader\n\n"
        "    def __iter__(self):\n"
        "        for number, (images, labels) in enumerate(self.loader):\n"
        "            yield images[:, :, number:], labels\n\n\n"
        "class Lengths(DigitsDataModule):\n"
        "    def predict_dataloader(self):\n"
        "        return Cropped(self.test_dataloader())\n"
    )
    data = "--data=my_project.data_modules.lengths.Lengths"
    succeed(project, "fit", *MLP, *SHORT, data, "--name=lengths")
    for kind in ("onnx", "safetensors"):
        line = refused(warm, project, "--run=lengths", f"--format={kind}")
        assert line.startswith(
            "error: the inputs have the shape (1, 28, 28) in one batch and (1, 27, 28) in another"
        )
    assert not list(run_of(project, "lengths").glob(".*"))
    assert {path.name for path in run_of(project, "lengths").glob("best*")} == set()
