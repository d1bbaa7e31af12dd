"""A package that is not installed is named, with the command that installs it."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail, run
from helpers.loggers import CLASSES, QUIET, files
from helpers.template import sweep

pytestmark = pytest.mark.usefixtures("logger_accounts")


# MLflow's own, with a newer SQLAlchemy
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)


PACKAGES = {
    "wandb": "wandb",
    "comet": "comet_ml",
    "mlflow": "mlflow",
    "tensorboard": "tensorboard,tensorboardX",
}


# Take packages away from a process: PYTHONPATH has a folder with this as sitecustomize.py, and GONE the names.
MISSING = """
import importlib.metadata, os, sys

gone = os.environ["GONE"].split(",")
found = importlib.metadata.version

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def version(name):
    if name.replace("-", "_") in gone:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path.insert(0, Finder())
importlib.metadata.version = version
"""


@pytest.fixture
def missing(tmp_path: Path) -> str:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "sitecustomize.py").write_text(MISSING)
    return str(tmp_path / "missing")


@pytest.mark.parametrize("logger", ["wandb", *sweep("comet", "mlflow", "tensorboard")])
def test_a_logger_that_is_not_installed_is_named_with_the_command(
    all_loggers: Path, missing: str, logger: str
) -> None:
    before = files(all_loggers)
    options = [f"--trainer.logger=lightning.pytorch.loggers.{CLASSES[logger]}"]
    options += ["--trainer.logger.save_dir=logs"] * (logger == "tensorboard")  # which requires it
    done = run(all_loggers, "fit", *DIGITS, *options, PYTHONPATH=missing, GONE=PACKAGES[logger])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set to")]
    package = PACKAGES[logger].split(",")[0].replace("_", "-")
    assert re.fullmatch(f"error: .*pip install -U '{package}\\b.*", line), line
    assert files(all_loggers) == before


@pytest.mark.parametrize("logger", ["comet", *sweep("mlflow")])
def test_a_package_that_the_projects_own_logger_needs_is_named(
    all_loggers: Path, missing: str, logger: str
) -> None:
    options = "-c", f"configs/logger/{logger}.yaml"
    done = run(all_loggers, "fit", *DIGITS, *options, PYTHONPATH=missing, GONE=PACKAGES[logger])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set to")]
    assert line.startswith("error: ")
    assert re.search(rf"{PACKAGES[logger].replace('_', '.')}.*pip install", line), line


@pytest.mark.parametrize("where", ["import", "load"])
def test_a_package_that_a_data_module_needs_is_named(
    all_loggers: Path, tmp_path: Path, where: str
) -> None:
    project = shutil.copytree(all_loggers, tmp_path / "my-project")
    before, inside = (
        ("import nowhere\n", "") if where == "import" else ("", "        import nowhere\n")
    )
    code = f"""
{before}
from .digits import DigitsDataModule


class Pictures(DigitsDataModule):
    def load(self, train):
{inside}        return super().load(train)
"""
    (project / "src" / "my_project" / "data_modules" / "pictures.py").write_text(code)
    options = "--data=my_project.data_modules.pictures.Pictures", "--trainer.logger=false"
    line = fail(project, "fit", *DIGITS[2:], *QUIET, *options)
    assert line.endswith("(is it installed? pip install -e .)"), line
    assert "No module named 'nowhere'" in line
    if where == "import":
        assert line.startswith("src/my_project/data_modules/pictures.py, line 2: "), line
        assert "(data is my_project.data_modules.pictures.Pictures)" in line
