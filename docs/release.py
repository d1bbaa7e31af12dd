"""Release the template: `make release VERSION=1.2.3`.

Runs the tests of updates, gives what is new in CHANGELOG.md the version as its heading, keeps the released template as
a git bundle in tests/releases/, commits and tags. Nothing is written before the tests have passed.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ROOT / "tests" / "releases"
RELEASED = ("CHANGELOG.md", "copier.yml", "includes", "template")  # all that Copier reads
NEW = "## Unreleased\n"


def git(folder: Path, *args: str) -> str:
    """Run git in a folder and return what it prints."""
    return subprocess.run(
        ["git", *args], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def releases() -> list[str]:
    """The tags of which there are bundles, oldest first."""
    return sorted((path.stem for path in BUNDLES.glob("v*.bundle")), key=Version)


def history(folder: Path) -> None:
    """Make a repository of all releases: one commit with an annotated tag for each, the newest checked out."""
    git(folder, "init", "--quiet")
    for tag in releases():
        git(
            folder,
            "fetch",
            "--quiet",
            str(BUNDLES / f"{tag}.bundle"),
            f"refs/tags/{tag}:refs/tags/{tag}",
        )
    if releases():
        git(folder, "reset", "--quiet", "--hard", releases()[-1])


def problem(version: str, changelog: str) -> str | None:
    """What stands against a release of this version, in one line."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        return f'"{version}" is no version: it has three numbers, for instance make release VERSION=1.2.3.'
    tags = {*releases(), *git(ROOT, "tag", "--list", "v*").splitlines()}
    newest = max(tags, key=Version, default="v0.0.0")
    if Version(version) <= Version(newest):
        return f"{version} does not come after {newest}, the newest release."
    if git(ROOT, "status", "--porcelain"):
        return "There are changes that are not committed: commit them, or put them away with git stash."
    if not re.search(f"^{NEW}\n- ", changelog, re.MULTILINE):
        return (
            'CHANGELOG.md has nothing under "## Unreleased": write there what changes in a project.'
        )
    return None


def main() -> None:  # noqa: PLR0915
    """Release the version that is the argument."""
    version = "".join(sys.argv[1:])
    changelog = (ROOT / "CHANGELOG.md").read_text()
    if line := problem(version, changelog):
        sys.exit(f"error: {line}")
    updates = sorted(str(path) for path in (ROOT / "tests").glob("test_update*.py"))
    tests = ["tests/test_template.py", *updates]
    if subprocess.run([sys.executable, "-m", "pytest", "-m", "", *tests], cwd=ROOT).returncode:
        sys.exit("error: The tests fail, see above; nothing is released.")

    tag, older = f"v{version}", releases()
    changelog = changelog.replace(NEW, f"## {version} ({date.today()})\n", 1)
    (ROOT / "CHANGELOG.md").write_text(changelog)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        history(copy)
        if older:
            git(copy, "rm", "-r", "--quiet", ".")
        for name in git(ROOT, "ls-files", *RELEASED).splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        git(copy, "add", "--all", "--force")
        git(copy, "commit", "--quiet", "--message", tag)
        git(copy, "tag", "--annotate", tag, "--message", tag)
        BUNDLES.mkdir(exist_ok=True)
        bundle = BUNDLES / f"{tag}.bundle"
        git(
            copy,
            "bundle",
            "create",
            "--quiet",
            str(bundle),
            tag,
            *(f"^{release}" for release in older[-1:]),
        )
    git(ROOT, "add", "CHANGELOG.md", str(bundle))
    git(ROOT, "commit", "--quiet", "--message", f"Release {tag}")
    git(ROOT, "tag", "--annotate", tag, "--message", f"{tag}: see CHANGELOG.md")
    print(f"Released {tag}. To publish it: git push --follow-tags")


if __name__ == "__main__":
    main()
