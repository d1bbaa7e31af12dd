"""The batch script, on a Slurm of this machine that is started for it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import succeed
from helpers.template import Render

NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)),
    reason="needs Slurm (Debian has it as slurm-wlm), which is not installed",
)
MLP = (
    "-c",
    "configs/data/digits.yaml",
    "-c",
    "configs/model/mlp.yaml",
    "--data.val_size=157",
    "--trainer.max_epochs=3",
)
# The script runs the `python` of whoever submits it, which is to be the one that runs the tests.
ENV = {
    "CUDA_VISIBLE_DEVICES": "",
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}
FAILED = (
    r"JobState=(CANCELLED|FAILED|NODE_FAIL|OUT_OF_MEMORY|TIMEOUT)|Reason=\S*[Hh]eld|Restarts=[2-9]"
)
QUIET = (
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
# Training waits, amidst an epoch, to be told to stop.
CALLBACK = """
import time
from pathlib import Path

from lightning.pytorch import Callback

from ..engine.stopping import StopAtBatchEnd


class Wait(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 25:
            Path(f"waiting{trainer.global_rank}").touch()
            (stop,) = [callback for callback in trainer.callbacks if isinstance(callback, StopAtBatchEnd)]
            while not stop.stop_requested:
                time.sleep(0.1)
"""


def wait_for(what: Callable[[], Any], report: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + 180
    while not what():
        assert time.monotonic() < deadline, f"it takes too long\n{report()}"
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands for a cluster of this machine alone; jobs in `high` push those in `low` back."""
    folder, host, user = (
        tmp_path_factory.mktemp("slurm"),
        socket.gethostname().split(".")[0],
        str(os.getuid()),
    )
    ports = free_ports(2)
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports[0],
        "SlurmdPort": ports[1],
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/none",
        "AuthInfo": "cred_expire=5",  # a job that goes back waits for so many seconds; fewer are refused
        "SchedulerParameters": "sched_interval=1",  # and is found within one then, not within half a minute
        "CredType": "cred/none",
        **{f"{name}PidFile": folder / f"{name}.pid" for name in ("Slurmctld", "Slurmd")},
        **{f"{name}LogFile": folder / f"{name}.log" for name in ("Slurmctld", "Slurmd")},
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 0,  # as on some clusters
        "ReturnToService": 2,
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines.append(f"NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN")
    lines.append(f"PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=60 State=UP")
    lines.append(f"PartitionName=high Nodes={host} PriorityTier=2 PreemptMode=OFF State=UP")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    env = os.environ | ENV | {"SLURM_CONF": str(folder / "slurm.conf")}
    daemons = [
        subprocess.Popen([name, "-D"], env=env, stderr=subprocess.DEVNULL)
        for name in ("slurmctld", "slurmd")
    ]
    try:
        wait_for(lambda: "idle" in slurm(env, "sinfo", "--noheader", check=False))
        yield env
    finally:
        slurm(env, "scancel", "--full", "--user", user, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def slurm(env: dict[str, str], *command: str, cwd: Path | None = None, check: bool = True) -> str:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def submit(
    env: dict[str, str], project: Path, *options: str, name: str, own: tuple[str, ...] = ()
) -> str:
    """Submit a training to `low`, without GPUs and for a minute at most, and return the job's number."""
    small = ("--gpus-per-node=0", "--cpus-per-task=1", "--mem=100", "--time=5", *own)
    command = (
        "sbatch",
        "--parsable",
        *small,
        "scripts/train.sbatch",
        *MLP,
        *QUIET,
        f"--name={name}",
        *options,
    )
    return slurm(env, *command, cwd=project).strip()


def wait_for_job(env: dict[str, str], job: str, before: Callable[[], Any] = lambda: False) -> None:
    """Wait for the end of a job, or for what comes before; if it fails, fail at once with what it printed."""

    def report() -> str:
        state = slurm(env, "scontrol", "show", "job", job)
        logs = [Path(name) for name in re.findall("StdOut=(.*)", state)]
        return "\n".join([state, *(log.read_text() for log in logs if log.exists())])

    def ended() -> bool:
        state = slurm(env, "scontrol", "show", "job", job)
        assert not re.search(FAILED, state), report()
        return set(re.findall(r"JobState=(\w+)", state)) == {"COMPLETED"}

    wait_for(lambda: ended() or before(), report)


def weights(directory: Path) -> dict[str, Any]:
    return dict(
        torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    )


@pytest.fixture(scope="module")
def original(render: Render) -> Path:
    return render(package_name="my_project", models=["mlp"], tooling=["slurm"])


@pytest.fixture(scope="module")
def never_stopped(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, Any]]:
    """Return a function that says the weights with which so many processes end that nothing stops."""

    @cache
    def train(tasks: int) -> dict[str, Any]:
        project = shutil.copytree(original, tmp_path_factory.mktemp("never") / "my-project")
        succeed(project, "fit", *MLP, *QUIET, "--name=never", f"--trainer.devices={tasks}")
        (directory,) = (project / "logs" / "never").iterdir()
        return weights(directory)

    return train


@pytest.mark.parametrize(("how", "tasks"), [("time", 1), ("signal", 2), ("preemption", 1)])
def test_a_job_that_has_to_stop_goes_back_into_the_queue_and_on_with_its_run(  # noqa: PLR0915
    cluster: dict[str, str],
    original: Path,
    never_stopped: Callable[[int], dict[str, Any]],
    tmp_path: Path,
    how: str,
    tasks: int,
) -> None:
    project = shutil.copytree(original, tmp_path / "my-project")
    (project / "src" / "my_project" / "callbacks" / "own.py").write_text(CALLBACK)
    own = (
        "--trainer.callbacks+=my_project.callbacks.own.Wait",
        "--trainer.callbacks+=EarlyStopping",
    )
    options = (*own, "--trainer.callbacks.monitor=val/loss", "--test_after_fit", "true")
    job = submit(cluster, project, *options, name="exp1", own=(f"--ntasks-per-node={tasks}",))
    wait_for_job(cluster, job, lambda: len([*project.glob("waiting?")]) == tasks)
    if how == "time":  # its last two minutes have begun; Slurm looks every 30 s
        slurm(cluster, "scontrol", "update", f"JobId={job}", "TimeLimit=1")
        wait_for_job(
            cluster,
            job,
            lambda: "JobState=PENDING" in slurm(cluster, "scontrol", "show", "job", job),
        )
        slurm(cluster, "scontrol", "update", f"JobId={job}", "TimeLimit=5")
    elif how == "signal":
        slurm(cluster, "scancel", "--signal=TERM", job)
    else:
        slurm(
            cluster,
            "sbatch",
            "--partition=high",
            "--exclusive",
            "--mem=100",
            "--wrap=true",
            cwd=tmp_path,
        )
    theirs = never_stopped(tasks)  # while it waits
    wait_for_job(cluster, job)
    assert "Restarts=1" in slurm(cluster, "scontrol", "show", "job", job)
    (directory,) = (project / "logs" / "exp1").iterdir()
    log = (directory / "slurm.log").read_text()
    assert f"The training is interrupted. fit --run {directory.name} continues it." in log
    assert f"Checkpoint: logs/exp1/{directory.name}/checkpoints/last.ckpt" in log
    run = json.loads((directory / "run.json").read_text())
    assert run["slurm_job"] == job and run["status"] == "finished"
    assert [command["status"] for command in run["commands"]] == ["interrupted", "finished"]
    assert "test/acc" in run["metrics"]
    ours = weights(directory)
    assert ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], theirs[key]) for key in theirs
    )


def test_an_array_of_jobs_has_a_seed_and_a_run_each(
    cluster: dict[str, str], original: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(original, tmp_path / "my-project")
    job = submit(cluster, project, "--trainer.max_epochs=1", name="seeds", own=("--array=3,5",))
    wait_for_job(cluster, job)
    runs = [json.loads(path.read_text()) for path in project.glob("logs/seeds/*/run.json")]
    assert sorted(run["seed"] for run in runs) == ["3", "5"] and {
        run["status"] for run in runs
    } == {"finished"}
