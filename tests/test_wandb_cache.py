"""Runs that were deleted on the server of W&B are removed, and no others."""

import shutil
from pathlib import Path

import pytest
from helpers.wandb_server import Project, Server


def test_deleted_run_is_removed_and_those_on_both_pages_stay(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    on_server = [wandb_cache_project.add("baseline/first"), wandb_cache_project.add("other/second")]
    done = wandb_cache_project.clear("--yes")
    assert done.stdout.splitlines() == [
        "logs/baseline/deleted  2.5 MB",
        "Run directories removed: 1, freed: 2.5 MB",
    ]
    assert not done.stderr
    assert not deleted_run.exists()
    assert all((run / "checkpoints" / "best.ckpt").exists() for run in on_server)


def test_empty_project_has_lost_all_its_runs(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.projects = {"me/demo": [[]]}
    wandb_cache_project.clear("--yes")
    assert not deleted_run.exists()


def test_second_call_finds_nothing_more(wandb_cache_project: Project, deleted_run: Path) -> None:
    wandb_cache_project.clear("--yes")
    assert (
        wandb_cache_project.clear("--yes").stdout == "Run directories removed: 0, freed: 0.0 MB\n"
    )


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=["n", "enter", "ctrl-d"])
def test_no_at_the_terminal_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, answer: str
) -> None:
    done = wandb_cache_project.clear_answering(answer)
    assert "logs/baseline/deleted  2.5 MB" in done.stdout
    assert "[y/N]" in done.stdout
    assert "Nothing was removed" in done.stdout
    assert not done.stderr
    assert deleted_run.exists()


def test_yes_at_the_terminal_deletes(wandb_cache_project: Project, deleted_run: Path) -> None:
    wandb_cache_project.clear_answering("y\n")
    assert not deleted_run.exists()


def test_end_of_input_deletes_nothing(wandb_cache_project: Project, deleted_run: Path) -> None:
    assert "Nothing was removed" in wandb_cache_project.clear().stdout
    assert deleted_run.exists()


def test_piped_yes_deletes_nothing(wandb_cache_project: Project, deleted_run: Path) -> None:
    assert "Nothing was removed" in wandb_cache_project.clear(stdin=None, input="y\n").stdout
    assert deleted_run.exists()


def test_run_that_is_not_synced_is_kept(wandb_cache_project: Project) -> None:
    run = wandb_cache_project.add("baseline/offline", "wandb/offline-run-20260101_120000-offline")
    wandb_cache_project.assert_keeps(run)


def test_synced_run_that_was_deleted_is_removed(wandb_cache_project: Project) -> None:
    run = wandb_cache_project.add(
        "baseline/offline", folder := "wandb/offline-run-20260101_120000-offline"
    )
    (run / folder / "run-offline.wandb.synced").touch()
    wandb_cache_project.clear("--yes")
    assert not run.exists()


def test_run_with_a_test_that_is_not_synced_is_kept(wandb_cache_project: Project) -> None:
    test = "test-20260102-120000-abcdef/wandb/offline-run-20260102_120000-run"
    run = wandb_cache_project.add("baseline/run", "wandb/run-20260101_120000-run", test)
    wandb_cache_project.assert_keeps(run)


def test_run_without_wandb_folder_is_kept(wandb_cache_project: Project) -> None:
    run = wandb_cache_project.add("baseline/csv", "plots")
    wandb_cache_project.assert_keeps(run)


def test_renamed_run_directory_is_kept(wandb_cache_project: Project) -> None:
    run = wandb_cache_project.add("baseline/my_best", "wandb/run-20260101_120000-first")
    wandb_cache_project.assert_keeps(run)


@pytest.mark.parametrize("logger", ["project: other", "project: demo, entity: team", ""])
def test_run_of_another_project_is_kept(wandb_cache_project: Project, logger: str) -> None:
    run = wandb_cache_project.add("baseline/elsewhere", logger=logger)
    wandb_cache_project.assert_keeps(run)


def test_run_that_starts_while_the_server_is_asked_is_kept(
    wandb_cache_project: Project, wandb_server: Server
) -> None:
    wandb_server.projects = {"me/demo": [[]]}
    wandb_server.while_asked = lambda: wandb_cache_project.add("baseline/new")
    wandb_cache_project.assert_keeps(wandb_cache_project.root / "logs" / "baseline" / "new")


def test_keep_list_keeps_by_run_id_and_by_name(wandb_cache_project: Project) -> None:
    kept = [
        wandb_cache_project.add(run)
        for run in ("baseline/paper", "thesis/one", "thesis/two", "final/three")
    ]
    (wandb_cache_project.root / "logs" / "keep.txt").write_text(
        "# do not touch\n\npaper # table 2\nthesis\nlogs/final/\n"
    )
    wandb_cache_project.assert_keeps(*kept)


def test_links_are_not_followed_out_of_logs(
    wandb_cache_project: Project, deleted_run: Path, tmp_path: Path
) -> None:
    logs = wandb_cache_project.root / "logs"
    (logs / "baseline").rename(tmp_path / "outside")
    (logs / "linked_name").symlink_to(tmp_path / "outside")
    (logs / "name").mkdir()
    (logs / "name" / "deleted").symlink_to(tmp_path / "outside" / "deleted")
    inside = wandb_cache_project.add("name/inside")
    (inside / "data").symlink_to(tmp_path / "outside")
    done = wandb_cache_project.clear("--yes")
    assert done.stdout.splitlines()[0] == "logs/name/inside  2.5 MB"
    assert not inside.exists()
    assert (tmp_path / "outside" / "deleted" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("by", ["local.yaml", "option"])
def test_runs_on_another_disk_are_found(
    wandb_cache_project: Project, deleted_run: Path, tmp_path: Path, by: str
) -> None:
    disk = tmp_path / "disk"
    (wandb_cache_project.root / "logs").rename(disk)
    shutil.copytree(disk / "baseline" / "deleted", disk / "baseline" / "kept")
    (disk / "baseline" / "kept" / "wandb" / "run-20260101_120000-deleted").rename(
        disk / "baseline" / "kept" / "wandb" / "run-20260101_120000-kept"
    )
    (disk / "keep.txt").write_text("kept\n")
    option = [f"--trainer.default_root_dir={disk}"]
    if by == "local.yaml":
        option = []
        local = f"trainer: {{default_root_dir: {disk}}}"
        (wandb_cache_project.root / "configs" / "local.yaml").write_text(local)
    done = wandb_cache_project.clear("--yes", *option)
    assert done.stdout.splitlines()[0] == f"{disk}/baseline/deleted  2.5 MB"
    assert [path.name for path in (disk / "baseline").iterdir()] == ["kept"]
