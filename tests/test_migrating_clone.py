"""docs/migrating.md: a clone of a template goes on under the new command line."""

import csv
import json
import re
import shlex
from pathlib import Path

import torch
import yaml
from helpers.migrating import CLONE, STEPS, commands, edit, keys, rows, shell, start, write
from helpers.server import Server
from helpers.template import git
from test_readme import blocks

MNIST = "-c configs/data/mnist.yaml -c configs/model/simplenet.yaml"


OLD, MOVED = (f"logs/{folder}/k3v9x2ab/checkpoints/last.ckpt" for folder in ("mnist", "old/mnist"))


def test_a_clone_goes_on_under_the_new_command_line(  # noqa: C901, PLR0912, PLR0915
    template: Path, warm: Server, tmp_path: Path
) -> None:
    project = start(tmp_path / "my project", CLONE)

    def run(arguments: str) -> str:
        done = warm.run(project, *shlex.split(arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def weights(run: str) -> dict[str, torch.Tensor]:
        (path,) = project.glob(f"logs/{run}/*/checkpoints/last.ckpt")
        return dict(torch.load(path, weights_only=True)["state_dict"])

    run(f"fit {MNIST} --trainer.max_epochs 3")
    write(
        project, {f"{Path(OLD).parent.parent}/config.yaml": ""}
    )  # of its command line, which is not rebuilt here
    logger = (
        "--trainer.logger CSVLogger --trainer.logger.save_dir logs --trainer.logger.name measured"
    )
    run(f"test {MNIST} --ckpt_path {OLD} {logger} --trainer.logger.version test")
    with (project / "logs" / "measured" / "test" / "metrics.csv").open() as file:
        (before,) = csv.DictReader(file)

    printed = ""
    for step in STEPS:
        for command in re.findall(r"`(git show \S+)`", step):
            assert shell(project, command) == CLONE["configs/default.yaml"]
        for diff in blocks(step, "diff"):
            edit(project, diff)
        for config in blocks(step, "yaml"):
            write(project, {config.split("\n")[0].removeprefix("# "): config})
        for command in commands(step, template):
            if command.startswith("python src/main.py "):
                printed += run(command.removeprefix("python src/main.py "))
            elif not command.startswith("pip install "):
                shell(project, command)
        for python in blocks(step, "python"):
            load = f"SimpleNetModule.load_from_checkpoint('{MOVED}')"
            refused = f"import pytest\nwith pytest.raises(ValueError): {load}\n"
            shell(project, f"PYTHONPATH=src python -c {shlex.quote(python + refused)}")
    assert not git(project, "status", "--porcelain")
    assert {path.name for path in (project / "src").iterdir()} == {"main.py", "my_project"}
    assert (
        "from torch import utils"
        in (project / "src" / "my_project" / "data_modules" / "mnist.py").read_text()
    )
    for name, text in {
        "notes.txt": "mine\n",
        "README.md": "# Mine\n",
        ".gitignore": CLONE[".gitignore"],
    }.items():
        assert (project / name).read_text().startswith(text)

    run(f"fit {MNIST} --name whole --trainer.max_epochs 4 --trainer.logger false")
    resumed, whole = weights("exp1"), weights("whole")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    with next(project.glob("logs/exp0/*/metrics.csv")).open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["3", "4", "5"], (
            "it went on after the third epoch"
        )
    after = json.loads((project / MOVED).parent.parent.joinpath("run.json").read_text())["metrics"]
    for metric in ("test/acc", "test/loss"):
        assert after[metric] == float(before[metric])
    (warning,) = {line for line in printed.splitlines() if "add the following callbacks" in line}
    assert "ModelCheckpoint{" in warning
    assert "EarlyStopping{" not in warning

    checkpoint = torch.load(project / MOVED) | {"hyper_parameters": {"where": Path()}}
    torch.save(checkpoint, project / "pickled.ckpt")
    done = warm.run(
        project, *shlex.split(f"test {MNIST} --trainer.logger false --ckpt_path pickled.ckpt")
    )
    assert "is no checkpoint of weights and plain data alone" in done.stderr
    run(f"test {MNIST} --trainer.logger false --ckpt_path pickled.ckpt --weights_only false")

    for there, here in rows("Paths"):
        for path in there:
            assert "logs/" in path or [
                name for name in CLONE if f"{name}/".startswith(f"{path}/")
            ], path
        for path in here[: len(there)]:
            assert "<" in path or (project / path).exists(), path
    taken = [here[0].replace("…", MNIST).split(" ", 1) for _, here in rows("Commands")]
    fit = " ".join(
        options for command, options in taken if command == "fit" and "--run" not in options
    )
    others = [" ".join(one) for one in taken if one[0] in ("test", "predict") or "--run" in one[1]]
    assert len(others) == 4
    for command in (f"fit {fit}", *others):
        run(f"{command} --print_config")
    old = keys(
        {
            key: value
            for name in CLONE
            if name.endswith(".yaml")
            for key, value in yaml.safe_load(CLONE[name]).items()
        }
    )
    new = keys(yaml.safe_load(next(project.glob("logs/exp1/*/config.yaml")).read_text()))
    for there, here in rows("Keys of configs"):
        assert there[0].split(":")[0] in old
        assert {
            key.split(":")[0] for key in here[: len(there)] if f"--{key} true" not in fit
        } <= new
