"""The report of a test: confusion matrix, scores, and the worst mistakes."""

import json
from pathlib import Path

import pytest
from helpers.commands import DIGITS
from helpers.report import PICTURES, TABLES, counts, execute, fit, report, run
from helpers.run_files import rows
from helpers.template import ROOT
from PIL import Image

SKLEARN = ROOT / ".venv" / "sklearn"


def labels(project: Path) -> list[int]:
    code = """
        from my_project.data_modules.digits import DigitsDataModule

        print(DigitsDataModule().load(train=False).tensors[1].tolist())
    """
    return list(json.loads(execute(project, code)))


def predicted(project: Path) -> list[dict[str, str]]:
    return rows(run(project, "exp1") / "predictions.csv")


def test_the_confusion_matrix_counts_the_predictions(report_project: Path) -> None:
    expected = [[0] * 10 for _ in range(10)]
    for label, row in zip(labels(report_project), predicted(report_project), strict=True):
        expected[label][int(row["class"])] += 1
    found = counts(report(report_project, "exp1"))
    assert found == expected
    tested = json.loads((run(report_project, "exp1") / "run.json").read_text())["metrics"][
        "test/acc"
    ]
    assert sum(found[i][i] for i in range(10)) / 360 == pytest.approx(tested)
    assert {path.name for path in report(report_project, "exp1").iterdir()} == {
        *TABLES,
        *PICTURES,
    }, "whole files alone"


@pytest.mark.skipif(
    not SKLEARN.exists(), reason="`make test` installs scikit-learn to .venv/sklearn"
)
def test_the_numbers_of_the_classes_are_scikit_learns(report_project: Path) -> None:
    given = [int(row["class"]) for row in predicted(report_project)]
    assert len(set(given)) < 10, "a class that is never predicted has no precision"
    code = f"""
        import json
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        labels, given = {labels(report_project)}, {given}
        columns = precision_recall_fscore_support(labels, given, zero_division=0)
        print(json.dumps([confusion_matrix(labels, given).tolist(), *(column.tolist() for column in columns)]))
    """
    matrix, *measures = json.loads(execute(report_project, code, SKLEARN))
    assert counts(report(report_project, "exp1")) == matrix
    table = rows(report(report_project, "exp1") / "classes.csv")
    assert [row["class"] for row in table] == list("0123456789")
    for name, expected in zip(("precision", "recall", "f1", "samples"), measures, strict=True):
        assert [float(row[name]) for row in table] == pytest.approx(expected), name


def test_the_most_wrong_come_first(report_project: Path) -> None:
    expected = [
        (
            float(row[f"p{label}"]),
            int(row["id"]),
            label,
            int(row["class"]),
            float(row[f"p{row['class']}"]),
        )
        for label, row in zip(labels(report_project), predicted(report_project), strict=True)
        if label != int(row["class"])
    ]
    assert len(expected) > 25
    names = ("p_true", "id", "true", "predicted", "p_predicted")
    found = [
        tuple(float(row[name]) for name in names)
        for row in rows(report(report_project, "exp1") / "most_wrong.csv")
    ]
    assert found == sorted(expected)[:25]


def test_the_images_are_those_of_the_dataset_with_their_classes(report_project: Path) -> None:
    fit(
        report_project,
        *DIGITS,
        "--name=named",
        "--data=my_project.data_modules.named.Named",
        "--trainer.logger=false",
    )
    directory = report(report_project, "named")
    names = ["零", "one", "two", "three", "four", "five", "six", "seven", "eight", 'a name, "9"']
    for name in ("confusion.csv", "classes.csv"):
        assert [row["class"] for row in rows(directory / name)] == names
    assert list(rows(directory / "confusion.csv")[0]) == ["class", *names]
    wrong = rows(directory / "most_wrong.csv")
    given = labels(report_project)
    assert [row["true"] for row in wrong] == [names[given[int(row["id"])]] for row in wrong]
    code = """
        from my_project.data_modules.digits import DigitsDataModule

        print(DigitsDataModule().load(train=False).tensors[0].flatten(1).tolist())
    """
    originals = json.loads(execute(report_project, code))
    for name in ("exp1", "named"):
        wrong = rows(report(report_project, name) / "most_wrong.csv")
        with Image.open(report(report_project, name) / "most_wrong.png") as picture:
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


def test_images_without_a_mean_fill_the_range(report_project: Path) -> None:
    code = """
        import torch
        from my_project.tools.report.mistakes import pixels

        images = torch.tensor([[-3.0, -1.0], [0.5, 0.5]]).view(2, 1, 1, 2)
        print([image.flatten().tolist() for image in pixels(images, None)])
    """
    assert json.loads(execute(report_project, code)) == [[0, 255], [0, 0]]


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_can_be_looked_at(report_project: Path, name: str) -> None:
    with Image.open(report(report_project, "exp1") / name) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB" and min(picture.size) > 400
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        colours = {colour for _, colour in picture.getcolors(2**24) or []}
    assert len(colours) > 50


def test_many_classes_and_any_names_can_be_drawn(report_project: Path, tmp_path: Path) -> None:
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
    execute(report_project, code)
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
