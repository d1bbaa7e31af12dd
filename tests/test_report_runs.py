"""Reports of other runs: several processes, tables, loggers."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.report import (
    LOGGERS,
    PICTURES,
    QUIET,
    SHORT,
    TABLES,
    counts,
    execute,
    fit,
    report,
    run,
)
from helpers.run_files import rows
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_what_is_no_classification_has_no_report(report_project: Path) -> None:
    (report_project / "data").mkdir(exist_ok=True)
    values = "\n".join(f"{i / 50},{i % 7},{i / 25}" for i in range(100))
    (report_project / "data" / "table.csv").write_text(f"a,b,c\n{values}\n")
    numbers = ("-c", "configs/data/csv_table.yaml", "--data.target=c", "--data.task=regression")
    for name, options in {
        "regression": (*numbers, "-c", "configs/model/regression.yaml"),
        "autoencoder": (*DIGITS[:2], "-c", "configs/model/autoencoder.yaml"),
        "silent": (*DIGITS, "--model=my_project.modules.own.Silent"),
    }.items():
        output = fit(report_project, *options, f"--name={name}", "--trainer.logger=false")
        assert "test/loss" in output and "eport" not in output
        assert not report(report_project, name).exists()


def test_rows_of_a_table_have_no_pictures(report_project: Path) -> None:
    (report_project / "data").mkdir(exist_ok=True)
    table = report_project / "data" / "kinds.csv"
    table.write_text(
        "a,b,kind\n" + "".join(f"{i * 7 % 10},{i * 3 % 4},{'xyz'[i % 3]}\n" for i in range(300))
    )
    data = ("-c", "configs/data/csv_table.yaml", "--data.target=kind", "--data.file=data/kinds.csv")
    fit(
        report_project,
        *data,
        "-c",
        "configs/model/mlp.yaml",
        "--name=table",
        "--trainer.logger=false",
    )
    assert {path.name for path in report(report_project, "table").iterdir()} == {
        *TABLES,
        "confusion.png",
    }
    assert [row["class"] for row in rows(report(report_project, "table") / "classes.csv")] == [
        "x",
        "y",
        "z",
    ]
    assert rows(report(report_project, "table") / "most_wrong.csv")


UNLABELLED = """
from .digits import DigitsDataModule


class Unlabelled(DigitsDataModule):
    def load(self, train):
        data = super().load(train)
        if not train:
            data.tensors[1][:100] = -100
        return data
"""


def test_samples_that_the_loss_ignores_are_not_in_the_report(report_project: Path) -> None:
    module = report_project / "src" / "my_project" / "data_modules" / "unlabelled.py"
    module.write_text(UNLABELLED)
    fit(
        report_project,
        *DIGITS,
        "--data=my_project.data_modules.unlabelled.Unlabelled",
        "--name=unlabelled",
        "--trainer.logger=false",
    )
    directory = report(report_project, "unlabelled")
    assert sum(map(sum, counts(directory))) == 360 - 100
    classes = rows(directory / "classes.csv")
    assert sum(int(row["samples"]) for row in classes) == 360 - 100
    assert all(int(row["id"]) >= 100 for row in rows(directory / "most_wrong.csv"))


def test_where_nothing_is_wrong_the_pictures_of_before_are_gone(report_project: Path) -> None:
    fit(report_project, *DIGITS, "--name=perfect", "--trainer.logger=false")
    assert (report(report_project, "perfect") / "most_wrong.png").exists()
    config = run(report_project, "perfect") / "config.yaml"
    text = config.read_text()
    own = text.replace("modules.classification.ClassificationModule", "modules.own.Perfect")
    config.write_text(own)
    succeed(report_project, "test", "--run=perfect", *QUIET)
    assert {path.name for path in report(report_project, "perfect").iterdir()} == {
        *TABLES,
        "confusion.png",
    }
    assert not rows(report(report_project, "perfect") / "most_wrong.csv")
    assert {row["recall"] for row in rows(report(report_project, "perfect") / "classes.csv")} == {
        "1.0"
    }


def test_a_test_of_its_own_reports_on_what_it_saw(report_project: Path) -> None:
    succeed(report_project, "fit", *DIGITS, *SHORT, "--name=later", "--trainer.logger=false")
    assert not report(report_project, "later").exists()
    succeed(report_project, "validate", "--run=later", *QUIET)
    for verb in ("fit", "test"):
        succeed(report_project, verb, "--run=later", *QUIET, "--trainer.fast_dev_run=true")
    assert not report(report_project, "later").exists()
    part = ("--trainer.limit_test_batches=2", "--data.batch_size=50")
    succeed(report_project, "test", "--run=later", *part, *QUIET)
    (other,) = run(report_project, "later").glob("other/*/report")
    assert sum(map(sum, counts(other))) == 100
    assert not report(report_project, "later").exists(), "of a part of the test set"
    output = succeed(report_project, "test", "--run=later", *QUIET)
    assert f"Report: logs/later/{run(report_project, 'later').name}/report" in output
    assert sum(map(sum, counts(report(report_project, "later")))) == 360
    succeed(report_project, "test", "--run=later", "--trainer.callbacks=[]", "--name=later", *QUIET)
    assert sum(map(sum, counts(report(report_project, "later")))) == 360, (
        "without the callback it stays"
    )


def test_several_processes_report_as_one_does(report_project: Path) -> None:
    shutil.copytree(
        run(report_project, "exp1"),
        report_project / "logs" / "several" / "20261123-182344-518074a3",
    )
    shutil.rmtree(report(report_project, "several"))
    several = (
        "-c",
        "configs/trainer/ddp.yaml",
        "--trainer.accelerator=cpu",
        "--trainer.devices=2",
        *QUIET,
    )
    output = succeed(report_project, "test", "--run=several", *several, "--data.batch_size=32")
    assert output.count("Report: ") == 1, output
    one, other = report(report_project, "exp1"), report(report_project, "several")
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
def test_a_logger_gets_the_pictures(report_project: Path, logger: str, at_once: bool) -> None:
    name = f"{logger}-{at_once}"
    config = ("-c", f"configs/logger/{logger}.yaml") * (logger != LOGGERS[0])
    output = succeed(
        report_project,
        "fit",
        *DIGITS,
        *SHORT,
        *config,
        f"--name={name}",
        f"--test_after_fit={at_once}",
    )
    if not at_once:
        assert not logged(run(report_project, name), logger)
        output = succeed(report_project, "test", f"--run={name}", *QUIET)
    assert "Warning" not in output
    found = logged(run(report_project, name), logger)
    assert found.keys() == {"test/confusion", "test/most_wrong"}
    for key, content in found.items():
        with (
            Image.open(io.BytesIO(content)) as one,
            Image.open(report(report_project, name) / f"{key[5:]}.png") as other,
        ):
            assert one.tobytes() == other.tobytes()


def test_pillow_is_not_imported_at_the_start(report_project: Path) -> None:
    code = """
        import sys
        import my_project.cli, my_project.callbacks.report

        print("PIL.Image" in sys.modules)
    """
    assert execute(report_project, code) == "False\n"
