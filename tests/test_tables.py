"""CSV tables: encoding, splits, predictions and errors."""

import collections
import csv
import datetime
import hashlib
import json
import math
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import fail, succeed
from helpers.datasets import QUIET, Row, data_module, everything, refused, train

pytestmark = pytest.mark.usefixtures("without_hub")


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def tables(digit_rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as two CSV files, one to train and one to test on."""
    folder, header = tmp_path_factory.mktemp("tables"), [*(f"p{i}" for i in range(64)), "digit"]
    write_table(folder / "table.csv", header, [row for i, row in enumerate(digit_rows) if i % 5])
    write_table(folder / "test.csv", header, digit_rows[::5])
    return folder


def test_digits_in_a_table_are_learned_and_predicted_in_the_tables_order(
    datasets_project: Path, tables: Path, digit_rows: list[Row]
) -> None:
    options = (
        f"--data.file={tables / 'table.csv'}",
        f"--data.test_file={tables / 'test.csv'}",
        "--data.target=digit",
    )
    assert train(datasets_project, "csv_table", "mlp", *options, "--name=table")["test/acc"] > 0.95
    configs = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml")
    succeed(datasets_project, "predict", *configs, *options, *QUIET, "--name=table")
    (file,) = (datasets_project / "logs" / "table").rglob("predictions.csv")
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["id"]) for row in rows] == list(range(360))
    assert all(row["class_name"] == row["class"] for row in rows), "a digit's name is its label"
    right = sum(
        int(row["class"]) == digit[64] for row, digit in zip(rows, digit_rows[::5], strict=True)
    )
    assert right > 0.95 * 360


def test_a_number_in_a_table_is_learned(datasets_project: Path, tables: Path) -> None:
    """The best linear function of the pixels has an R2 of 0.58."""
    options = (
        f"--data.file={tables / 'table.csv'}",
        f"--data.test_file={tables / 'test.csv'}",
        "--data.target=digit",
    )
    assert (
        train(datasets_project, "csv_table", "regression", *options, "--data.task=regression")[
            "test/r2"
        ]
        > 0.75
    )


def test_a_regression_is_no_classification(datasets_project: Path, tables: Path) -> None:
    options = (
        f"--data.file={tables / 'table.csv'}",
        "--data.target=digit",
        "--data.task=regression",
    )
    line = fail(
        datasets_project,
        "fit",
        "-c",
        "configs/data/csv_table.yaml",
        "-c",
        "configs/model/mlp.yaml",
        *options,
    )
    assert "num_classes" in line


COLUMNS = ["number", "truth", "text", "constant", "x", "y", "kind"]


ROWS = [(i, i % 3 == 0, "1a"[i % 2], 7, 10 * i, -i, f"c{i % 4}") for i in range(200)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "table.csv", COLUMNS, ROWS)


def table_module(table: Path, target: Any = "kind", **kwargs: Any) -> Any:
    data = data_module(
        "csv_table",
        "CSVTableDataModule",
        target,
        file=str(table),
        **{"features": COLUMNS[:4], **kwargs},
    )
    data.setup("fit")
    return data


def numbers(data: Any, dataset: Any) -> list[int]:
    """Return what stands in the column `number` of the rows of a dataset."""
    scaled = dataset.tensors[0][:, 0].double() * data.columns[0].std + data.columns[0].mean
    return [int(value) for value in scaled.round()]


def test_numbers_are_standardised_by_the_training_rows_and_texts_one_hot(
    datasets_package: Path, table: Path
) -> None:
    data = table_module(table)
    assert (data.num_classes, data.classes, data.input_shape) == (4, ["c0", "c1", "c2", "c3"], (5,))
    ((file, digest),) = data.sha256.items()
    assert (
        Path(file).resolve() == table and digest == hashlib.sha256(table.read_bytes()).hexdigest()
    )
    parts = [data.train_set, data.val_set, data.test_set]
    assert [len(part) for part in parts] == [144, 16, 40]
    assert sorted(number for part in parts for number in numbers(data, part)) == list(range(200))
    for part, share in zip(parts, (36, 4, 10), strict=True):
        assert numbers(data, part) == sorted(numbers(data, part)), "in the table's order"
        inputs, labels = everything(part)
        assert inputs.dtype == torch.float32 and labels.dtype == torch.int64
        assert labels.tolist() == [number % 4 for number in numbers(data, part)]
        assert inputs[:, 3:].tolist() == [
            [1, 0] if number % 2 == 0 else [0, 1] for number in numbers(data, part)
        ]
        assert labels.bincount().tolist() == [share] * 4
    inputs = data.train_set.tensors[0][:, :3]
    torch.testing.assert_close(inputs.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(dim=0, correction=0), torch.tensor([1.0, 1, 0]))
    batch = next(iter(data.val_dataloader()))
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_the_same_rows_are_held_out_whatever_the_global_seed(
    datasets_package: Path, table: Path
) -> None:
    chosen = []
    for seed, split_seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(seed)
        data = table_module(table, split_seed=split_seed, test_size=50, val_size=30)
        assert (len(data.val_set), len(data.test_set)) == (30, 50)
        chosen.append((numbers(data, data.val_set), numbers(data, data.test_set)))
    assert chosen[0] == chosen[1] != chosen[2]


def test_each_row_of_a_table_is_held_out_in_one_fold_and_the_test_rows_never(
    datasets_package: Path, table: Path
) -> None:
    modules = [table_module(table, fold=f"{number}/5") for number in range(1, 6)]
    held_out = [number for data in modules for number in numbers(data, data.val_set)]
    assert len({tuple(numbers(data, data.test_set)) for data in modules}) == 1
    assert sorted(held_out + numbers(modules[0], modules[0].test_set)) == list(range(200))
    assert all(data.val_set.tensors[1].bincount().tolist() == [8] * 4 for data in modules)


def test_a_table_to_test_on_is_encoded_as_the_training_rows_are(
    datasets_package: Path, table: Path, tmp_path: Path
) -> None:
    rows = [(1, 3, "c2", 7, "1", "true", 0), (2, 500, "c0", 7, "2", "false", 0)]
    test = write_table(
        tmp_path / "test.csv", ["id", "number", "kind", "constant", "text", "truth", "more"], rows
    )
    data = table_module(table, test_file=str(test), val_size=20)
    assert (len(data.train_set), len(data.val_set), numbers(data, data.test_set)) == (
        180,
        20,
        [3, 500],
    )
    assert [Path(file).name for file in data.sha256] == ["table.csv", "test.csv"]
    inputs, labels = everything(data.test_set)
    assert labels.tolist() == [2, 0]
    assert inputs[:, 3:].tolist() == [[1, 0], [0, 0]], (
        "a text that is new is neither, and a number is a text here"
    )


def test_classes_of_a_table_are_named_as_its_values_are_written(
    datasets_package: Path, table: Path
) -> None:
    assert table_module(table, "truth", features=["number"]).classes == ["False", "True"]
    assert table_module(table, "constant", features=["number"]).classes == ["7"]


def test_targets_of_a_regression_stay_as_they_are(datasets_package: Path, table: Path) -> None:
    data = table_module(table, ["x", "y"], task="regression", features=["number"])
    assert (data.num_outputs, data.input_shape, hasattr(data, "num_classes")) == (2, (1,), False)
    assert not hasattr(data, "classes")
    targets = everything(data.test_set)[1]
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[10 * number, -number] for number in numbers(data, data.test_set)]
    data = table_module(table, "x", task="regression", features=None)
    assert (everything(data.val_set)[1].shape, data.input_shape) == ((16, 1), (4 + 2 + 4,)), (
        "all others are features"
    )


@pytest.mark.parametrize(
    ("change", "arguments", "line"),
    [
        ("", {"target": "knid"}, r"table\.csv has no column knid: did you mean kind\?$"),
        (
            "",
            {"features": ["number", "txt"]},
            r"table\.csv has no column txt: did you mean text\?$",
        ),
        (
            "5,False,a,7,50,-5,",
            {},
            r"table\.csv: column kind has no value in row 7 \(the header is row 1\)$",
        ),
        ("inf,False,b,7,50,-5,c1", {}, r"table\.csv: column number is infinite in row 7 "),
        (
            "",
            {"task": "regression"},
            r"column kind of \S*table\.csv has texts, but regression is of numbers$",
        ),
        (
            "",
            {"target": ["kind", "x"]},
            r"^target is kind, x, but classification is of one column$",
        ),
        ("", {"test_size": 200}, r"^test_size is 200, which is 200 of 200 rows"),
        ("", {"val_size": 0.001}, r"^val_size is 0\.001, which is 0 of 160 rows"),
        ("", {"test_file": "nowhere.csv"}, r"^there is no nowhere\.csv"),
        ("", {"target": "price"}, r"has no column price: there are number, truth, text, "),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(
    datasets_package: Path, table: Path, change: str, arguments: dict[str, Any], line: str
) -> None:
    text = table.read_text()
    table.write_text(text.replace("5,False,a,7,50,-5,c1", change) if change else text)
    arguments = {"target": "kind", "file": str(table), "features": COLUMNS[:4], **arguments}
    assert re.search(line, refused("csv_table", "CSVTableDataModule", **arguments))


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_another_separator_is_named(
    datasets_package: Path, table: Path, separator: str, name: str
) -> None:
    table.write_text(table.read_text().replace(",", separator))
    line = refused("csv_table", "CSVTableDataModule", "kind", file=str(table))
    assert f"are separated by {name}: save the table with commas" in line


def test_a_wrong_cell_among_truths_leaves_the_other_rows_as_they_are(
    datasets_package: Path, tmp_path: Path
) -> None:
    rows = [(i, i % 3 == 0, f"k{i % 2}") for i in range(60)]
    table = write_table(tmp_path / "table.csv", ["x", "heated", "kind"], rows)
    data = data_module("csv_table", "CSVTableDataModule", "kind", file=str(table))
    new = tmp_path / "new.csv"
    new.write_text("x,heated\n1,true\n2,maybe\n3,FALSE\n4,\n5,1\n")
    samples = data.new_samples(str(new))
    problem = "column heated has no number"
    assert samples.columns["problem"] == ["", problem, "", problem, ""]
    heated = [inputs[1].item() for inputs in samples.tensors[0][[0, 2, 4]]]
    assert heated[0] == heated[2] > 0 > heated[1]


def test_a_test_table_that_does_not_fit_is_refused(
    datasets_package: Path, table: Path, tmp_path: Path
) -> None:
    for row, line in (
        ((1, "x", "c9"), "has the class c9"),
        (("one", "x", "c1"), "column number of .* has texts"),
    ):
        test = write_table(tmp_path / "test.csv", ["number", "text", "kind"], [row])
        arguments = {"file": str(table), "features": ["number", "text"], "test_file": str(test)}
        assert re.search(line, refused("csv_table", "CSVTableDataModule", "kind", **arguments))


# Tables as they are ---------------------------------------------------------------------------------------------------


def real_table(path: Path) -> Path:
    """Write a table with gaps, dates, an identifier, many texts and a row's answer that depends on them."""
    rows = []
    for i in range(400):
        age = "" if i % 5 == 0 else 20 + i % 50
        colour = ["red", "blue", ""][i % 3]
        member = ["true", "false", ""][i % 3]
        day = f"20{10 + i % 10}-03-{1 + i % 28:02}"
        rows.append((f"c{i}", age, colour, member, day, f"city {i % 150:03}", f"k{i % 2}"))
    return write_table(path, ["id", "age", "colour", "member", "day", "city", "kind"], rows)


@pytest.fixture(scope="module")
def real(datasets_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The data module of that table."""
    table = real_table(tmp_path_factory.mktemp("real") / "table.csv")
    return data_module("csv_table", "CSVTableDataModule", "kind", file=str(table), ids="id")


def column_of(data: Any, name: str) -> tuple[Any, int]:
    """Return how a column is encoded, and the position of its first input."""
    position = 0
    for column in data.columns:
        if column.name == name:
            return column, position
        position += column.size
    raise AssertionError(name)


def test_gaps_of_numbers_are_the_training_rows_median_and_said_in_an_input(real: Any) -> None:
    column, position = column_of(real, "age")
    train = real.parts[0]
    rows = [row - 2 for row in train.columns["row"]]
    known = [20 + row % 50 for row in rows if row % 5]
    assert column.median == statistics.median(known)
    inputs = train.tensors[0][:, position : position + 2]
    filled = torch.tensor([20 + row % 50 if row % 5 else column.median for row in rows])
    standardised = (filled - filled.mean()) / filled.std(correction=0)
    torch.testing.assert_close(inputs[:, 0], standardised, atol=1e-5, rtol=0)
    assert inputs[:, 1].tolist() == [float(row % 5 == 0) for row in rows]
    assert column_of(real, "member")[0].kind == "number", "true and false, and gaps"


def test_an_empty_cell_among_texts_is_a_text_of_its_own(real: Any) -> None:
    column, position = column_of(real, "colour")
    assert column.texts == ["", "blue", "red"]
    for part in real.parts:
        for row, inputs in zip(part.columns["row"], part.tensors[0], strict=True):
            expected = [[0, 0, 1], [0, 1, 0], [1, 0, 0]][(row - 2) % 3]
            assert inputs[position : position + 3].tolist() == expected


def test_dates_are_standardised_days(real: Any) -> None:
    column, position = column_of(real, "day")
    assert (column.kind, column.size) == ("date", 1)
    for part in real.parts:
        days = part.tensors[0][:, position].double() * column.std + column.mean
        for row, day in zip(part.columns["row"], days.tolist(), strict=True):
            i = row - 2
            date = datetime.date(2010 + i % 10, 3, 1 + i % 28)
            assert day == pytest.approx((date - datetime.date(1970, 1, 1)).days, abs=0.01)


def test_of_many_texts_the_most_frequent_have_an_input(real: Any) -> None:
    column, position = column_of(real, "city")
    assert column.size == 100
    train = real.parts[0]
    cities = [f"city {(row - 2) % 150:03}" for row in train.columns["row"]]
    counts = collections.Counter(cities)
    rest = counts.keys() - set(column.texts)
    assert rest and min(counts[city] for city in column.texts) >= max(counts[city] for city in rest)
    sums = train.tensors[0][:, position : position + 100].sum(dim=1)
    assert sums.tolist() == [float(city in column.texts) for city in cities]


def test_what_is_made_of_the_columns_is_said_in_a_line(
    datasets_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        data_module(
            "csv_table",
            "CSVTableDataModule",
            "kind",
            file=str(real_table(tmp_path / "table.csv")),
            ids="id",
        )
    (line,) = [line for line in caplog.messages if line.startswith("Features: ")]
    assert re.fullmatch(
        r"Features: 108; columns of texts: colour, city; "
        r"columns of many texts: city \(\d+, of which the 100 most frequent\); columns of dates: day; "
        r"columns with gaps: age \(the median [\d.]+\), member \(the median [01]\), colour \(a text of its own\)",
        line,
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, r"column id of \S*table.csv has 400 different texts in 400 rows.*--data.ids id, or"),
        ({"ids": ["id", "age"], "features": ["age"]}, "^column age is in features, and in ids: "),
        ({"ids": "idd"}, r"has no column idd: did you mean id\?$"),
        ({"features": ["empty"]}, "^column empty of .* has no value in the training rows: name"),
        ({"target": "age", "features": ["city"]}, "column age has no value in row 2 "),
        ({"features": []}, "has no column to predict from$"),
        (
            {"ids": "id"},
            r"""^a column of .* has no name, .*: pass --data.ids '\["Unnamed: 8"\]', or give it""",
        ),
    ],
)
def test_what_no_network_can_use_is_refused(
    datasets_package: Path, tmp_path: Path, options: dict[str, Any], line: str
) -> None:
    path = real_table(tmp_path / "table.csv")
    lines = path.read_text().splitlines()
    numbered = [f"{line},,{i}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([f"{lines[0]},empty,", *numbered]) + "\n")
    arguments = {"target": "kind", "file": str(path), **options}
    assert re.search(line, refused("csv_table", "CSVTableDataModule", **arguments))


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (["?", *range(99)], r"column x has numbers, but \? in row 2 \(the header is row 1\): make"),
        (["1.5", "soon"] * 2 + list(range(96)), "column x has numbers, but soon in row 3 "),
        (
            [f"2026-01-{i % 28 + 1:02}T{i // 28:02}:00" for i in range(99)] + ["2026-02-30"],
            "column x has dates, but 2026-02-30 in row 101 ",
        ),
    ],
)
def test_a_text_among_numbers_or_dates_is_named(
    datasets_package: Path, tmp_path: Path, cells: list[Any], line: str
) -> None:
    rows = [(cell, f"k{i % 2}") for i, cell in enumerate(cells)]
    table = write_table(tmp_path / "table.csv", ["x", "kind"], rows)
    arguments = {"target": "kind", "file": str(table)}
    assert re.search(line, refused("csv_table", "CSVTableDataModule", **arguments))


def test_a_column_is_said_to_have_texts_because_of_one(
    datasets_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("?" if i == 7 else i % 9, f"k{i % 2}") for i in range(100)]
    table = write_table(tmp_path / "table.csv", ["x", "kind"], rows)
    with caplog.at_level("INFO"):
        data_module("csv_table", "CSVTableDataModule", "kind", file=str(table))
    (line,) = [line for line in caplog.messages if line.startswith("Features: ")]
    assert line.endswith("; columns of texts: x (numbers, but for ?)")


# Splits by a column --------------------------------------------------------------------------------------------------

SPLITS = ["number", "customer", "day", "part", "kind"]


def split_rows(parts: Sequence[str] = ("train", "train", "val", "test")) -> list[tuple[Any, ...]]:
    """Return 120 rows of 30 customers, whose days are in no order."""
    rows = []
    for i in range(120):
        day = datetime.date(2026, 1, 1) + datetime.timedelta(days=i * 77 % 120)
        rows.append((i, f"c{i * 7 % 30}", day, parts[i % len(parts)], f"k{i % 2}"))
    return rows


def split_module(path: Path, rows: Sequence[Any] | None = None, **options: Any) -> Any:
    table = write_table(path / "table.csv", SPLITS, rows or split_rows())
    return data_module("csv_table", "CSVTableDataModule", "kind", file=str(table), **options)


def parts_of(data: Any) -> list[list[int]]:
    """Return the numbers of the rows to train, to validate and to test on, from 0."""
    return [[row - 2 for row in part.columns["row"]] for part in data.parts]


def test_rows_of_a_group_are_never_divided(datasets_package: Path, tmp_path: Path) -> None:
    data = split_module(tmp_path, group="customer")
    assert [column.name for column in data.columns] == ["number", "day", "part"]
    parts = parts_of(data)
    assert sorted(row for part in parts for row in part) == list(range(120))
    assert all(part == sorted(part) for part in parts), "in the table's order"
    customers = [{row * 7 % 30 for row in part} for part in parts]
    assert sum(map(len, customers)) == 30
    assert [len(part) for part in parts] == [88, 8, 24], (
        "of 4 rows each, the nearest to 20 and 10 %"
    )
    other = parts_of(split_module(tmp_path, group="customer", split_seed=1))
    assert other != parts == parts_of(split_module(tmp_path, group="customer"))


def test_folds_are_of_whole_groups(datasets_package: Path, tmp_path: Path) -> None:
    folds = [parts_of(split_module(tmp_path, group="customer", fold=f"{i}/4")) for i in range(1, 5)]
    assert len({tuple(test) for _, _, test in folds}) == 1
    held_out = [{row * 7 % 30 for row in val} for _, val, _ in folds]
    assert [len(groups) for groups in held_out] == [6, 6, 6, 6]
    assert len(set().union(*held_out)) == 24, "each group is held out once"


@pytest.mark.parametrize("years", [False, True], ids=["dates", "numbers"])
def test_the_newest_rows_are_tested_on(datasets_package: Path, tmp_path: Path, years: bool) -> None:
    rows = split_rows()
    if years:
        rows = [(i, customer, i * 77 % 120, part, kind) for i, customer, _, part, kind in rows]
    data = split_module(tmp_path, rows, time="day", test_size=30, val_size=10)
    ages = [[row * 77 % 120 for row in part] for part in parts_of(data)]
    assert sorted(ages[2]) == list(range(90, 120)) and sorted(ages[1]) == list(range(80, 90))
    assert "day" not in [column.name for column in data.columns]
    asked = split_module(tmp_path, rows, time="day", features=["number", "day"])
    assert [column.name for column in asked.columns] == ["number", "day"]


def test_a_column_says_where_each_row_belongs(datasets_package: Path, tmp_path: Path) -> None:
    data = split_module(tmp_path, split="part")
    assert parts_of(data) == [
        [row for row in range(120) if row % 4 < 2],
        list(range(2, 120, 4)),
        list(range(3, 120, 4)),
    ]
    assert [column.name for column in data.columns] == ["number", "day", "customer"]
    rows = split_rows(parts=("train", "train", "train", "test"))
    train, val, test = parts_of(split_module(tmp_path, rows, split="part", val_size=0.2))
    assert (len(train), len(val), test) == (72, 18, list(range(3, 120, 4))), "val is held out"
    ages = [
        [row * 77 % 120 for row in part]
        for part in parts_of(split_module(tmp_path, rows, split="part", time="day"))
    ]
    assert max(ages[0]) < min(ages[1]), "the newest of the rows to train on"


def test_groups_of_a_test_table_are_not_trained_on(datasets_package: Path, tmp_path: Path) -> None:
    rows = [(i, f"d{i}", "2026-01-01", "test", "k0") for i in range(4)]
    test = write_table(tmp_path / "test.csv", SPLITS, rows)
    data = split_module(tmp_path, group="customer", test_file=str(test))
    assert [len(part) for part in data.parts] == [108, 12, 4]
    write_table(test, SPLITS, [*rows, (9, "c7", "2026-01-01", "test", "k0")])
    arguments = {"file": str(tmp_path / "table.csv"), "group": "customer", "test_file": str(test)}
    assert refused("csv_table", "CSVTableDataModule", "kind", **arguments) == (
        "customer c7 is among the rows to train on and among those to test on"
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"group": "customer", "time": "day"}, "^rows are split by group, customer, or by time, "),
        ({"time": "day", "fold": "1/5"}, "by time, day, which has no folds: leave out fold$"),
        ({"split": "part", "fold": "1/5"}, "column part has rows to validate on: leave out fold$"),
        ({"split": "part", "group": "customer"}, "has rows to validate on: leave out group$"),
        ({"split": "part", "test_file": "table.csv"}, "rows to test on: leave out test_file$"),
        ({"split": "customer"}, "column customer is none of train, val, test in row 2 "),
        ({"time": "customer"}, "column customer of .* has texts, but time needs numbers, or dates"),
        ({"group": "custmer"}, r"has no column custmer: did you mean customer\?$"),
        (
            {"group": "kind"},
            "^column kind has too few groups, 1 of 1 would be held out: leave out group$",
        ),
        ({"split": "half"}, "^no row of column half is test: write test in some, or pass "),
        ({"group": "gap"}, "column gap has no value in row 3 "),
    ],
)
def test_splits_that_contradict_each_other_are_refused(
    datasets_package: Path, tmp_path: Path, options: dict[str, Any], line: str
) -> None:
    rows = [
        (*row, "train" if row[0] % 2 else "val", "" if row[0] == 1 else "x") for row in split_rows()
    ]
    table = write_table(tmp_path / "table.csv", [*SPLITS, "half", "gap"], rows)
    if "test_file" in options:
        options = {**options, "test_file": str(table)}
    arguments = {"file": str(table), **options}
    assert re.search(line, refused("csv_table", "CSVTableDataModule", "kind", **arguments))


# The logarithm of the target -----------------------------------------------------------------------------------------


def test_a_price_is_learned_by_its_logarithm_and_predicted_in_its_unit(
    datasets_project: Path, tmp_path: Path
) -> None:
    noise = random.Random(0)
    rows = [(i, round(1000 * math.exp(i / 100 + noise.gauss(0, 0.02)), 2)) for i in range(500)]
    table = write_table(tmp_path / "prices.csv", ["size", "price"], rows)
    configs = ("-c", "configs/data/csv_table.yaml", "-c", "configs/model/regression.yaml")
    options = (f"--data.file={table}", "--data.target=price", "--data.task=regression")
    log = ("--data.log_target=true", "--name=prices", "--test_after_fit=true", *QUIET)
    succeed(datasets_project, "fit", *configs, *options, *log, "--trainer.max_epochs=40")
    succeed(datasets_project, "predict", "--run=prices", *QUIET)
    (file,) = (datasets_project / "logs" / "prices").rglob("predictions.csv")
    with file.open() as lines:
        pairs = [(float(row["prediction"]), float(row["label"])) for row in csv.DictReader(lines)]
    assert max(price for _, price in pairs) > 100 * min(price for _, price in pairs)
    assert statistics.median(abs(found / price - 1) for found, price in pairs) < 0.1
    test = json.loads((file.parent / "run.json").read_text())["metrics"]
    assert test["test/mae"] == pytest.approx(
        statistics.fmean(abs(found - price) for found, price in pairs), rel=1e-4
    )
    assert test["test/loss"] < 0.02, "in standard deviations of the logarithms"
    mean = statistics.fmean(price for _, price in pairs)
    errors = sum((found - price) ** 2 for found, price in pairs)
    squares = sum((price - mean) ** 2 for _, price in pairs)
    assert test["test/r2"] == pytest.approx(1 - errors / squares, abs=1e-4)


def test_what_has_no_logarithm_is_refused(datasets_package: Path, table: Path) -> None:
    arguments: dict[str, Any] = {"file": str(table), "log_target": True, "features": ["number"]}
    line = refused("csv_table", "CSVTableDataModule", "x", task="regression", **arguments)
    assert line.endswith(
        "column x is not above 0, but log_target is true in row 2 (the header is row 1)"
    )
    line = refused("csv_table", "CSVTableDataModule", "kind", **arguments)
    assert line == "log_target is for a regression, but task is classification: leave it out"


def test_a_missing_table_is_named_on_the_command_line(datasets_project: Path) -> None:
    line = fail(
        datasets_project, "fit", "-c", "configs/data/csv_table.yaml", "-c", "configs/model/mlp.yaml"
    )
    assert line.startswith("there is no data/table.csv")
