"""Texts: what a training reaches, resumes to, predicts and exports, and what it never reads again."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import blocks, write
from helpers.resuming import same
from helpers.run_files import load, rows, run_of
from helpers.texts import run_commands, run_python

# The commands of docs/text.md, in their order
FIT_AND_TEST, FIT_HUB, FIT_OWN, PREDICT, EXPORT, SCRIPT = [
    shlex.split(line)
    for language, code in blocks("text")
    if language == "bash"
    for line in code.splitlines()
]
FIT = [
    *FIT_AND_TEST[2 : FIT_AND_TEST.index("--name")],
    "--model.net.name=tiny",
    "--model.optimizer.lr=0.01",
    "--data.max_length=24",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.batch_size=16"]
# 9 batches an epoch. The first stops within one; after the second, the epoch begins anew.
STOPS = {
    how: [
        "--trainer.callbacks+=my_project.callbacks.stop.Stop",
        f"--trainer.callbacks.how={how}",
        "--trainer.callbacks.batch=13",
    ]
    for how in ("should_stop", "SIGKILL")
}
CODES = {"should_stop": "0", "SIGKILL": "-9"}


def resume(name: str) -> list[str]:
    return ["fit", f"--run={name}", *QUIET, "--trainer.callbacks=null"]


@pytest.fixture(scope="module")
def trained(texts_original: Path) -> Path:
    """The project after its trainings. What comes after `mv` has no pretrained weights and no training texts."""
    project = texts_original
    for language, code in blocks("text"):
        write(project, language, code)
    (project / "new.csv").write_text(
        "number,text\n1,the film was lovely\n2,\n3,so dull and very dull\n"
    )
    commands = [("exp1", [*FIT_AND_TEST[2:], *FIT[FIT.index("--model.net.name=tiny") :]])]
    commands += [(how, [*FIT, f"--name={how}", *stop]) for how, stop in STOPS.items()]
    commands += [("two", [*FIT, *TWO, "--name=two"])]
    commands += [("stopped", [*FIT, *TWO, "--name=stopped", *STOPS["should_stop"]])]
    commands += [("weights", ["mv", "tiny/model.safetensors", "tiny/elsewhere"])]
    commands += [(how, resume(how)) for how in STOPS]
    commands += [("stopped", resume("stopped"))]
    commands += [("export", ["export", *EXPORT[3:]])]
    commands += [("texts", ["mv", "data/texts.csv", "data/elsewhere.csv"])]
    commands += [("predict", [*PREDICT[2:], *QUIET])]
    commands += [("texts", ["mv", "data/elsewhere.csv", "data/texts.csv"])]
    commands += [("weights", ["mv", "tiny/elsewhere", "tiny/model.safetensors"])]
    hub = [word.replace("dair-ai/emotion", "hub") for word in FIT_HUB[2:]]
    other = ["--model.net.name=tiny", "--data.max_length=24", "--init_from=exp1"]
    short = ["--trainer.precision=bf16-mixed", "--trainer.max_epochs=1"]
    commands += [("hub", [*hub, *other, *short, *QUIET])]
    own = [word.replace("google-bert/bert-base-uncased", "tiny") for word in FIT_OWN[2:]]
    commands += [("mean", [*own, "--data.max_length=24", "--trainer.max_epochs=1", *QUIET])]
    run_commands(project, commands)
    return project


def log(project: Path, name: str) -> str:
    return (project / f"{name}.log").read_text()


def codes(project: Path, name: str) -> list[str]:
    return (project / f"{name}.codes").read_text().split()


def test_a_training_learns_and_its_report_shows_texts(trained: Path) -> None:
    output = log(trained, "exp1")
    assert codes(trained, "exp1") == ["0"], output
    assert "Pretrained: tiny; new weights: bert.pooler.dense.bias" in output
    assert "texts are longer than data.max_length, 24 tokens, and are cut" in output
    assert "Warning" not in output
    run = run_of(trained, "exp1")
    tested = json.loads((run / "run.json").read_text())["metrics"]
    assert tested["test/acc"] > 0.5 and tested["test/f1"] > 0.5
    wrong = rows(run / "report" / "most_wrong.csv")
    texts = [row["text"] for row in rows(trained / "data" / "texts.csv")]
    for row in wrong:
        text = texts[int(row["row"]) - 2]
        assert row["text"] == text or text.startswith(row["text"].removesuffix("…"))
        assert len(row["text"]) <= 80


@pytest.mark.parametrize("how", STOPS)
def test_a_resumed_training_ends_like_an_uninterrupted_one(trained: Path, how: str) -> None:
    assert codes(trained, how) == [CODES[how], "0"], log(trained, how)
    check_same(trained, how, "exp1")


def test_a_resumed_training_of_two_processes_does_so_too(trained: Path) -> None:
    assert codes(trained, "stopped") == ["0", "0"], log(trained, "stopped")
    check_same(trained, "stopped", "two")


def check_same(project: Path, name: str, whole: str) -> None:
    end, expected = (
        load(run_of(project, run) / "checkpoints" / "last.ckpt") for run in (name, whole)
    )
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "random"):
        assert same(end[part], expected[part]), part


def test_new_texts_are_predicted_without_the_texts_and_the_weights_of_the_training(
    trained: Path,
) -> None:
    assert codes(trained, "predict") == ["0"], log(trained, "predict")
    predicted = rows(run_of(trained, "exp1") / "new" / "new" / "predictions.csv")
    assert [row["row"] for row in predicted] == ["2", "3", "4"]
    assert [row["class_name"] for row in predicted] == ["good", "", "bad"]
    assert predicted[1]["problem"] == "column text has no text"


def test_a_dataset_of_the_hub_trains_in_bfloat16_from_the_weights_of_another_run(
    trained: Path,
) -> None:
    output = log(trained, "hub")
    assert codes(trained, "hub") == ["0"], output
    assert "Weights: " in output
    record = json.loads((run_of(trained, "emotion") / "run.json").read_text())
    assert record["status"] == "finished"


def test_a_network_of_ones_own_trains_with_a_tokenizer_by_name(trained: Path) -> None:
    assert codes(trained, "mean") == ["0"], log(trained, "mean")
    assert json.loads((run_of(trained, "mean") / "run.json").read_text())["status"] == "finished"


def test_what_an_exported_model_predicts_without_pytorch_is_what_the_project_predicts(
    trained: Path,
) -> None:
    assert codes(trained, "export") == ["0"], log(trained, "export")
    (trained / "rows.csv").write_text("text\nthe film was lovely\nso dull and very dull\n")
    assert SCRIPT == ["python", "scripts/predict_texts.py", "logs/exp1/*/best.onnx", "new.csv"]
    path = run_of(trained, "exp1") / "best.onnx"
    printed = run_python(trained, SCRIPT[1], str(path), "rows.csv")
    _, *lines = printed.splitlines()
    predicted = rows(run_of(trained, "exp1") / "new" / "new" / "predictions.csv")
    for line, row in zip(lines, (predicted[0], predicted[2]), strict=True):
        text, name, p = line.rsplit(",", 2)
        assert (text, name) == (row["text"], row["class_name"])
        expected = max(float(row[f"p{i}"]) for i in range(3))
        assert float(p) == pytest.approx(expected, abs=1e-4)


# Prints what the sampler gives to two processes, and the tables that are read from other files
UNITS = """
import json
import pandas
import torch
from my_project.data_modules.text import TextDataModule
from my_project.data_modules.like_lengths import LikeLengthsSampler

data = TextDataModule("tiny", max_length=24, batch_size=16)
data.setup("fit")
texts = data.train_set

def order(processes, epoch, size=16):
    samplers = [LikeLengthsSampler(texts, processes, rank, True, 7, size) for rank in range(processes)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]

table = pandas.read_csv("data/texts.csv")
table.to_json("texts.jsonl", orient="records", lines=True)
table.to_parquet("texts.parquet")
read = {}
for name in ("texts.jsonl", "texts.parquet"):
    other = TextDataModule("tiny", name, max_length=24)
    read[name] = other.classes + [len(other.tables[part]) for part in ("train", "val", "test")]

hub = TextDataModule("tiny", dataset="hub", max_length=24)
read["hub"] = hub.classes + [len(hub.tables[part]) for part in ("train", "val", "test")]
pandas.DataFrame({"text": ["None", "NA", "07", "b"], "label": [10, 9, 10, 9]}).to_csv("odd.csv", index=False)
odd = TextDataModule("tiny", "odd.csv", max_length=24, test_size=1, val_size=1)
every = pandas.concat(odd.tables.values()).sort_index()
print(json.dumps({
    "lengths": texts.lengths.tolist(),
    "one": order(1, 0), "again": order(1, 0), "next": order(1, 1), "two": order(2, 0, 8),
    "read": read,
    "odd": [odd.classes, every["text"].tolist(), every.index.tolist()],
}))
"""


@pytest.fixture(scope="module")
def units(texts_original: Path) -> dict[str, Any]:
    return dict(json.loads(run_python(texts_original, "-c", UNITS).splitlines()[-1]))


def test_an_epoch_has_each_text_once_and_batches_of_like_length(units: dict[str, Any]) -> None:
    lengths = units["lengths"]
    (order,) = units["one"]
    assert sorted(order) == list(range(288))
    assert units["again"] == [order] and units["next"] != [order]
    batches = [[lengths[i] for i in order[start : start + 16]] for start in range(0, 288, 16)]
    spread = [max(batch) - min(batch) for batch in batches]
    assert sum(spread) / len(spread) < 4, "of 5 to 24 tokens"
    longest = [max(batch) for batch in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_two_processes_share_each_batch_of_one(units: dict[str, Any]) -> None:
    (order,) = units["one"]
    first, second = units["two"]
    for start in range(0, 144, 8):
        together = first[start : start + 8] + second[start : start + 8]
        assert sorted(together) == sorted(order[2 * start : 2 * start + 16])


def test_all_kinds_of_files_give_the_same_sets(units: dict[str, Any]) -> None:
    for name, found in units["read"].items():
        sizes = [270, 30, 100] if name == "hub" else [288, 32, 80]
        classes = ["plain", "good", "bad"] if name == "hub" else ["bad", "good", "plain"]
        assert sorted(found[:3]) == sorted(classes), name
        assert found[3:] == sizes, name


def test_words_for_missing_values_are_texts_and_numbers_are_sorted_as_numbers(
    units: dict[str, Any],
) -> None:
    assert units["odd"] == [["9", "10"], ["None", "NA", "07", "b"], [2, 3, 4, 5]]
