"""The report that a test ends with: its numbers, its pictures, and that whatever has none of it is left alone."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.template import ROOT, Render
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SKLEARN = ROOT / ".venv" / "sklearn"
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=8", *QUIET)
LOGGERS = ("wandb", "comet", "mlflow", "tensorboard")  # the first is the default
TABLES, PICTURES = (
    ("classes.csv", "confusion.csv", "most_wrong.csv"),
    ("confusion.png", "most_wrong.png"),
)
MODULES = {
    "data_modules/named.py": """
        import torch

        from .digits import DigitsDataModule


        class Named(DigitsDataModule):
            classes = ("零", "one", "two", "three", "four", "five", "six", "seven", "eight", "a name, \\"9\\"")
            input_shape, mean, std = (3, 28, 28), torch.tensor([0.3, 0.2, 0.1]), [0.4, 0.3, 0.2]

            def on_after_batch_transfer(self, batch, dataloader_idx):
                images = batch[0].expand(-1, 3, -1, -1) / 255
                std = torch.tensor(self.std)
                return (images - self.mean[:, None, None]) / std[:, None, None], batch[1]
    """,
    "modules/own.py": """
        from .classification import ClassificationModule


        class Perfect(ClassificationModule):
            def predict_step(self, batch, batch_idx):
                return {"class": batch[1], "p": super().predict_step(batch, batch_idx)["p"]}


        class Silent(ClassificationModule):
            predict_step = ClassificationModule.__mro__[1].predict_step
    """,
}


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project with the tool, and a run `exp1` that was tested and predicted with; tests add runs of other names."""
    project = render(
        package_name="my_project",
        datasets=["digits", "csv_table", "blank"],
        models=["simplenet", "mlp", "regression", "autoencoder"],
        loggers=list(LOGGERS),
        tooling=["report", "distributed"],
    )
    for name, code in MODULES.items():
        (project / "src" / "my_project" / name).write_text(textwrap.dedent(code))
    output = fit(project, *DIGITS, "--name=exp1", "--trainer.logger=false")
    directory = run(project, "exp1")
    assert output.count(f"Report: logs/exp1/{directory.name}/report\n") == 1
    assert "Warning" not in output
    succeed(project, "predict", "--run=exp1", *QUIET)
    return project


def fit(project: Path, *options: str) -> str:
    return succeed(project, "fit", *options, *SHORT, "--test_after_fit=true")


def run(project: Path, name: str) -> Path:
    (directory,) = (project / "logs" / name).glob("20*")  # beside MLflow's
    return directory


def report(project: Path, name: str) -> Path:
    return run(project, name) / "report"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counts(directory: Path) -> list[list[int]]:
    return [
        [int(count) for count in list(row.values())[1:]]
        for row in rows(directory / "confusion.csv")
    ]


def execute(project: Path, code: str, *paths: Path) -> str:
    """Run Python code in a project, see it succeed, and return what it prints."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [project / "src", *paths])),
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def labels(project: Path) -> list[int]:
    code = """
        from my_project.data_modules.digits import DigitsDataModule

        print(DigitsDataModule().load(train=False).tensors[1].tolist())
    """
    return list(json.loads(execute(project, code)))


def predicted(project: Path) -> list[dict[str, str]]:
    return rows(run(project, "exp1") / "predictions.csv")


def test_the_confusion_matrix_counts_the_predictions(project: Path) -> None:
    expected = [[0] * 10 for _ in range(10)]
    for label, row in zip(labels(project), predicted(project), strict=True):
        expected[label][int(row["class"])] += 1
    found = counts(report(project, "exp1"))
    assert found == expected
    tested = json.loads((run(project, "exp1") / "run.json").read_text())["metrics"]["test/acc"]
    assert sum(found[i][i] for i in range(10)) / 360 == pytest.approx(tested)
    assert {path.name for path in report(project, "exp1").iterdir()} == {*TABLES, *PICTURES}, (
        "whole files alone"
    )


@pytest.mark.skipif(
    not SKLEARN.exists(), reason="`make test` installs scikit-learn to .venv/sklearn"
)
def test_the_numbers_of_the_classes_are_scikit_learns(project: Path) -> None:
    given = [int(row["class"]) for row in predicted(project)]
    assert len(set(given)) < 10, "a class that is never predicted has no precision"
    code = f"""
        import json
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        labels, given = {labels(project)}, {given}
        columns = precision_recall_fscore_support(labels, given, zero_division=0)
        print(json.dumps([confusion_matrix(labels, given).tolist(), *(column.tolist() for column in columns)]))
    """
    matrix, *measures = json.loads(execute(project, code, SKLEARN))
    assert counts(report(project, "exp1")) == matrix
    table = rows(report(project, "exp1") / "classes.csv")
    assert [row["class"] for row in table] == list("0123456789")
    for name, expected in zip(("precision", "recall", "f1", "samples"), measures, strict=True):
        assert [float(row[name]) for row in table] == pytest.approx(expected), name


def test_the_most_wrong_come_first(project: Path) -> None:
    expected = [
        (
            float(row[f"p{label}"]),
            int(row["id"]),
            label,
            int(row["class"]),
            float(row[f"p{row['class']}"]),
        )
        for label, row in zip(labels(project), predicted(project), strict=True)
        if label != int(row["class"])
    ]
    assert len(expected) > 25
    names = ("p_true", "id", "true", "predicted", "p_predicted")
    found = [
        tuple(float(row[name]) for name in names)
        for row in rows(report(project, "exp1") / "most_wrong.csv")
    ]
    assert found == sorted(expected)[:25]


def test_the_images_are_those_of_the_dataset_with_their_classes(project: Path) -> None:
    fit(
        project,
        *DIGITS,
        "--name=named",
        "--data=my_project.data_modules.named.Named",
        "--trainer.logger=false",
    )
    directory = report(project, "named")
    names = ["零", "one", "two", "three", "four", "five", "six", "seven", "eight", 'a name, "9"']
    for name in ("confusion.csv", "classes.csv"):
        assert [row["class"] for row in rows(directory / name)] == names
    assert list(rows(directory / "confusion.csv")[0]) == ["class", *names]
    wrong = rows(directory / "most_wrong.csv")
    given = labels(project)
    assert [row["true"] for row in wrong] == [names[given[int(row["id"])]] for row in wrong]
    code = """
        from my_project.data_modules.digits import DigitsDataModule

        print(DigitsDataModule().load(train=False).tensors[0].flatten(1).tolist())
    """
    originals = json.loads(execute(project, code))
    for name in ("exp1", "named"):
        wrong = rows(report(project, name) / "most_wrong.csv")
        with Image.open(report(project, name) / "most_wrong.png") as picture:
            for place in (0, 1, 7, 24):  # five in a row, of 28 by 28 pixels, each four by four
                left, top = 12 + place % 5 * 140, 28 + place // 5 * 180
                image = picture.crop((left, top, left + 112, top + 112)).resize(
                    (28, 28), Image.Resampling.NEAREST
                )
                pixels = list(image.tobytes())
                assert (
                    pixels[::3]
                    == pixels[1::3]
                    == pixels[2::3]
                    == originals[int(wrong[place]["id"])]
                ), (name, place)


def test_images_without_a_mean_fill_the_range(project: Path) -> None:
    code = """
        import torch
        from my_project.tools.report.mistakes import pixels

        images = torch.tensor([[-3.0, -1.0], [0.5, 0.5]]).view(2, 1, 1, 2)
        print([image.flatten().tolist() for image in pixels(images, None)])
    """
    assert json.loads(execute(project, code)) == [[0, 255], [0, 0]]


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_can_be_looked_at(project: Path, name: str) -> None:
    with Image.open(report(project, "exp1") / name) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB" and min(picture.size) > 400
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        colours = {colour for _, colour in picture.getcolors(2**24) or []}
    assert len(colours) > 50


def test_many_classes_and_any_names_can_be_drawn(project: Path, tmp_path: Path) -> None:
    code = f"""
        import torch
        from pathlib import Path
        from my_project.tools.report.drawing import draw_confusion, drawable

        assert drawable(["猫", "dog", "Ähre", ""]) == ["0", "dog", "2", ""]
        for count in (1, 2, 10, 100, 1500):
            matrix = 1000 * torch.eye(count, dtype=torch.int64)
            matrix[0, -1] += 10
            for kind, name in (("short", "x"), ("long", "a name that is longer than any picture has room for")):
                draw_confusion(matrix, [name] * count).save(Path({str(tmp_path)!r}) / f"{{kind}}{{count}}.png")
    """
    execute(project, code)
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert max(picture.size) < 1500
            assert (33, 102, 172) in {colour for _, colour in picture.getcolors(2**24) or []}, (
                "blue is right"
            )
    for count in (10, 100, 1500):
        sizes = {
            kind: Image.open(tmp_path / f"{kind}{count}.png").size for kind in ("short", "long")
        }
        assert (sizes["short"] != sizes["long"]) == (count < 1500), "no room for names"


def test_what_is_no_classification_has_no_report(project: Path) -> None:
    (project / "data").mkdir(exist_ok=True)
    values = "\n".join(f"{i / 50},{i % 7},{i / 25}" for i in range(100))
    (project / "data" / "table.csv").write_text(f"a,b,c\n{values}\n")
    numbers = ("-c", "configs/data/csv_table.yaml", "--data.target=c", "--data.task=regression")
    for name, options in {
        "regression": (*numbers, "-c", "configs/model/regression.yaml"),
        "autoencoder": (*DIGITS[:2], "-c", "configs/model/autoencoder.yaml"),
        "silent": (*DIGITS, "--model=my_project.modules.own.Silent"),
    }.items():
        output = fit(project, *options, f"--name={name}", "--trainer.logger=false")
        assert "test/loss" in output and "eport" not in output
        assert not report(project, name).exists()


def test_rows_of_a_table_have_no_pictures(project: Path) -> None:
    (project / "data").mkdir(exist_ok=True)
    table = project / "data" / "kinds.csv"
    table.write_text(
        "a,b,kind\n" + "".join(f"{i * 7 % 10},{i * 3 % 4},{'xyz'[i % 3]}\n" for i in range(300))
    )
    data = ("-c", "configs/data/csv_table.yaml", "--data.target=kind", "--data.file=data/kinds.csv")
    fit(project, *data, "-c", "configs/model/mlp.yaml", "--name=table", "--trainer.logger=false")
    assert {path.name for path in report(project, "table").iterdir()} == {*TABLES, "confusion.png"}
    assert [row["class"] for row in rows(report(project, "table") / "classes.csv")] == [
        "x",
        "y",
        "z",
    ]
    assert rows(report(project, "table") / "most_wrong.csv")


def test_where_nothing_is_wrong_the_pictures_of_before_are_gone(project: Path) -> None:
    fit(project, *DIGITS, "--name=perfect", "--trainer.logger=false")
    assert (report(project, "perfect") / "most_wrong.png").exists()
    succeed(project, "test", "--run=perfect", "--model=my_project.modules.own.Perfect", *QUIET)
    assert {path.name for path in report(project, "perfect").iterdir()} == {
        *TABLES,
        "confusion.png",
    }
    assert not rows(report(project, "perfect") / "most_wrong.csv")
    assert {row["recall"] for row in rows(report(project, "perfect") / "classes.csv")} == {"1.0"}


def test_a_test_of_its_own_reports_on_what_it_saw(project: Path) -> None:
    succeed(project, "fit", *DIGITS, *SHORT, "--name=later", "--trainer.logger=false")
    assert not report(project, "later").exists()
    succeed(project, "validate", "--run=later", *QUIET)
    for verb in ("fit", "test"):
        succeed(project, verb, "--run=later", *QUIET, "--trainer.fast_dev_run=true")
    assert not report(project, "later").exists()
    output = succeed(
        project,
        "test",
        "--run=later",
        "--trainer.limit_test_batches=2",
        "--data.batch_size=50",
        *QUIET,
    )
    assert f"Report: logs/later/{run(project, 'later').name}/report" in output
    assert sum(map(sum, counts(report(project, "later")))) == 100
    succeed(project, "test", "--run=later", "--trainer.callbacks=[]", "--name=later", *QUIET)
    assert sum(map(sum, counts(report(project, "later")))) == 100, "without the callback it stays"


def test_several_processes_report_as_one_does(project: Path) -> None:
    shutil.copytree(run(project, "exp1"), project / "logs" / "several" / "20261123-182344-518074a3")
    shutil.rmtree(report(project, "several"))
    several = (
        "-c",
        "configs/trainer/ddp.yaml",
        "--trainer.accelerator=cpu",
        "--trainer.devices=2",
        *QUIET,
    )
    command = [
        sys.executable,
        "src/main.py",
        "test",
        "--run=several",
        *several,
        "--data.batch_size=32",
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and (done.stdout + done.stderr).count("Report: ") == 1, (
        done.stdout + done.stderr
    )
    one, other = report(project, "exp1"), report(project, "several")
    for name in ("classes.csv", "confusion.csv", *PICTURES):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for expected, found in zip(
        rows(one / "most_wrong.csv"), rows(other / "most_wrong.csv"), strict=True
    ):
        assert [expected[name] for name in ("id", "true", "predicted")] == [
            found[name] for name in ("id", "true", "predicted")
        ]
        assert float(found["p_true"]) == pytest.approx(float(expected["p_true"]), rel=1e-4)
    assert {path.name for path in other.iterdir()} == {*TABLES, *PICTURES}


def logged(directory: Path, logger: str) -> dict[str, bytes]:
    """Return the pictures that a logger has of a run, as files, by their names."""
    found = {}
    if logger == "tensorboard":
        events = EventAccumulator(str(directory))
        events.Reload()
        found = {
            name: events.Images(name)[-1].encoded_image_string for name in events.Tags()["images"]
        }
    elif logger == "wandb":
        for path in directory.glob("wandb/offline-run-*/files/media/images/test/*.png"):
            found[f"test/{re.sub('_[0-9]+_.*', '', path.name)}"] = path.read_bytes()
    elif logger == "comet":
        for path in directory.glob("comet/*/*.zip"):
            with zipfile.ZipFile(path) as archive:
                messages = [
                    json.loads(line)["payload"]
                    for line in archive.read("messages.json").splitlines()
                ]
                pictures = [
                    message for message in messages if message.get("upload_type") == "visualization"
                ]
                for one in pictures:
                    found[one["additional_params"]["figName"]] = archive.read(one["file_path"])
    else:
        for path in directory.parent.glob("mlflow/*/artifacts/report/*.png"):
            found[f"test/{path.stem}"] = path.read_bytes()
    return found


@pytest.mark.parametrize(
    ("logger", "at_once"),
    [*((logger, True) for logger in LOGGERS), ("tensorboard", False), ("wandb", False)],
)
def test_a_logger_gets_the_pictures(project: Path, logger: str, at_once: bool) -> None:
    name = f"{logger}-{at_once}"
    config = ("-c", f"configs/logger/{logger}.yaml") * (logger != LOGGERS[0])
    output = succeed(
        project, "fit", *DIGITS, *SHORT, *config, f"--name={name}", f"--test_after_fit={at_once}"
    )
    if not at_once:
        assert not logged(run(project, name), logger)
        output = succeed(project, "test", f"--run={name}", *QUIET)
    assert "Warning" not in output
    found = logged(run(project, name), logger)
    assert found.keys() == {"test/confusion", "test/most_wrong"}
    for key, content in found.items():
        with (
            Image.open(io.BytesIO(content)) as one,
            Image.open(report(project, name) / f"{key[5:]}.png") as other,
        ):
            assert one.tobytes() == other.tobytes()


def test_pillow_is_not_imported_at_the_start(project: Path) -> None:
    code = """
        import sys
        import my_project.cli, my_project.callbacks.report

        print("PIL.Image" in sys.modules)
    """
    assert execute(project, code) == "False\n"
