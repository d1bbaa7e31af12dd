"""From which folder a command is started, and how the package is installed."""

import shutil
import sys
import venv
from pathlib import Path

from helpers.commands import DIGITS, python, succeed
from helpers.trained_project import QUIET, SHORT, last, only, start, started, told


def test_relative_configs_and_logs_from_a_folder_of_the_project(project: Path) -> None:
    configs = ["-c", "../configs/data/digits.yaml", "-c", "../configs/model/simplenet.yaml"]
    command: list[str | Path] = [
        python(),
        "../src/main.py",
        "fit",
        *configs,
        *QUIET,
        *SHORT.split(),
    ]
    output = started([*command, "--name=inside"], project / "notebooks")
    directory = only(project / "logs" / "inside")
    assert told(output, "Run directory") == f"../logs/inside/{directory.name}"
    assert {path.name for path in (project / "notebooks").iterdir()} == {".gitkeep"}
    tested = succeed(project, "test", *configs, *QUIET, "--name=inside", cwd=project / "notebooks")
    assert told(tested, "Checkpoint") == f"../logs/inside/{directory.name}/checkpoints/best.ckpt"


def test_an_unrelated_folder_stays_empty(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    configs = [
        "-c",
        f"{project}/configs/data/digits.yaml",
        "-c",
        f"{project}/configs/model/simplenet.yaml",
    ]
    succeed(project, "fit", *configs, *QUIET, *SHORT.split(), "--name=outside", cwd=folder)
    directory = only(project / "logs" / "outside")
    assert {path.name.split(".")[0] for path in directory.iterdir()} == {
        "checkpoints",
        "code",
        "config",
        "events",
        "hparams",
        "metrics",
        "run",
    }
    assert not list(folder.iterdir())


def test_the_package_is_a_command_too(project: Path) -> None:
    command: list[str | Path] = [
        python(),
        "-m",
        "my_project",
        "fit",
        *DIGITS,
        *QUIET,
        *SHORT.split(),
    ]
    started([*command, "--name=module"], project, PYTHONPATH="src")
    assert last(only(project / "logs" / "module")).exists()


def install(project: Path, folder: Path, *options: str) -> Path:
    """Install the project into an environment of its own, which borrows the dependencies; return its command."""
    venv.create(folder, symlinks=True, with_pip=False)
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "borrowed.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-index",
    ]
    started(
        [
            *pip,
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            *options,
            project,
        ],
        project,
    )
    return folder / "bin" / "my-project"


def test_installed_as_editable_the_command_knows_its_project_from_everywhere(
    project: Path, tmp_path: Path
) -> None:
    command = install(project, tmp_path / "venv", "--editable")
    configs = [
        "-c",
        f"{project}/configs/data/digits.yaml",
        "-c",
        f"{project}/configs/model/simplenet.yaml",
    ]
    started([command, "fit", *configs, *QUIET, *SHORT.split(), "--name=editable"], tmp_path)
    assert last(only(project / "logs" / "editable")).exists()


def test_installed_as_a_copy_the_command_finds_the_project_that_the_user_stands_in(
    project: Path, tmp_path: Path
) -> None:
    command = install(project, tmp_path / "venv")
    shutil.rmtree(project / "src")
    configs = ["-c", "../configs/data/digits.yaml", "-c", "../configs/model/simplenet.yaml"]
    started(
        [command, "fit", *configs, *QUIET, *SHORT.split(), "--name=copy"], project / "notebooks"
    )
    assert last(only(project / "logs" / "copy")).exists()

    outside = start([command, "fit", "--help"], tmp_path)
    assert outside.returncode == 1 and not outside.stdout
    assert outside.stderr == (
        f"error: no .project-root in {tmp_path} or above it: run the command inside the project\n"
    )
