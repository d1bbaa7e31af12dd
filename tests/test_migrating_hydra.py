"""docs/migrating_hydra.md: a clone of a Hydra template goes on under the new command line."""

import csv
import json
import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.hydra_clone import CLONE, GUIDE, OLD
from helpers.migrating import commands, commit, edit, keys, read, rows, shell, start, write
from helpers.server import Server
from helpers.template import git
from test_readme import blocks

STEPS = GUIDE.split("\n## ")[1:]


MODULE = "src/my_project/models/mnist_module.py"


EXAMPLE = "-c configs/experiment/example.yaml"


# Of Hydra, what that project uses, where Hydra is not installed
HYDRA = """\
import functools
import os
import re
import sys
import types
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name

import yaml


def merge(old, new):
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        old[key] = merge(old[key], value) if both else value
    return old


def read(path):
    return (path.exists() and yaml.safe_load(path.read_text())) or {}


def group(folder, name):
    own, whole = read(folder / f"{name}.yaml"), {}
    for other in own.pop("defaults", []):
        merge(whole, group(folder, other))
    return merge(whole, own)


def compose(path, overrides):
    bodies, given = [read(path)], dict(one.split("=", 1) for one in overrides)
    choices = {key: name for entry in bodies[0].pop("defaults")[1:] for key, name in entry.items()}
    choices.update((key, given.pop(key)) for key in [*given] if key in choices)
    for key in ("experiment", "hparams_search", "debug"):
        bodies.append(read(path.parent / key / f"{choices.pop(key, None)}.yaml"))
        for entry in bodies[-1].pop("defaults", []):
            choices.update((key.split("/")[-1], name) for key, name in entry.items())
    choices.pop("hydra")
    whole = {key: group(path.parent / key, name) for key, name in choices.items() if name and " " not in key}
    for body in bodies:
        merge(whole, body)
    for key, value in given.items():
        *parents, last = key.split(".")
        functools.reduce(dict.__getitem__, parents, whole)[last] = yaml.safe_load(value)
    return whole


def resolved(node, whole, output):
    if isinstance(node, dict):
        return {key: resolved(value, whole, output) for key, value in node.items()}
    if not isinstance(node, str) or "${" not in node:
        return node

    def find(match):
        kind, _, name = match[1].rpartition(":")
        if kind == "oc.env":
            return os.environ[name]
        if kind == "hydra":
            return output
        value = whole
        for key in name.split("."):
            value = value[int(key) if isinstance(value, list) else key]
        return str(resolved(value, whole, output))

    return re.sub(r"\\${([^{}]+)}", find, node)


def instantiate(node, **extra):
    if isinstance(node, dict):
        args = {key: instantiate(value) for key, value in node.items() if key[0] != "_"} | extra
        if "_target_" in node:
            made = functools.partial(resolve_name(node["_target_"]), **args)
            return made if node.get("_partial_") else made()
        return args
    return node


def main(version_base, config_path, config_name):
    def decorate(function):
        def run():
            path = Path(sys.argv[0]).parent / config_path / config_name
            config = compose(path, [one for one in sys.argv[1:] if not one.startswith("--")])
            if "--cfg=job" in sys.argv:
                print(yaml.safe_dump(resolved(config, config, None), sort_keys=False))
            else:
                output = Path("logs", config["task_name"], "runs", f"{datetime.now():%Y-%m-%d_%H-%M-%S}").absolute()
                function(resolved(config, config, str(output)))

        return run

    return decorate


utils = types.SimpleNamespace(instantiate=instantiate)
"""


def test_a_clone_goes_on_under_the_new_command_line(  # noqa: C901, PLR0912, PLR0915
    template: Path, warm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, future = (
        start(tmp_path / "my project", CLONE),
        shutil.copytree(template, tmp_path / "a template"),
    )

    def run(arguments: str) -> str:
        done = warm.run(project, *shlex.split(arguments))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def weights(name: str) -> dict[str, torch.Tensor]:
        (path,) = project.glob(f"logs/{name}/*/checkpoints/last.ckpt")
        return dict(torch.load(path, weights_only=True)["state_dict"])

    def of_run(name: str, file: str) -> Any:
        (path,) = project.glob(f"logs/{name}/*/{file}")
        return yaml.safe_load(path.read_text())

    if not find_spec("hydra"):
        monkeypatch.setenv("PYTHONPATH", str(write(tmp_path / "stand-in", {"hydra.py": HYDRA})))
    there = yaml.safe_load(shell(project, "python src/train.py --cfg=job experiment=example"))
    printed = shell(project, "python src/train.py experiment=example trainer.max_epochs=3")
    before = json.loads(printed.splitlines()[-1])
    (old,) = project.glob("logs/train/runs/*")
    old.rename((project / OLD).parent.parent)

    for step in STEPS[:8]:
        if step.startswith("3"):
            monkeypatch.delenv("PYTHONPATH", raising=False)
        for path in re.findall(r"`git show HEAD~2:(\S+)`", step):
            assert shell(project, f"git show HEAD~2:{path}") == CLONE[path]
        for diff in blocks(step, "diff"):
            edit(project, diff)
        for text in blocks(step, "yaml") + blocks(step, "python"):
            if named := re.match(r"# (\S+)\n", text):
                write(project, {named[1]: text})
            else:
                shell(project, f"PYTHONPATH=src python -c {shlex.quote(text)}")
        for command in commands(step, future):
            if found := re.match(r"python (?:src/main\.py )?(?=fit|test|-m pytest)", command):
                run(command.removeprefix(found[0]))
            elif "my_project.search" in command:
                shell(project, f"PYTHONPATH=src {command}")
            elif not command.startswith(("pip install ", "copier update")):
                shell(project, command)
    assert not git(project, "status", "--porcelain")
    assert {path.name for path in (project / "src").iterdir()} == {"main.py", "my_project"}
    for name, text in {
        "notes.txt": "mine\n",
        "README.md": "# Mine\n",
        ".gitignore": CLONE[".gitignore"],
    }.items():
        assert (project / name).read_text().startswith(text)

    example = yaml.safe_load((project / "configs/experiment/example.yaml").read_text())
    module = example["model"]["init_args"]
    assert module["optimizer"] == {
        "class_path": "torch.optim.Adam",
        "init_args": {"lr": 0.002, "weight_decay": 0.0},
    }
    assert module["net"]["init_args"] == {"input_size": 784, "lin1_size": 16, "output_size": 10}
    assert example["data"]["init_args"]["data_dir"] == "./data/"
    assert [one["init_args"]["patience"] for one in example["trainer"]["callbacks"]] == [100]
    assert of_run("example", "config.yaml")["seed_everything"] == 12345

    run(f"fit {EXAMPLE} --name whole --trainer.max_epochs 4")
    resumed, whole = weights("example"), weights("whole")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    with next(project.glob("logs/older/*/metrics.csv")).open() as lines:
        epochs = [int(row["epoch"]) for row in csv.DictReader(lines)]
    done = torch.load(project / OLD.replace(".ckpt", ".plain.ckpt"), weights_only=True)["epoch"] + 1
    assert epochs == [*range(done, 6)], "it went on after the old epochs"
    after = of_run("default", "run.json")["metrics"]
    for metric in ("test/acc", "test/loss"):
        assert after[metric] == before[metric]
    refused = warm.run(project, *shlex.split(f"test {EXAMPLE} --ckpt_path {OLD}"))
    assert "is no checkpoint of weights and plain data alone" in refused.stderr

    for cells, here in rows("Paths", GUIDE):
        for path in cells:
            assert "logs/" in path or [
                name for name in CLONE if f"{name}/".startswith(f"{path}/")
            ], path
        for path in here:
            if re.match("(?!configs/local)(configs|src|pyproject)[^<]*$", path):
                assert (project / path).exists(), path
    options = [here[0] for _, here in rows("Commands", GUIDE) if here[0].startswith("-")]
    run(f"fit {EXAMPLE} {' '.join(options)} --print_config")
    keys_there, keys_here = keys(there), keys(of_run("example", "config.yaml"))
    for cells, here in rows("Keys of configs", GUIDE):
        assert {*cells} <= keys_there
        assert (
            here == cells
            or {key for key in here if re.fullmatch(r"[a-z]+[._][\w.]+", key)} <= keys_here
        )

    mine = read(project)
    for file in (future / "template").rglob("*"):
        if file.suffix in (".py", ".jinja", ".yaml") and "answers_file" not in file.name:
            file.write_text(f"# planted\n{file.read_text()}")
    commit(future)
    git(future, "tag", "--annotate", "v1000.0.0", "--message", "x")
    shell(project, commands(STEPS[7], future)[-1] + " --defaults")
    now = read(project)
    assert now["src/my_project/cli.py"].startswith("# planted\n")
    for name in mine.keys() - {".copier-answers.yml"}:
        assert not {*mine[name].splitlines()} - {*now[name].splitlines()}, name
    for name in (
        "configs/experiment/example.yaml",
        "configs/search/mnist.yaml",
        MODULE,
        "README.md",
    ):
        assert now[name] == mine[name]
    marked = git(project, "diff", "--name-only", "--diff-filter=U").splitlines()
    assert not [name for name in marked if name.startswith(("configs/", "src/"))]
    run(f"fit {EXAMPLE} --trainer.fast_dev_run true")
    run("test --run example")
