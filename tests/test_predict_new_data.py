"""`predict --run X --data.predict …`: data that no training has seen, where the training data are not."""

import csv
import shutil
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import fail, run_warm, succeed
from helpers.template import Render
from PIL import Image

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SHORT = ("--trainer.max_epochs=8", "--trainer.accelerator=cpu", *QUIET)
PICTURES = (
    "-c", "configs/data/image_folder.yaml", "-c", "configs/model/simplenet.yaml",
    "--data.image_size=16", "--data.num_workers=0", "--data.batch_size=4", "--data.folder=pictures",
)  # fmt: skip

KIND = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml", "--data.target=kind")
PRICE = (
    "-c", "configs/data/csv_table.yaml", "-c", "configs/model/regression.yaml",
    "--data.task=regression", "--data.target=[price, weight]",
)  # fmt: skip


def save_picture(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (brightness, brightness, brightness)).save(path)


@pytest.fixture(scope="module")
def trained(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with runs of dark and bright pictures and of tables, whose data are gone."""
    rendered = render(
        datasets=["digits", "image_folder", "csv_table", "huggingface"],
        models=["simplenet", "mlp", "regression"],
        package_name="my_project",
        tooling=["report"],
    )
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("new data") / "my-project")
    for part, count in (("train", 20), ("test", 5)):
        for name, brightness in (("bright", 200), ("dark", 40)):
            for i in range(count):
                save_picture(folder / "pictures" / part / name / f"{i:02}.png", brightness + i)
    succeed(folder, "fit", *PICTURES, *SHORT, "--name=pictures")
    shutil.rmtree(folder / "pictures")

    rows = ["number,colour,price,weight,code,kind"]
    for i in range(80):
        kind = "big" if i >= 40 else "small"
        code = i % 7 if i % 2 else f"x{i % 7}"  # some texts look like numbers
        rows.append(f"{i},{'red' if i % 3 else 'blue'},{i * i},{2 * i},{code},{kind}")
    data = folder / "data" / "table.csv"
    data.write_text("\n".join(rows) + "\n")
    longer = ("--trainer.max_epochs=30", "--test_after_fit=true")
    succeed(folder, "fit", *KIND, *SHORT, *longer, "--name=kind")
    succeed(folder, "fit", *PRICE, *SHORT, "--name=price")
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy elsewhere, as on another machine."""
    return shutil.copytree(trained, tmp_path / "elsewhere" / "my-project")


@pytest.fixture
def new(project: Path) -> Path:
    """New pictures, in nested folders that are named after no class."""
    folder = project / "new pictures"
    for name, brightness in (("a.png", 210), ("monday/b.png", 45), ("monday/noon/c.jpg", 205)):
        save_picture(folder / name, brightness)
    return folder


def predict(project: Path, name: str, *options: str) -> str:
    return succeed(project, "predict", f"--run={name}", *QUIET, *options)


def evaluate(project: Path, code: str) -> str:
    """Run Python code with the project's package, and return what it prints."""
    done = run_warm(project, "-c", textwrap.dedent(code), PYTHONPATH="src")
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def written(project: Path, name: str, folder: str) -> list[dict[str, str]]:
    (path,) = project.glob(f"logs/{name}/*/new/{folder}/predictions.csv")
    return table(path)


def test_new_pictures_are_predicted_without_the_training_pictures(project: Path, new: Path) -> None:
    output = predict(project, "pictures", f"--data.predict={new}")
    rows = written(project, "pictures", "new_pictures")
    assert [row["file"] for row in rows] == ["a.png", "monday/b.png", "monday/noon/c.jpg"]
    assert [row["class_name"] for row in rows] == ["bright", "dark", "bright"]
    assert "label" not in rows[0]
    (run_id,) = (project / "logs" / "pictures").iterdir()
    place = f"logs/pictures/{run_id.name}/new/new_pictures/predictions.csv"
    assert output.splitlines()[-1] == f"Predictions: {place}"


def test_one_picture_is_predicted(project: Path, new: Path) -> None:
    predict(project, "pictures", f"--data.predict={new / 'monday' / 'b.png'}")
    (row,) = written(project, "pictures", "b")
    assert (row["id"], row["file"], row["class_name"]) == ("0", "b.png", "dark")


def damaged(new: Path) -> None:
    """Add a text and half a picture to new pictures, at the places 1 and 3."""
    (new / "b.png").write_text("no picture")
    save_picture(new / "whole.png", 45)
    content = (new / "whole.png").read_bytes()
    (new / "whole.png").unlink()
    (new / "monday" / "c.png").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_cannot_be_read_is_said_at_its_place_and_the_others_are_predicted(
    project: Path, new: Path, workers: str
) -> None:
    damaged(new)
    output = predict(project, "pictures", f"--data.predict={new}", f"--data.num_workers={workers}")
    rows = written(project, "pictures", "new_pictures")
    assert [row["file"] for row in rows] == [
        "a.png", "b.png", "monday/b.png", "monday/c.png", "monday/noon/c.jpg"
    ]  # fmt: skip
    assert [row["class_name"] for row in rows] == ["bright", "", "dark", "", "bright"]
    assert [row["p0"] == "" for row in rows] == [False, True, False, True, False]
    assert rows[0]["problem"] == "" and "cannot identify image file" in rows[1]["problem"]
    (line,) = [line for line in output.splitlines() if "problem" in line]
    assert line.startswith(
        "2 of 5 samples have no prediction, and `problem` says why. The first is b.png: cannot identify"
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_strictly_the_first_that_cannot_be_read_ends_it_and_nothing_is_written(
    project: Path, new: Path, workers: str
) -> None:
    damaged(new)
    options = (f"--data.predict={new}", f"--data.num_workers={workers}", "--data.strict=true")
    message = fail(project, "predict", "--run=pictures", *QUIET, *options)
    assert message.startswith("new pictures/b.png is no picture that can be read: cannot identify")
    assert not list(project.glob("logs/pictures/*/new"))


def test_two_processes_and_their_workers_share_the_pictures(project: Path, new: Path) -> None:
    damaged(new)
    (new / "d.png").write_bytes((new / "a.png").read_bytes())
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--data.num_workers=2")
    predict(project, "pictures", f"--data.predict={new}", *two)
    rows = written(project, "pictures", "new_pictures")
    assert [row["id"] for row in rows] == [str(i) for i in range(6)]
    assert [row["class_name"] for row in rows] == ["bright", "", "bright", "dark", "", "bright"]
    assert [bool(row["problem"]) for row in rows] == [False, True, False, False, True, False]


def test_fewer_samples_than_processes_are_refused_in_one_line(project: Path, new: Path) -> None:
    two = ("--trainer.devices=2", "--trainer.strategy=ddp")
    done = run_warm(
        project, "predict", "--run=pictures", *QUIET, *two, f"--data.predict={new / 'a.png'}"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    line = "error: 2 processes cannot share a set of 1: pass --trainer.devices 1"
    assert line in done.stderr.splitlines()


def test_predictions_of_other_data_of_the_same_name_are_kept(project: Path, new: Path) -> None:
    predict(project, "pictures", f"--data.predict={new / 'a.png'}")
    predict(project, "pictures", f"--data.predict={new / 'a.png'}")
    save_picture(project / "other" / "a.png", 45)
    output = predict(project, "pictures", f"--data.predict={project / 'other' / 'a.png'}")
    assert written(project, "pictures", "a")[0]["class_name"] == "bright"
    assert written(project, "pictures", "a-2")[0]["class_name"] == "dark"
    assert "/new/a-2/predictions.csv" in output
    assert len(list(project.glob("logs/pictures/*/new/*"))) == 2


def test_a_folder_is_named_as_it_is_wherever_the_command_runs(project: Path, new: Path) -> None:
    new.rename(project / "v1.5")
    inside = project / "v1.5" / "monday"
    for path, name in ((".", "monday"), ("..", "v1.5"), ("../a.png", "a")):
        options = ("predict", "--run=pictures", *QUIET, f"--data.predict={path}")
        succeed(project, *options, cwd=inside)
        assert written(project, "pictures", name)
    assert not list(project.glob("logs/pictures/*/predictions.csv"))
    assert {path.name for path in project.glob("logs/pictures/*/new/*")} == {"monday", "v1.5", "a"}


def test_a_run_forgets_what_it_has_predicted(project: Path, new: Path) -> None:
    (directory,) = (project / "logs" / "pictures").iterdir()
    before = (directory / "config.yaml").read_text()
    predict(project, "pictures", f"--data.predict={new}")
    assert (directory / "config.yaml").read_text() == before
    assert not {"predict", "run"} & yaml.safe_load(before)["data"]["init_args"].keys()


@pytest.mark.parametrize("missing", ["nowhere", "empty"])
def test_a_missing_or_empty_folder_is_named(project: Path, missing: str) -> None:
    (project / "empty").mkdir()
    options = (*QUIET, f"--data.predict={missing}", "--ckpt_path=last")
    message = fail(project, "predict", "--run=pictures", *options)
    assert message in (
        "there is no nowhere: name a folder of pictures, or a picture",
        "empty has no pictures in it",
    )
    assert not list(project.glob("logs/pictures/*/new"))
    assert not list(project.glob("logs/pictures/*/other")), "the folder of another checkpoint"


def test_new_data_are_for_predict_alone(project: Path, new: Path) -> None:
    for command in ("fit", "validate", "test"):
        message = fail(project, command, "--run=pictures", *QUIET, f"--data.predict={new}")
        assert message == "data.predict is an option of predict alone: leave it out"


def test_a_run_of_an_older_version_is_refused_in_one_line(project: Path, new: Path) -> None:
    (path,) = project.glob("logs/pictures/*/data.json")
    path.unlink()
    message = fail(project, "predict", "--run=pictures", *QUIET, f"--data.predict={new}")
    run_id = path.parent.name
    assert message == (
        f"logs/pictures/{run_id} has no data.json, so its classes or its encoding are unknown: "
        "name a run with --run that this version of the project has trained"
    )


def test_datasets_of_the_template_predict_pictures_of_any_size(project: Path) -> None:
    digits = ("-c", "configs/data/digits.yaml", "-c", "configs/model/simplenet.yaml")
    succeed(project, "fit", *digits, *SHORT, "--name=digits")
    code = """
        from my_project.data_modules.digits import DigitsDataModule
        from PIL import Image

        images, labels = DigitsDataModule().load(train=False)[:20]
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            picture = Image.fromarray(image[0].numpy()).convert("RGB").resize((56, 56))
            picture.save(f"drawn/{i:02} is a {label}.png")
    """
    (project / "drawn").mkdir()
    evaluate(project, code)
    predict(project, "digits", "--data.predict=drawn", "--data.num_workers=1")
    rows = written(project, "digits", "drawn")
    right = [row["class"] == Path(row["file"]).stem[-1] for row in rows]
    assert len(right) == 20 and sum(right) >= 18


# Tables ---------------------------------------------------------------------------------------------------------------


def without(path: Path, *columns: str) -> Path:
    """Copy a table without some columns, which then stand in another order."""
    rows = table(path)
    kept = sorted(rows[0].keys() - {*columns})
    new = path.with_name("new rows.csv")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return new


@pytest.mark.parametrize(
    ("name", "targets", "shown"),
    [("kind", ["kind"], ["class", "class_name", "p0", "p1"]),
     ("price", ["price", "weight"], ["prediction0", "prediction1"])],
)  # fmt: skip
def test_new_rows_are_predicted_as_the_same_rows_of_the_test_set_are(
    project: Path, name: str, targets: list[str], shown: list[str]
) -> None:
    predict(project, name)
    (project / "data" / "table.csv").rename(project / "table of another machine.csv")
    (path,) = project.glob(f"logs/{name}/*/predictions.csv")
    held_out = table(path)
    whole = table(project / "table of another machine.csv")
    for row in held_out:
        row_in_file = whole[int(row["row"]) - 2]
        label = row.get("label_name") or f"{float(row['label0']):.0f}"
        assert label == row_in_file[targets[0]], "the row's number is that in the file"

    new = without(project / "table of another machine.csv", *targets)
    predict(project, name, f"--data.predict={new}")
    rows = written(project, name, "new_rows")
    assert [row["row"] for row in rows] == [str(i) for i in range(2, 82)]
    assert not any(column.startswith("label") for column in rows[0])
    for row in held_out:
        new_row = rows[int(row["row"]) - 2]
        for column in shown:
            if column == "class_name":
                assert new_row[column] == row[column]
            else:
                assert float(new_row[column]) == pytest.approx(float(row[column]), abs=1e-5)


def test_the_report_of_a_test_has_the_rows_of_a_table(project: Path) -> None:
    (path,) = project.glob("logs/kind/*/report/most_wrong.csv")
    assert path.read_text().startswith("id,row,true,predicted,")


def test_texts_that_look_like_numbers_stay_texts(project: Path) -> None:
    new = without(project / "data" / "table.csv", "kind")
    predict(project, "kind", f"--data.predict={new}")
    expected = written(project, "kind", "new_rows")
    header, *rows = new.read_text().splitlines()
    odd = project / "odd.csv"
    odd.write_text("\n".join([header, *rows[1::2]]) + "\n")
    assert "x" not in odd.read_text(), "all codes are numbers"
    predict(project, "kind", f"--data.predict={odd}")
    found = written(project, "kind", "odd")
    for row, other in zip(found, expected[1::2], strict=True):
        assert float(row["p0"]) == pytest.approx(float(other["p0"]), abs=1e-5)


def test_labels_of_new_rows_are_beside_the_predictions_where_they_are_known(project: Path) -> None:
    lines = [
        "number,colour,price,weight,code,kind",
        "5,red,25,10,3,small",
        "70,blue,4900,140,0,odd",
        "71,red,5041,142,1,big",
    ]
    (project / "rows.csv").write_text("\n".join(lines) + "\n")
    predict(project, "kind", "--data.predict=rows.csv", "--data.batch_size=1")
    rows = written(project, "kind", "rows")
    assert [row["label_name"] for row in rows] == ["small", "", "big"]
    assert [row["class_name"] for row in rows] == ["small", "big", "big"]


def test_rows_without_a_value_are_said_and_the_others_are_predicted(project: Path) -> None:
    lines = [
        "number,colour,price,weight,code",
        ",red,25,10,3",
        "70,,4900,140,3",
        "71,red,many,1,3",
        "72,green,5184,144,3",
    ]
    (project / "rows.csv").write_text("\n".join(lines) + "\n")
    output = predict(project, "kind", "--data.predict=rows.csv")
    rows = written(project, "kind", "rows")
    assert [row["problem"] for row in rows] == [
        "column number has no number", "column colour has no value", "column price has no number", ""
    ]  # fmt: skip
    assert list(rows[0])[:3] == ["id", "row", "problem"]
    assert [row["class_name"] for row in rows] == ["", "", "", "big"]
    assert (
        "3 of 4 samples have no prediction, and `problem` says why. The first is 2: column"
        in output
    )
    message = fail(
        project, "predict", "--run=kind", *QUIET, "--data.predict=rows.csv", "--data.strict=true"
    )
    assert message == "rows.csv: column number has no number in row 2 (the header is row 1)"


def test_a_run_whose_encoding_is_of_an_older_kind_is_refused_in_one_line(project: Path) -> None:
    (path,) = project.glob("logs/kind/*/data.json")
    path.write_text(
        '{"features": ["x"], "texts": [], "columns": ["x"], "center": [0], "scale": [1]}'
    )
    (project / "rows.csv").write_text("x\n5\n")
    message = fail(project, "predict", "--run=kind", *QUIET, "--data.predict=rows.csv")
    assert message == (
        "the run is of an earlier csv_table.py, which encodes in another way: "
        "predict with that file, or train a new run"
    )


def test_a_table_that_lacks_a_column_is_refused(project: Path) -> None:
    (project / "rows.csv").write_text("number,colour\n5,red\n")
    message = fail(project, "predict", "--run=kind", *QUIET, "--data.predict=rows.csv")
    assert message == "rows.csv has no column price: there are number, colour"
    message = fail(project, "predict", "--run=kind", *QUIET, "--data.predict=nowhere.csv")
    assert message.startswith("there is no nowhere.csv")
    (project / "rows.csv").write_text("number,colour,price,weight,code\n")
    message = fail(project, "predict", "--run=kind", *QUIET, "--data.predict=rows.csv")
    assert message == "rows.csv has no rows"


# The Hub --------------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, shades: Sequence[int], **columns: Any) -> None:
    """Write grey pictures of these shades, and more columns, as a split of a dataset."""
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("RGB", (20, 16), (shade, shade, shade)) for shade in shades]
    rows = datasets.Dataset.from_dict({"image": pictures, **columns})
    rows.cast_column("image", datasets.Image()).to_parquet(path)


@pytest.fixture
def hub(project: Path, tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Train on a dataset and remove it; return a function that predicts, and returns the rows in a folder."""
    offline: Any = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    shades = [40 + 160 * (i % 2) + i for i in range(40)]
    kinds = ["bright" if i % 2 else "dark" for i in range(40)]
    old = tmp_path / "old"
    write_parquet(old / "train.parquet", shades, label=kinds)
    write_parquet(old / "test.parquet", shades[:4], label=kinds[:4])
    configs = ("-c", "configs/data/huggingface.yaml", "-c", "configs/model/simplenet.yaml")
    small = ("--data.image_size=16", "--data.num_workers=0", "--data.batch_size=4")
    fit = ("fit", *configs, *small, *SHORT, f"--data.path={old}", "--name=hub")
    succeed(project, *fit, **offline)
    shutil.rmtree(old)
    shutil.rmtree(tmp_path / "cache")

    def predicted(folder: str, *options: str) -> list[dict[str, str]]:
        succeed(project, "predict", "--run=hub", *QUIET, *options, **offline)
        return written(project, "hub", folder)

    return predicted


def test_splits_of_a_dataset_are_predicted_with_labels_or_without(
    hub: Callable[..., list[dict[str, str]]], new: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "unlabelled" / "test.parquet", [210, 45, 205])
    write_parquet(tmp_path / "labelled" / "train.parquet", [210, 45], label=["grey", "dark"])

    rows = hub("test_2_", f"--data.path={tmp_path / 'unlabelled'}", "--data.predict=test[:2]")
    assert [row["class_name"] for row in rows] == ["bright", "dark"]
    assert "label" not in rows[0]

    write_parquet(tmp_path / "other" / "train.parquet", [45])
    hub("train", f"--data.path={tmp_path / 'other'}", "--data.predict=train")
    rows = hub("train-2", f"--data.path={tmp_path / 'labelled'}", "--data.predict=train")
    assert [row["class_name"] for row in rows] == ["bright", "dark"]
    assert [row["label_name"] for row in rows] == ["", "dark"]

    rows = hub("new_pictures", f"--data.predict={new}")
    assert [row["class_name"] for row in rows] == ["bright", "dark", "bright"]
