"""`copier update` from every release to the working tree brings what is new, and loses nothing."""

import itertools
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from helpers.template import git
from helpers.updates import (
    ANSWERS,
    RELEASES,
    after_update,
    commit,
    conflicts,
    contents,
    undo,
    update,
)


def lines(content: bytes) -> list[str]:
    return content.decode().splitlines(keepends=True)


def edited(old: list[str], new: list[str], mark: str) -> tuple[list[str], list[str], int]:
    """Insert, change and delete a line where the template changes nothing within three lines.

    Returns the old lines with the edits, the new lines with the same edits, and the number of edits.
    """
    places = []
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        first = block.a + (3 if block.a or block.b else 0)
        is_last = block.a + block.size == len(old) and block.b + block.size == len(new)
        places += [
            (i, block.b - block.a)
            for i in range(first, block.a + block.size - (0 if is_last else 3))
        ]
    chosen = (
        [places[i] for i in sorted({len(places) // 6, len(places) // 2, len(places) * 5 // 6})]
        if places
        else []
    )
    chosen = [
        place
        for before, place in itertools.pairwise([(-9, 0), *chosen])
        if place[0] - before[0] > 2
    ]
    mine, expected = [*old], [*new]
    for number, (place, shift) in reversed([*enumerate(chosen)]):
        line = [f"{mark} {number}\n"]
        replaced = [line + old[place : place + 1], line, []][number]
        mine[place : place + 1] = replaced
        expected[place + shift : place + shift + 1] = replaced
    return mine, expected, len(chosen)


def test_there_are_releases_to_update_from() -> None:
    assert RELEASES


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_an_untouched_project_becomes_a_fresh_one(
    started: Callable[..., Path],
    fresh: Callable[[Path], dict[str, bytes]],
    release: str,
    everything: bool,
) -> None:
    project = started(release, everything)
    before = contents(project)
    update(project)
    assert contents(project) == after_update(before, fresh(project))
    commit(project)
    update(project)
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_every_edit_is_kept(
    started: Callable[..., Path],
    fresh: Callable[[Path], dict[str, bytes]],
    release: str,
    everything: bool,
) -> None:
    project = started(release, everything)
    before = contents(project)
    expected = after_update(before, fresh(project))
    for name in before.keys() - {ANSWERS}:
        if not name.endswith(".gz"):
            mine, merged, count = edited(lines(before[name]), lines(expected[name]), "# mine")
            (project / name).write_bytes("".join(mine).encode())
            expected[name] = "".join(merged).encode()
            assert count or before[name] != expected[name] or not before[name], (
                f"{name} is not edited"
            )
    commit(project)
    update(project)
    expected[ANSWERS] = contents(project)[ANSWERS]
    assert contents(project) == expected
    commit(project)
    update(project)
    assert not git(project, "status", "--porcelain")


@pytest.mark.parametrize("release", RELEASES)
def test_where_both_changed_a_line_both_are_kept_and_marked(  # noqa: PLR0915
    started: Callable[..., Path], fresh: Callable[[Path], dict[str, bytes]], release: str
) -> None:
    project = started(release, everything=True)
    before, after = contents(project), after_update(contents(project), fresh(project))
    mine, theirs = {}, {}
    for name in before.keys() - {ANSWERS}:
        if before[name] == after[name]:
            continue
        old, new = lines(before[name]), lines(after[name])
        changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        change = next(change for change in changes if change[0] != "equal")
        mine[name] = f"# mine, in {name}\n"
        beside = (
            change[0] == "insert"
        )  # lines that are only added are in the way of those on both sides
        old[max(change[1] - beside, 0) : change[2] + beside] = [mine[name]]
        theirs[name] = new[change[3] : change[4]]
        (project / name).write_text("".join(old))
    assert mine or release != RELEASES[0], (
        "what is shipped is the first release: there is nothing to test"
    )
    commit(project)
    kept = contents(project)
    update(project)
    assert conflicts(project) == mine.keys()
    for name, line in mine.items():
        text = (project / name).read_text()
        assert line in text
        assert all(line in text for line in theirs[name])
    undo(project)
    assert contents(project) == kept
    update(project, conflict="rej")
    assert {path.name.removesuffix(".rej") for path in project.rglob("*.rej")} == {
        Path(name).name for name in mine
    }
    assert all(f"+{line}" in (project / f"{name}.rej").read_text() for name, line in mine.items())
