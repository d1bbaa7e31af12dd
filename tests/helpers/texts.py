"""Helpers of the tests of texts: a project, texts that tell a class, a tiny BERT, and commands that start fast."""

import csv
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import python
from helpers.resuming import CALLBACKS
from helpers.template import ROOT, Render

TRANSFORMERS = ROOT / ".venv" / "transformers"
KINDS = {"good": ("fine", "lovely"), "bad": ("awful", "dull"), "plain": ("usual", "common")}
FILLING = ("a", "the", "film", "was", "and", "so", "very", "story")

# Makes the tokenizer from the texts, and the network, as the library saves them.
MODEL = """
import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
tokenizer.train(["data/texts.csv"], trainers.WordLevelTrainer(special_tokens=special))
ends = [("[CLS]", 2), ("[SEP]", 3)]
tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
)
fast.save_pretrained("tiny")
torch.manual_seed(0)
config = BertConfig(
    vocab_size=tokenizer.get_vocab_size(),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
)
BertForMaskedLM(config).save_pretrained("tiny")
"""

# The texts in the format of the Hub, in which classes are numbers
HUB = """
import datasets
import pandas

table = pandas.read_csv("data/texts.csv")
kinds = datasets.ClassLabel(names=["plain", "good", "bad"])
features = datasets.Features({"text": datasets.Value("string"), "label": kinds})
for split, part in {"train": table[:300], "test": table[300:]}.items():
    numbers = part.assign(label=part["label"].map(kinds.str2int))
    rows = datasets.Dataset.from_pandas(numbers, features=features, preserve_index=False)
    rows.to_parquet(f"hub/{split}.parquet")
"""

# Runs commands one after the other, each in a fork that has imported everything.
COMMANDS = """
import json, os, sys, traceback
from pathlib import Path

import lightning.pytorch.cli, lightning.pytorch.loggers, torch._dynamo
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, "src")
from my_project.cli import CLI
from my_project.tools import export

for name, args in json.loads(Path("commands.json").read_text()):
    if args[0] == "mv":
        os.rename(*args[1:])
        continue
    sys.stdout.flush()
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(f"{name}.codes", "a") as file:
            print(code, file=file)
        continue
    output = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    code = 1
    try:
        export.main(args[1:]) if args[0] == "export" else CLI(args)
        code = 0
    except SystemExit as end:
        print(end.code)
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        print("error:", error) if type(error).__name__ == "UserError" else traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
"""


def run_python(project: Path, *args: str) -> str:
    """Run Python with the libraries of texts and without a network, and return what it prints."""
    done = subprocess.run(
        [python(), *args],
        cwd=project,
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(project / "huggingface"),
            "PYTHONPATH": os.pathsep.join([str(project / "src"), str(TRANSFORMERS)]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_commands(project: Path, commands: list[tuple[str, list[str]]]) -> None:
    """Run commands of a project, each under a name: what it prints is in <name>.log, how it ends in <name>.codes."""
    (project / "commands.json").write_text(json.dumps(commands))
    run_python(project, "commands.py")


def write_texts(path: Path, count: int) -> list[dict[str, str]]:
    """Write texts of 3 to 30 words, of which one tells the class, and return the rows."""
    numbers = random.Random(0)
    rows = []
    for i in range(count):
        kind = list(KINDS)[i % 3]
        words = numbers.choices(FILLING, k=numbers.randint(2, 29))
        words.insert(numbers.randrange(len(words)), numbers.choice(KINDS[kind]))
        rows.append({"text": " ".join(words), "label": kind})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.fixture(scope="module")
def texts_original(render: Render) -> Path:
    """A project for texts alone, with 400 of them and a tiny BERT in `tiny`."""
    if not TRANSFORMERS.exists():
        pytest.skip("`make test` installs transformers to .venv/transformers")
    answers: dict[str, Any] = {"datasets": ["text"], "models": ["transformer"], "loggers": []}
    project = render(package_name="my_project", tooling=["report", "export"], **answers)
    (project / "src" / "my_project" / "callbacks" / "stop.py").write_text(CALLBACKS)
    (project / "commands.py").write_text(COMMANDS)
    write_texts(project / "data" / "texts.csv", 400)
    run_python(project, "-c", MODEL)
    run_python(project, "-c", HUB)
    return project


@pytest.fixture
def texts_project(texts_original: Path, tmp_path: Path) -> Path:
    """A copy of that project for one test to work in."""
    return shutil.copytree(texts_original, tmp_path / "my-project")
