"""Which project and server are asked, and what fails."""

import os
from pathlib import Path

import pytest
from helpers.wandb_server import Project, Server


def test_a_config_that_is_wrong_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    (wandb_cache_project.root / "configs" / "local.yaml").write_text("trainer: [")
    wandb_cache_project.assert_refuses(because="configs/local.yaml")


def test_unknown_project_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.projects = {}
    wandb_cache_project.assert_refuses()


def test_project_option_wins_over_the_configs(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.projects = {"team/other": [[]]}
    run = wandb_cache_project.add("baseline/elsewhere", logger="project: other, entity: team")
    wandb_cache_project.clear("--yes", "--project", "team/other")
    assert not run.exists()
    assert deleted_run.exists()


def test_unknown_project_option_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    wandb_cache_project.assert_refuses("--project", "you/demo", because="you/demo")


def test_project_is_found_among_several_loggers(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    loggers = "[{class_path: CSVLogger, init_args: {name: x}}, {class_path: WandbLogger, init_args: {project: demo}}]"
    (wandb_cache_project.root / "configs" / "default.yaml").write_text(
        f"trainer: {{logger: {loggers}}}"
    )
    wandb_cache_project.clear("--yes")
    assert not deleted_run.exists()


def test_local_config_overrides_the_default_one(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.projects = {"team/demo": [[]]}
    (wandb_cache_project.root / "configs" / "local.yaml").write_text(
        "trainer: {logger: {init_args: {entity: team}}}"
    )
    run = wandb_cache_project.add("baseline/ours", logger="project: demo, entity: team")
    wandb_cache_project.clear("--yes")
    assert not run.exists()
    assert deleted_run.exists()


@pytest.mark.parametrize(
    "config", ["", "trainer: {logger: false}", "trainer: {logger: {class_path: CSVLogger}}"]
)
def test_configs_without_project_delete_nothing(
    wandb_cache_project: Project, deleted_run: Path, config: str
) -> None:
    (wandb_cache_project.root / "configs" / "default.yaml").write_text(config)
    wandb_cache_project.assert_refuses(because="--project ENTITY/PROJECT")


def test_unreachable_server_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.shutdown()
    wandb_server.server_close()
    wandb_cache_project.assert_refuses()


def test_failing_server_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.status = 500
    wandb_cache_project.assert_refuses()


def test_wrong_api_key_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.status = 401
    wandb_cache_project.assert_refuses()


def test_failure_at_the_second_page_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.status_of_page_2 = 403
    wandb_cache_project.assert_refuses()


def test_incomplete_list_deletes_nothing(
    wandb_cache_project: Project, deleted_run: Path, wandb_server: Server
) -> None:
    wandb_server.missing_in_list = 1
    wandb_cache_project.assert_refuses(because="listed 2 of 3 runs")


def test_no_api_key_deletes_nothing(wandb_cache_project: Project, deleted_run: Path) -> None:
    del wandb_cache_project.env["WANDB_API_KEY"]
    wandb_cache_project.assert_refuses()


def test_no_api_key_is_not_asked_for_at_a_terminal(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    del wandb_cache_project.env["WANDB_API_KEY"]
    terminal, tty = os.openpty()
    assert wandb_cache_project.clear("--yes", stdin=tty, stdout=tty, stderr=tty).returncode == 1
    assert "cannot ask W&B about" in os.read(terminal, 4096).decode()
    os.close(terminal)
    os.close(tty)
    assert deleted_run.exists()


def test_api_key_and_server_may_be_in_the_env_file(
    wandb_cache_project: Project, deleted_run: Path
) -> None:
    settings = (
        f"{key}={wandb_cache_project.env.pop(key)}\n" for key in ("WANDB_BASE_URL", "WANDB_API_KEY")
    )
    (wandb_cache_project.root / ".env").write_text("".join(settings))
    wandb_cache_project.clear("--yes")
    assert not deleted_run.exists()
