"""Names of packages: renamed, refused, and all that a project can import."""

import re
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from helpers.project_in_use import MARK
from helpers.template import ROOT, Render, git
from helpers.updates import ANSWERS, EVERYTHING, RELEASES, commit, contents, copy, update
from packaging.requirements import Requirement


def test_a_renamed_package_is_updated_under_its_new_name(owned: Callable[..., Path]) -> None:
    project = owned()
    git(project, "mv", "src/my_project", "src/core")
    for name in git(project, "grep", "-lw", "my_project", "--", ".", f":!{ANSWERS}").splitlines():
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"my_project", b"core"))
    commit(project)
    before = contents(project)
    with pytest.raises(ValueError) as caught:
        update(project)
    assert "write its new name as package_name into .copier-answers.yml" in str(caught.value)
    path = project / ANSWERS
    path.write_text(path.read_text().replace("package_name: my_project", "package_name: core"))
    commit(project)
    update(project)
    assert not (project / "src" / "my_project").exists()
    assert (project / "src" / "core" / "engine" / "__init__.py").exists()
    after = contents(project)
    assert MARK in after["src/core/cli.py"].decode()
    assert after["src/core/models/mine.py"] == before["src/core/models/mine.py"]


def test_a_project_whose_name_is_refused_by_now_can_be_updated(
    template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / "box", RELEASES[-1])
    update(project)
    assert (project / "src" / "box" / "engine" / "__init__.py").exists()


def installed(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that requirements bring, of those that are installed here."""
    found: set[str] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for extra in ("", *requirement.extras):
            key = f"{name}[{extra}]"
            if key not in found:
                found.add(key)
                try:
                    waiting += [(needed, extra) for needed in distribution(name).requires or []]
                except PackageNotFoundError:
                    break
    return {key.partition("[")[0] for key in found}


def test_names_of_all_that_a_project_can_import_are_refused(render: Render) -> None:
    project = render(
        **{name: answer for name, answer in EVERYTHING.items() if name != "readme_language"}
    )
    content = tomllib.loads((project / "pyproject.toml").read_text())
    groups = content["dependency-groups"].values()
    brought = installed(
        [*content["project"]["dependencies"], *(text for texts in groups for text in texts)]
    )
    modules = {
        module.lower()
        for module, names in packages_distributions().items()
        if brought & {name.lower().replace("_", "-") for name in names}
    }
    modules |= {path.stem for path in (project / "tests").glob("*.py")}
    possible = {module for module in modules if re.fullmatch("[a-z][a-z0-9_]{0,29}", module)}
    assert {"fsspec", "filelock", "packaging", "typing_extensions", "conftest"} <= possible
    refused = set(re.findall(r"\w+", (ROOT / "includes" / "names.jinja").read_text()))
    assert not possible - refused
    with pytest.raises(ValueError, match="packaging is a module that the project uses"):
        render(package_name="packaging")
    with pytest.raises(ValueError, match="conftest is a module of the project's tests"):
        render(package_name="conftest")
