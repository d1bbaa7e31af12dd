"""Several machines: network namespaces of this one."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import pytest
from helpers.distributed import CALLBACK, EVENT, accuracy, end, metrics, mistakes, options, start
from helpers.template import sweep

DATA = """
import os

from ..utils.project import UserError
from .digits import DigitsDataModule


class Own(DigitsDataModule):
    def prepare_data(self):
        if "NO_DATA" in os.environ:
            raise UserError("there is no file")
"""


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
    distributed_project: Path,
    machines: list[Machine],
    trained_alone: tuple[list[dict[str, float]], list[str]],
) -> None:
    command = [
        *options("ddp", 1),
        "--data.batch_size=32",
        "--trainer.num_nodes=2",
        "--name=run",
        "--test_after_fit=true",
    ]
    done = nodes(distributed_project, machines, command)
    assert [code for code, _ in done] == [0, 0], done
    assert [pytest.approx(row, rel=1e-4) for row in trained_alone[0]] == metrics(
        distributed_project, "run"
    )
    assert accuracy(done[0][1]) == trained_alone[1] and not accuracy(done[1][1])


def test_a_machine_with_another_version_is_named(
    distributed_project: Path, machines: list[Machine], tmp_path: Path
) -> None:
    (tmp_path / "torchmetrics-98.7.dist-info").mkdir()
    (tmp_path / "torchmetrics-98.7.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchmetrics\n"
    )
    with (tmp_path / "torchmetrics-98.7.dist-info" / "METADATA").open("a") as file:
        file.write("Version: 98.7\n")
    command = [*options("ddp", 1), "--trainer.num_nodes=2", "--name=run"]
    done = nodes(distributed_project, machines, command, {}, {"PYTHONPATH": str(tmp_path)})
    assert all(code != 0 for code, _ in done), done
    (line,) = [line for line in done[1][1].splitlines() if line.startswith("error: ")]
    assert "process 1 on" in line and "has torchmetrics 98.7, and process 0 has" in line


def test_a_machine_without_the_data_is_named(
    distributed_project: Path, machines: list[Machine]
) -> None:
    (distributed_project / "src" / "my_project" / "data_modules" / "own.py").write_text(DATA)
    command = [
        *options("ddp", 1),
        "--data=my_project.data_modules.own.Own",
        "--trainer.num_nodes=2",
        "--name=run",
    ]
    done = nodes(distributed_project, machines, command, {}, {"NO_DATA": "1"})
    assert all(code != 0 for code, _ in done), done
    (line,) = [line for line in done[1][1].splitlines() if line.startswith("error: ")]
    assert line == "error: there is no file"
    (line,) = [line for line in done[0][1].splitlines() if line.startswith("error: ")]
    assert "another process of this run has ended" in line


@pytest.mark.parametrize("strategy", ["ddp", *sweep("fsdp")])
def test_when_the_cable_is_cut_both_machines_end_with_a_line(
    distributed_project: Path, machines: list[Machine], strategy: str
) -> None:
    if not machines[0].namespace:
        pytest.skip("needs network namespaces, which only root may have")
    (distributed_project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    command = [
        *options(strategy, 2),
        "--trainer.devices=1",
        "--trainer.num_nodes=2",
        "--name=cut",
        EVENT,
    ]
    cut = {"EVENT_RANK": "0", "EVENT": "ip link set eth0 down"}
    done = nodes(
        distributed_project, machines, [*command, "--trainer.strategy.timeout=0:00:20"], cut, cut
    )
    for machine, (code, output) in zip(machines, done, strict=True):
        assert code != 0, output
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "another process of this run has ended or cannot be reached" in line
        assert not machine.processes()


def test_a_port_that_is_taken_is_named(distributed_project: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        code, output = end(
            start(
                distributed_project,
                ["src/main.py", "fit", *options("ddp", 2), "--name=busy"],
                MASTER_PORT=str(port),
            )
        )
    assert code != 0
    (line,) = mistakes(output)
    assert f"port: {port}" in line and "already in use" in line


def test_a_wrong_number_of_processes_is_refused(distributed_project: Path) -> None:
    command = [
        "src/main.py",
        "fit",
        *options("fsdp", 2),
        "--trainer.strategy.processes=4",
        "--name=wrong",
    ]
    code, output = end(start(distributed_project, command))
    assert code != 0
    assert set(mistakes(output)) == {
        "error: trainer.strategy.processes is 4, but devices times num_nodes is 2"
    }
