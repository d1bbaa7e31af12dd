"""Training in several processes, of one machine and of two, started as users start it."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import pytest
import torch
from helpers.commands import succeed
from helpers.template import Render, git, sweep

MLP = ("-c", "configs/data/digits.yaml", "-c", "configs/model/mlp.yaml")
# 1,280 samples for training, so that all have as many; 157 for validation, which do not divide
ALL = (
    *MLP,
    "--data.val_size=157",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.logger=false",
)
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
# What befalls the process of this rank; to the shell, that one is $PPID.
CALLBACK = """
import os
import subprocess

from lightning.pytorch import Callback


class Event(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 25 and trainer.global_rank == int(os.environ["EVENT_RANK"]):
            subprocess.run(os.environ["EVENT"], shell=True, check=True)
"""
EVENT = "--trainer.callbacks+=my_project.callbacks.own.Event"

# Draws random numbers, in each process others
NOISY = """
import torch

from .digits import DigitsDataModule


class Noisy(DigitsDataModule):
    def augment(self, images):
        for _ in range(1 + self.trainer.global_rank):
            noise = torch.rand_like(images)
        return images + 0.5 * noise
"""

DATA = """
import os

from ..utils.project import UserError
from .digits import DigitsDataModule


class Own(DigitsDataModule):
    def prepare_data(self):
        if "NO_DATA" in os.environ:
            raise UserError("there is no file")
"""


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    return render(package_name="my_project", models=["mlp"], tooling=["distributed"])


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "my-project")


def options(strategy: str, processes: int) -> list[str]:
    """Return those of `fit` with the batches of one process, divided among so many."""
    several = [
        "-c",
        f"configs/trainer/{strategy}.yaml",
        "--trainer.accelerator=cpu",
        f"--trainer.devices={processes}",
    ]
    several += [f"--trainer.strategy.processes={processes}"] * (strategy == "fsdp")
    return [*ALL, *QUIET, *several, f"--data.batch_size={64 // processes}"]


def start(
    project: Path, command: list[str], prefix: tuple[str, ...] = (), /, **env: str
) -> subprocess.Popen[str]:
    """Start Python with these arguments, in a group of processes of its own."""
    return subprocess.Popen(
        [*prefix, sys.executable, *command],
        cwd=project,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for at most a minute, until no process is left that could print; return the exit status and the output."""
    try:
        output = process.communicate(timeout=60)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def train(project: Path, *args: str) -> str:
    """Train, with a first process that starts warmly."""
    return succeed(project, "fit", *args)


def mistakes(output: str) -> list[str]:
    assert "Traceback" not in output, output
    return [line for line in output.splitlines() if line.startswith("error: ")]


def run_of(project: Path, name: str) -> Path:
    (directory,) = (project / "logs" / name).iterdir()
    return directory


def metrics(project: Path, name: str) -> list[dict[str, float]]:
    with (run_of(project, name) / "metrics.csv").open() as file:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def accuracy(output: str) -> list[str]:
    return [line.split()[3] for line in output.splitlines() if "test/acc" in line]


def weights(project: Path, name: str) -> dict[str, Any]:
    return dict(
        torch.load(run_of(project, name) / "checkpoints" / "last.ckpt", weights_only=True)[
            "state_dict"
        ]
    )


@pytest.fixture(scope="module")
def alone(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, float]], list[str]]:
    """The metrics of one process, and its accuracy in the test."""
    project = shutil.copytree(original, tmp_path_factory.mktemp("alone") / "my-project")
    output = succeed(
        project,
        "fit",
        *ALL,
        *QUIET,
        "--data.batch_size=64",
        "--name=alone",
        "--test_after_fit=true",
    )
    return metrics(project, "alone"), accuracy(output)


@pytest.mark.parametrize(
    ("strategy", "processes"), [("ddp", 2), ("fsdp", 2), *sweep(("ddp", 4), ("fsdp", 4))]
)
def test_several_processes_train_as_one_does(
    project: Path, alone: tuple[list[dict[str, float]], list[str]], strategy: str, processes: int
) -> None:
    git(project, "init", "--quiet")
    output = train(
        project,
        *options(strategy, processes),
        "--name=run",
        "--test_after_fit=true",
        "--git_commit_before_fit=true",
    )
    assert [pytest.approx(row, rel=1e-4) for row in alone[0]] == metrics(project, "run")
    assert accuracy(output) == alone[1]
    assert "Warning" not in output
    assert git(project, "log", "--format=%s").splitlines() == [
        f"run_{run_of(project, 'run').name}"
    ], "one commit"
    assert (
        accuracy(
            succeed(
                project,
                "test",
                "--run=last",
                *QUIET,
                "--trainer.devices=1",
                "--trainer.strategy=auto",
            )
        )
        == (alone[1])
    ), "the checkpoint loads in one process"


@pytest.mark.parametrize(("strategy", "signum", "rank"), [("ddp", "TERM", 1), ("fsdp", "INT", 0)])
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on(
    project: Path, strategy: str, signum: str, rank: int
) -> None:
    (project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    (project / "src" / "my_project" / "data_modules" / "noisy.py").write_text(NOISY)
    noisy = (*options(strategy, 2), "--data=my_project.data_modules.noisy.Noisy")
    train(project, *noisy, "--name=whole")
    command = ["src/main.py", "fit", *noisy, "--name=part"]
    code, output = end(
        start(project, [*command, EVENT], EVENT_RANK=str(rank), EVENT=f"kill -s {signum} $PPID")
    )
    assert code == 128 + signal.SIGTERM, output
    line = f"The training is interrupted. fit --run {run_of(project, 'part').name} continues it."
    assert output.count(line) == 1
    checkpoint = torch.load(
        run_of(project, "part") / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert 25 < checkpoint["global_step"] < 40, "within an epoch"
    train(project, "--run=part", "--trainer.callbacks=[]")
    whole, part = weights(project, "whole"), weights(project, "part")
    assert whole.keys() == part.keys() and all(torch.equal(whole[key], part[key]) for key in whole)
    assert metrics(project, "whole") == metrics(project, "part")


@pytest.mark.parametrize("rank", [*sweep(0), 1])
def test_a_process_that_dies_ends_the_others_with_a_line(project: Path, rank: int) -> None:
    (project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    command = ["src/main.py", "fit", *options("ddp", 2), "--name=dead", EVENT]
    code, output = end(start(project, command, EVENT_RANK=str(rank), EVENT="kill -s KILL $PPID"))
    assert code != 0
    (line,) = mistakes(output)
    assert "another process of this run has ended" in line


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Machine(NamedTuple):
    address: str
    namespace: str = ""  # of networks; none if it is this machine

    def start(self, project: Path, command: list[str], **env: str) -> subprocess.Popen[str]:
        if not self.namespace:
            return start(project, command, **env)
        prefix = ("ip", "netns", "exec", self.namespace)
        # or gloo takes the address of the host's name, which is not this one's
        return start(project, command, prefix, **env, GLOO_SOCKET_IFNAME="eth0")

    def processes(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.namespace).split()]

    def clear(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ip("netns", "delete", self.namespace)


def ip(*command: str) -> str:
    return subprocess.run(["ip", *command], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """Two network namespaces that a cable joins; where they are not allowed, twice this machine."""
    found = [Machine(f"10.0.0.{number}", f"copier-lightning-{token_hex(4)}") for number in (1, 2)]
    with ExitStack() as stack:
        try:
            for machine in found:
                ip("netns", "add", machine.namespace)
                stack.callback(machine.clear)
            peer = ("peer", "name", "eth0", "netns", found[1].namespace)
            ip("-n", found[0].namespace, "link", "add", "eth0", "type", "veth", *peer)
            for machine in found:
                ip(
                    "-n",
                    machine.namespace,
                    "address",
                    "add",
                    f"{machine.address}/24",
                    "dev",
                    "eth0",
                )
                for device in ("lo", "eth0"):
                    ip("-n", machine.namespace, "link", "set", device, "up")
        except (OSError, subprocess.CalledProcessError):
            found = [Machine("127.0.0.1")] * 2
        yield found


def nodes(
    project: Path, machines: list[Machine], command: list[str], *envs: dict[str, str]
) -> list[tuple[int, str]]:
    """Run a command on both machines, as torchrun starts it there."""
    port, agents = free_port(), []
    for number, (machine, env) in enumerate(zip(machines, envs or ({}, {}), strict=True)):
        place = ["--nnodes=2", f"--node_rank={number}", "--nproc_per_node=1"]
        place += [f"--master_addr={machines[0].address}", f"--master_port={port}"]
        arguments = ["-m", "torch.distributed.run", *place, "src/main.py", "fit", *command]
        agents.append(machine.start(project, arguments, **env))
    return [end(agent) for agent in agents]


def test_two_machines_train_as_one_process_does(
    project: Path, machines: list[Machine], alone: tuple[list[dict[str, float]], list[str]]
) -> None:
    command = [
        *options("ddp", 1),
        "--data.batch_size=32",
        "--trainer.num_nodes=2",
        "--name=run",
        "--test_after_fit=true",
    ]
    done = nodes(project, machines, command)
    assert [code for code, _ in done] == [0, 0], done
    assert [pytest.approx(row, rel=1e-4) for row in alone[0]] == metrics(project, "run")
    assert accuracy(done[0][1]) == alone[1] and not accuracy(done[1][1])


def test_a_machine_with_another_version_is_named(
    project: Path, machines: list[Machine], tmp_path: Path
) -> None:
    (tmp_path / "torchmetrics-98.7.dist-info").mkdir()
    (tmp_path / "torchmetrics-98.7.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchmetrics\n"
    )
    with (tmp_path / "torchmetrics-98.7.dist-info" / "METADATA").open("a") as file:
        file.write("Version: 98.7\n")
    command = [*options("ddp", 1), "--trainer.num_nodes=2", "--name=run"]
    done = nodes(project, machines, command, {}, {"PYTHONPATH": str(tmp_path)})
    assert all(code != 0 for code, _ in done), done
    (line,) = [line for line in done[1][1].splitlines() if line.startswith("error: ")]
    assert "process 1 on" in line and "has torchmetrics 98.7, and process 0 has" in line


def test_a_machine_without_the_data_is_named(project: Path, machines: list[Machine]) -> None:
    (project / "src" / "my_project" / "data_modules" / "own.py").write_text(DATA)
    command = [
        *options("ddp", 1),
        "--data=my_project.data_modules.own.Own",
        "--trainer.num_nodes=2",
        "--name=run",
    ]
    done = nodes(project, machines, command, {}, {"NO_DATA": "1"})
    assert all(code != 0 for code, _ in done), done
    (line,) = [line for line in done[1][1].splitlines() if line.startswith("error: ")]
    assert line == "error: there is no file"
    (line,) = [line for line in done[0][1].splitlines() if line.startswith("error: ")]
    assert "another process of this run has ended" in line


@pytest.mark.parametrize("strategy", ["ddp", *sweep("fsdp")])
def test_when_the_cable_is_cut_both_machines_end_with_a_line(
    project: Path, machines: list[Machine], strategy: str
) -> None:
    if not machines[0].namespace:
        pytest.skip("needs network namespaces, which only root may have")
    (project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    command = [
        *options(strategy, 2),
        "--trainer.devices=1",
        "--trainer.num_nodes=2",
        "--name=cut",
        EVENT,
    ]
    cut = {"EVENT_RANK": "0", "EVENT": "ip link set eth0 down"}
    done = nodes(project, machines, [*command, "--trainer.strategy.timeout=0:00:20"], cut, cut)
    for machine, (code, output) in zip(machines, done, strict=True):
        assert code != 0, output
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "another process of this run has ended or cannot be reached" in line
        assert not machine.processes()


def test_a_port_that_is_taken_is_named(project: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        code, output = end(
            start(
                project,
                ["src/main.py", "fit", *options("ddp", 2), "--name=busy"],
                MASTER_PORT=str(port),
            )
        )
    assert code != 0
    (line,) = mistakes(output)
    assert f"port: {port}" in line and "already in use" in line


def test_a_wrong_number_of_processes_is_refused(project: Path) -> None:
    command = [
        "src/main.py",
        "fit",
        *options("fsdp", 2),
        "--trainer.strategy.processes=4",
        "--name=wrong",
    ]
    code, output = end(start(project, command))
    assert code != 0
    assert set(mistakes(output)) == {
        "error: trainer.strategy.processes is 4, but devices times num_nodes is 2"
    }
