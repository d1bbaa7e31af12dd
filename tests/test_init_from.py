"""`fit --init_from`: a new run starts from trained weights, and says which it takes."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import DIGITS, fail, succeed
from helpers.run_files import run_of
from helpers.template import Render
from safetensors.torch import save_file
from torch import Tensor

QUICK = (
    "--trainer.limit_train_batches=10",
    "--trainer.limit_val_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
# Training that changes no parameter
FIXED = (
    "--model.lr_scheduler=null",
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.lr=0",
    "--trainer.max_epochs=1",
)
PARAMETERS = ("weight", "bias")  # batch norm's statistics change without a learning rate


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run `source`."""
    rendered = render(
        datasets=["digits"], package_name="my_project", tooling=["runs", "repeat", "export"]
    )
    folder = shutil.copytree(rendered, tmp_path_factory.mktemp("init_from") / "my-project")
    succeed(folder, "fit", *DIGITS, *QUICK, "--name=source", "--trainer.max_epochs=2")
    return folder


def weights(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return found


def source_file(project: Path) -> Path:
    return run_of(project, "source") / "checkpoints" / "best.ckpt"


def trained_from(project: Path, name: str, *options: str) -> str:
    """Train from other weights with a learning rate of 0, and return the line about the weights."""
    output = succeed(project, "fit", *DIGITS, *QUICK, *FIXED, f"--name={name}", *options)
    (line,) = [line for line in output.splitlines() if line.startswith("Weights: ")]
    return line


def assert_same_parameters(project: Path, name: str, *but: str) -> None:
    """Assert that a run has the parameters of the run `source`, apart from some."""
    old = weights(source_file(project))
    new = weights(run_of(project, name) / "checkpoints" / "last.ckpt")
    parameters = [key for key in old if key.endswith(PARAMETERS)]
    differ = [key for key in parameters if not torch.equal(old[key], new[key])]
    assert differ == list(but)


def test_new_run_starts_from_best_weights_of_another_and_records_it(project: Path) -> None:
    line = trained_from(project, "tuned", "--init_from=source")
    source = source_file(project)
    assert line == f"Weights: 18 of 18 from {source.relative_to(project)}"
    assert_same_parameters(project, "tuned")
    parent = {
        "run": run_of(project, "source").name,
        "checkpoint": str(source.relative_to(project)),
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
    }
    record = json.loads((run_of(project, "tuned") / "run.json").read_text())
    assert record["parent"] == parent
    config = yaml.safe_load((run_of(project, "tuned") / "config.yaml").read_text())
    assert config["init_from"] == str(source)
    assert "init_include" not in config
    table = succeed(project, "-m", "my_project.runs", "list", PYTHONPATH=str(project / "src"))
    (row,) = [row for row in table.splitlines() if row.startswith("tuned ")]
    assert parent["run"] in row.split()


@pytest.mark.parametrize(
    "wanted",
    [
        lambda project: "last",
        lambda project: run_of(project, "source").name,
        lambda project: f"logs/source/{run_of(project, 'source').name}",
        lambda project: f"{run_of(project, 'source')}/checkpoints/last.ckpt",
    ],
    ids=["last", "id", "directory", "file"],
)
def test_source_is_named_as_a_run_or_a_file(
    project: Path, wanted: Callable[[Path], str], tmp_path: Path
) -> None:
    for other in project.glob("logs/[!s]*"):
        shutil.move(other, tmp_path / other.name)
    options = ("--trainer.fast_dev_run=true", f"--init_from={wanted(project)}")
    line = trained_from(project, "any", *options)
    assert line.startswith("Weights: 18 of 18 from logs/source/")
    assert line.endswith("last.ckpt" if wanted(project).endswith("ckpt") else "best.ckpt")


def test_weights_from_elsewhere_are_renamed_and_the_rest_is_named(
    project: Path, tmp_path: Path
) -> None:
    """A state_dict of a compiled network, as another project saves it, with a smaller layer."""
    saved = weights(source_file(project))
    other = {
        name.replace("net.", "backbone._orig_mod."): weight.clone()
        for name, weight in saved.items()
        if name != "net.0.weight"
    }
    other["backbone._orig_mod.9.weight"] = other["backbone._orig_mod.9.weight"][:3].clone()
    other["projection"] = torch.zeros(3)
    torch.save({"model": other}, tmp_path / "other.pt")
    save_file(other, tmp_path / "other.safetensors")
    for number, file in enumerate(("other.pt", "other.safetensors")):
        name = f"renamed{number}"
        options = (f"--init_from={tmp_path / file}", "--init_rename={backbone: net}")
        line = trained_from(project, name, *options)
        assert line.startswith("Weights: 16 of 18 from ")
        _, *rest = line.split("; ")
        assert rest == [
            "1 of another shape there (net.9.weight (3, 400) for (120, 400))",
            "1 not there (net.0.weight)",
            "1 there alone (projection)",
        ]
        assert_same_parameters(project, name, "net.0.weight", "net.9.weight")


def test_only_included_weights_are_taken(project: Path) -> None:
    line = trained_from(project, "included", "--init_from=source", "--init_include=[net.0, net.1]")
    assert line.startswith("Weights: 6 of 18 from ")
    old = weights(source_file(project))
    new = weights(run_of(project, "included") / "checkpoints" / "last.ckpt")
    assert torch.equal(old["net.0.weight"], new["net.0.weight"])
    assert not torch.equal(old["net.9.weight"], new["net.9.weight"])


def test_every_process_starts_from_the_weights(project: Path) -> None:
    processes = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
    trained_from(project, "two", "--init_from=source", *processes)
    assert_same_parameters(project, "two")


def test_run_that_ended_before_its_first_checkpoint_starts_from_the_weights_again(
    project: Path,
) -> None:
    trained_from(project, "killed", "--init_from=source")
    run = run_of(project, "killed")
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.csv").unlink()
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    record["status"] = "running"
    record["commands"][0] |= {"status": "running", "end": None, "epochs": 0}
    (run / "run.json").write_text(json.dumps(record))
    output = succeed(project, "fit", f"--run={run.name}")
    assert "Weights: 18 of 18 from " in output
    assert_same_parameters(project, "killed")
    # From its own checkpoint, the weights of the other run play no part.
    output = succeed(project, "fit", f"--run={run.name}", "--trainer.max_epochs=2")
    assert "Weights: " not in output
    again = json.loads((run / "run.json").read_text())
    assert again["parent"] == record["parent"]
    assert "test/acc" in succeed(project, "test", f"--run={run.name}", *QUICK[2:])


def test_repeated_runs_start_from_the_same_weights(project: Path) -> None:
    options = (*DIGITS, *QUICK, *FIXED, "--init_from=last", "--name=seeds")
    shutil.rmtree(project / "logs/seeds", ignore_errors=True)
    succeed(
        project,
        *("-m", "my_project.repeat", "--seeds=1..2"),
        *options,
        PYTHONPATH=str(project / "src"),
    )
    records = [json.loads(path.read_text()) for path in project.glob("logs/seeds/*/run.json")]
    assert len(records) == 2
    assert len({record["parent"]["run"] for record in records}) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--init_from=nowhere"], "there is no run nowhere in logs: train one with fit, or"),
        (["--init_from=x.pt"], "init_from is x.pt, but there is no such file"),
        (["--init_include=net"], "--init_include selects weights of --init_from, which is missing"),
        (
            ["--init_from=source", "--init_include=net.12"],
            "init_include has net.12, but no name in the model begins so: such as net.1",
        ),
        (
            ["--init_from=source", "--init_rename={encoder: net}"],
            "init_rename has encoder, but no name in logs/source/",
        ),
        (["--init_from=source", "--init_rename={net: encoder}"], "no weight of logs/source/"),
        (["--init_from=damaged.ckpt"], "damaged.ckpt is damaged, or is no checkpoint of weights"),
        (["--init_from=numbers.pt"], "numbers.pt holds no weights"),
        (["--init_from=source", "--ckpt_path=last", "--name=source"], "init_from starts a new run"),
    ],
)
def test_wrong_source_is_one_line_and_leaves_nothing(
    project: Path, options: list[str], line: str
) -> None:
    (project / "damaged.ckpt").write_bytes(source_file(project).read_bytes()[:999])
    torch.save({"epoch": 3}, project / "numbers.pt")
    before = sorted(project.glob("logs/*/*"))
    assert fail(project, "fit", *DIGITS, *QUICK, "--name=new", *options).startswith(line)
    assert sorted(project.glob("logs/*/*")) == before


def test_running_on_and_starting_anew_are_told_apart(project: Path) -> None:
    problem = "init_from starts a new run from weights alone, but --run and --ckpt_path continue"
    assert fail(project, "fit", "--run=source", "--init_from=source").startswith(problem)
    refused = "init_from is an option of fit alone: leave it out"
    assert fail(project, "test", "--init_from=source") == refused
