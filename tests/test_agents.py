"""The tooling choice `agents`: by AGENTS.md alone, a dataset is added that passes every check."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.commands import DIGITS, succeed
from helpers.server import Server
from helpers.template import Render, choices_of, fits, git
from helpers.updates import conflicts, update

# What a reader of the recipe writes. `{imports}` is the line that the recipe gives.
BIRDS = '''"""Birds: pictures that are dark or bright."""

import torch

{imports}


class BirdsDataModule(InMemoryDataModule):
    """Two classes of pictures of 16x16 pixels."""

    num_classes = 2
    input_shape = (1, 16, 16)
    mean = 0.45
    std = 0.3

    def load(self, train: bool) -> ImageTensors:
        """Return 200 images for training and validation, or 50 for testing."""
        count = 200 if train else 50
        generator = torch.Generator().manual_seed(int(train))
        labels = torch.arange(count) % 2
        noise = torch.randint(0, 100, (count, 1, 16, 16), generator=generator)
        images = noise + 150 * labels.view(-1, 1, 1, 1)
        return ImageTensors(images.byte(), labels)
'''


@pytest.fixture(scope="module")
def with_birds(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to which a dataset was added as AGENTS.md says."""
    rendered = render(datasets=["digits"])
    project = shutil.copytree(rendered, tmp_path_factory.mktemp("agents") / "project")
    text = (project / "AGENTS.md").read_text()
    imports = re.search(r"`(from \.in_memory import [^`]*)`", text)
    (config,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    module, path = (
        re.search(pattern, text)
        for pattern in (r"`(src/\S+/birds\.py)`", r"`(configs/data/birds\.yaml)`")
    )
    assert imports and module and path
    (project / module[1]).write_text(BIRDS.format(imports=imports[1]))
    (project / path[1]).write_text(config)
    return project


def commands(project: Path) -> list[str]:
    """Return the commands of AGENTS.md."""
    text = (project / "AGENTS.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "".join(blocks).splitlines()


def test_every_command_passes_after_a_dataset_was_added(with_birds: Path, warm: Server) -> None:
    checks = [line.split() for line in commands(with_birds)]
    assert [check[0] for check in checks] == ["ruff", "ruff", "mypy", "pytest", "python", "python"]
    for check in checks[:4]:
        of_birds = ["-k", "birds"] if check == ["pytest"] else []  # test_readme.py runs them all
        done = warm.run(with_birds, "-m", *check, *of_birds)
        assert done.returncode == 0, done.stdout + done.stderr
        if of_birds:
            assert " passed" in done.stdout and "skipped" not in done.stdout
    succeed(with_birds, *checks[4][2:])
    assert not list((with_birds / "logs").glob("*/")), "it leaves no run behind"
    printed = yaml.safe_load(succeed(with_birds, *checks[5][2:]))
    assert printed["trainer"]["max_epochs"] == 3


def test_the_dataset_trains(with_birds: Path) -> None:
    data = ("-c", "configs/data/birds.yaml", *DIGITS[2:])
    output = succeed(with_birds, "fit", *data, "--name=birds", "--test_after_fit=true")
    accuracy = re.search(r"test/acc\W+([\d.]+)", output)
    assert accuracy and float(accuracy[1]) > 0.9


def test_what_it_names_is_there(render: Render) -> None:
    project = render(tooling=choices_of("tooling"), datasets=choices_of("datasets"))
    text = re.sub(r"(?s)```.*?```", "", (project / "AGENTS.md").read_text())
    named = re.findall(r"`([\w./]+(?:/|\.(?:md|py|toml|yaml)))`", text)
    later = {"configs/local.yaml", "config.yaml"}  # what the user writes, and what a run has
    for name in {name for name in named if "birds" not in name} - later:
        places = (project, project / "src" / "my_project")
        assert any((place / name).exists() for place in places), name
    assert all(f"`{name}`" in text for name in ("tools/", "engine/", "utils/"))


@pytest.mark.parametrize("dataset", choices_of("datasets"))
def test_its_commands_name_configs_of_the_project(dataset: str, render: Render) -> None:
    model = next(model for model in choices_of("models") if fits(dataset, model))
    project = render(datasets=[dataset], models=[model])
    for command in commands(project):
        for config in re.findall(r"-c (\S+)", command):
            assert (project / config).exists()


def test_an_update_adds_it_only_if_asked_and_keeps_an_owners_own(
    started: Callable[..., Path],
) -> None:
    project = started("v0.2.0")
    (project / "AGENTS.md").write_text("# Mine\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Mine")
    update(project)
    assert (project / "AGENTS.md").read_text() == "# Mine\n"
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Update")
    update(project, tooling=["agents"])
    assert conflicts(project) == {"AGENTS.md"}
    merged = (project / "AGENTS.md").read_text()
    assert "# Mine\n" in merged and "## Layout" in merged
