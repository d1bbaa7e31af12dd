"""scripts/clear_wandb_cache.py removes what was deleted on the W&B server, here a fake one, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = Path(__file__).parents[1] / "template"
SCRIPT = TEMPLATE / "scripts" / "clear_wandb_cache.py"
# What of the package knows where the runs are
MODULES = (
    "__init__.py",
    "engine/__init__.py",
    "engine/run_directory.py",
    "utils/__init__.py",
    "utils/project.py",
)
LOGGER = (
    "trainer: {{logger: {{class_path: lightning.pytorch.loggers.WandbLogger, init_args: {{{}}}}}}}"
)


class Server(ThreadingHTTPServer):
    """Answers the queries of wandb.Api(): `projects` has the pages of run ids of each project."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.projects = {"me/demo": [["first"], ["second"]]}
        self.status = self.status_of_page_2 = 200
        self.missing_in_list = 0
        self.while_asked: Callable[[], object] = lambda: None

    def answer(self, query: str, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "runs(" not in query:
            return self.status, {"viewer": {"id": "1", "username": "me", "entity": "me"}}
        self.while_asked()
        pages = self.projects.get(f"{variables['entity']}/{variables['project']}")
        if pages is None:
            return self.status, {"project": None}
        page = int(variables["cursor"] or 0)
        nodes = [
            {"id": name, "name": name, "projectId": "1", "state": "finished"}
            for name in pages[page]
        ]
        runs = {
            "edges": [{"node": node, "cursor": str(page + 1)} for node in nodes],
            "pageInfo": {"endCursor": str(page + 1), "hasNextPage": page + 1 < len(pages)},
        }
        count = sum(map(len, pages)) + self.missing_in_list
        return self.status_of_page_2 if page else self.status, {
            "project": {"runCount": count, "runs": runs}
        }


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request: dict[str, Any] = (
            json.loads(body) if self.path == "/graphql" else {"query": "telemetry"}
        )
        status, data = self.server.answer(request["query"], request.get("variables") or {})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(
            json.dumps(
                {"data": data} if status == 200 else {"errors": [{"message": "no"}]}
            ).encode()
        )

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


class Project:
    """A project with the script and the environment to run it in."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        for folder in ("configs", "home", "logs", "scripts"):
            (root / folder).mkdir(parents=True)
        (root / ".project-root").touch()
        (root / "configs" / "default.yaml").write_text(
            LOGGER.format("project: demo, offline: true")
        )
        shutil.copy(SCRIPT, root / "scripts")
        for module in MODULES:
            copy = root / "src" / "demo" / module
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / "src" / "{{package_name}}" / module, copy)
        self.env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("WANDB_", "NETRC"))
        }
        self.env |= {
            "HOME": str(root / "home"),
            "WANDB_DIR": str(root / "home"),
            "NO_PROXY": "127.0.0.1",
        }
        self.env |= {
            "WANDB_BASE_URL": url,
            "WANDB_API_KEY": "0123456789" * 4,
            "WANDB_ERROR_REPORTING": "false",
        }

    def add(self, run: str, *folders: str, logger: str = "project: demo, entity: null") -> Path:
        """Make a run's directory in logs/; without `folders`, with that of an online run."""
        directory = self.root / "logs" / run
        for folder in folders or (f"wandb/run-20260101_120000-{directory.name}",):
            (directory / folder).mkdir(parents=True)
        (directory / "checkpoints").mkdir(parents=True)
        (directory / "checkpoints" / "best.ckpt").write_bytes(bytes(2_500_000))
        (directory / "config.yaml").write_text(LOGGER.format(logger))
        return directory

    def clear(self, *args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.root / "scripts" / SCRIPT.name), *args]
        kwargs = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | kwargs
        return subprocess.run(command, cwd=self.root, env=self.env, text=True, timeout=60, **kwargs)

    def clear_answering(self, answer: str) -> subprocess.CompletedProcess[str]:
        terminal, stdin = os.openpty()
        os.write(terminal, answer.encode())
        try:
            return self.clear(stdin=stdin)
        finally:
            os.close(terminal)
            os.close(stdin)

    def assert_keeps(self, *runs: Path) -> None:
        """Assert that the script keeps these runs, and removes a deleted one beside them."""
        deleted = self.add("beside/gone")
        done = self.clear("--yes")
        assert done.returncode == 0, done.stderr
        assert not deleted.exists()
        assert all((run / "checkpoints" / "best.ckpt").exists() for run in runs)

    def assert_refuses(self, *args: str, because: str = "cannot ask W&B about") -> None:
        """Assert that the script ends with one line about the reason and removes nothing."""
        before = sorted(self.root.glob("logs/**/*"))
        done = self.clear("--yes", *args)
        assert done.returncode == 1
        assert because in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not done.stdout
        assert before == sorted(self.root.glob("logs/**/*"))


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Project:
    return Project(tmp_path / "project", f"http://127.0.0.1:{server.server_port}")


@pytest.fixture
def deleted(project: Project) -> Path:
    """The directory of a run that the server no longer has."""
    return project.add("baseline/deleted")


def test_deleted_run_is_removed_and_those_on_both_pages_stay(
    project: Project, deleted: Path
) -> None:
    on_server = [project.add("baseline/first"), project.add("other/second")]
    done = project.clear("--yes")
    assert done.stdout.splitlines() == [
        "logs/baseline/deleted  2.5 MB",
        "Run directories removed: 1, freed: 2.5 MB",
    ]
    assert not done.stderr
    assert not deleted.exists()
    assert all((run / "checkpoints" / "best.ckpt").exists() for run in on_server)


def test_empty_project_has_lost_all_its_runs(
    project: Project, deleted: Path, server: Server
) -> None:
    server.projects = {"me/demo": [[]]}
    project.clear("--yes")
    assert not deleted.exists()


def test_second_call_finds_nothing_more(project: Project, deleted: Path) -> None:
    project.clear("--yes")
    assert project.clear("--yes").stdout == "Run directories removed: 0, freed: 0.0 MB\n"


# Asking first


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=["n", "enter", "ctrl-d"])
def test_no_at_the_terminal_deletes_nothing(project: Project, deleted: Path, answer: str) -> None:
    done = project.clear_answering(answer)
    assert "logs/baseline/deleted  2.5 MB" in done.stdout
    assert "[y/N]" in done.stdout
    assert "Nothing was removed" in done.stdout
    assert not done.stderr
    assert deleted.exists()


def test_yes_at_the_terminal_deletes(project: Project, deleted: Path) -> None:
    project.clear_answering("y\n")
    assert not deleted.exists()


def test_end_of_input_deletes_nothing(project: Project, deleted: Path) -> None:
    assert "Nothing was removed" in project.clear().stdout
    assert deleted.exists()


def test_piped_yes_deletes_nothing(project: Project, deleted: Path) -> None:
    assert "Nothing was removed" in project.clear(stdin=None, input="y\n").stdout
    assert deleted.exists()


# What stays


def test_run_that_is_not_synced_is_kept(project: Project) -> None:
    run = project.add("baseline/offline", "wandb/offline-run-20260101_120000-offline")
    project.assert_keeps(run)


def test_synced_run_that_was_deleted_is_removed(project: Project) -> None:
    run = project.add("baseline/offline", folder := "wandb/offline-run-20260101_120000-offline")
    (run / folder / "run-offline.wandb.synced").touch()
    project.clear("--yes")
    assert not run.exists()


def test_run_with_a_test_that_is_not_synced_is_kept(project: Project) -> None:
    test = "test-20260102-120000-abcdef/wandb/offline-run-20260102_120000-run"
    run = project.add("baseline/run", "wandb/run-20260101_120000-run", test)
    project.assert_keeps(run)


def test_run_without_wandb_folder_is_kept(project: Project) -> None:
    run = project.add("baseline/csv", "plots")
    project.assert_keeps(run)


def test_renamed_run_directory_is_kept(project: Project) -> None:
    run = project.add("baseline/my_best", "wandb/run-20260101_120000-first")
    project.assert_keeps(run)


@pytest.mark.parametrize("logger", ["project: other", "project: demo, entity: team", ""])
def test_run_of_another_project_is_kept(project: Project, logger: str) -> None:
    run = project.add("baseline/elsewhere", logger=logger)
    project.assert_keeps(run)


def test_run_that_starts_while_the_server_is_asked_is_kept(
    project: Project, server: Server
) -> None:
    server.projects = {"me/demo": [[]]}
    server.while_asked = lambda: project.add("baseline/new")
    project.assert_keeps(project.root / "logs" / "baseline" / "new")


def test_keep_list_keeps_by_run_id_and_by_name(project: Project) -> None:
    kept = [
        project.add(run) for run in ("baseline/paper", "thesis/one", "thesis/two", "final/three")
    ]
    (project.root / "logs" / "keep.txt").write_text(
        "# do not touch\n\npaper # table 2\nthesis\nlogs/final/\n"
    )
    project.assert_keeps(*kept)


def test_links_are_not_followed_out_of_logs(
    project: Project, deleted: Path, tmp_path: Path
) -> None:
    logs = project.root / "logs"
    (logs / "baseline").rename(tmp_path / "outside")
    (logs / "linked_name").symlink_to(tmp_path / "outside")
    (logs / "name").mkdir()
    (logs / "name" / "deleted").symlink_to(tmp_path / "outside" / "deleted")
    inside = project.add("name/inside")
    (inside / "data").symlink_to(tmp_path / "outside")
    done = project.clear("--yes")
    assert done.stdout.splitlines()[0] == "logs/name/inside  2.5 MB"
    assert not inside.exists()
    assert (tmp_path / "outside" / "deleted" / "checkpoints" / "best.ckpt").exists()


# Where the runs are


@pytest.mark.parametrize("by", ["local.yaml", "option"])
def test_runs_on_another_disk_are_found(
    project: Project, deleted: Path, tmp_path: Path, by: str
) -> None:
    disk = tmp_path / "disk"
    (project.root / "logs").rename(disk)
    shutil.copytree(disk / "baseline" / "deleted", disk / "baseline" / "kept")
    (disk / "baseline" / "kept" / "wandb" / "run-20260101_120000-deleted").rename(
        disk / "baseline" / "kept" / "wandb" / "run-20260101_120000-kept"
    )
    (disk / "keep.txt").write_text("kept\n")
    option = [f"--trainer.default_root_dir={disk}"]
    if by == "local.yaml":
        option = []
        local = f"trainer: {{default_root_dir: {disk}}}"
        (project.root / "configs" / "local.yaml").write_text(local)
    done = project.clear("--yes", *option)
    assert done.stdout.splitlines()[0] == f"{disk}/baseline/deleted  2.5 MB"
    assert [path.name for path in (disk / "baseline").iterdir()] == ["kept"]


def test_a_config_that_is_wrong_deletes_nothing(project: Project, deleted: Path) -> None:
    (project.root / "configs" / "local.yaml").write_text("trainer: [")
    project.assert_refuses(because="configs/local.yaml")


# Which project


def test_unknown_project_deletes_nothing(project: Project, deleted: Path, server: Server) -> None:
    server.projects = {}
    project.assert_refuses()


def test_project_option_wins_over_the_configs(
    project: Project, deleted: Path, server: Server
) -> None:
    server.projects = {"team/other": [[]]}
    run = project.add("baseline/elsewhere", logger="project: other, entity: team")
    project.clear("--yes", "--project", "team/other")
    assert not run.exists()
    assert deleted.exists()


def test_unknown_project_option_deletes_nothing(project: Project, deleted: Path) -> None:
    project.assert_refuses("--project", "you/demo", because="you/demo")


def test_project_is_found_among_several_loggers(project: Project, deleted: Path) -> None:
    loggers = "[{class_path: CSVLogger, init_args: {name: x}}, {class_path: WandbLogger, init_args: {project: demo}}]"
    (project.root / "configs" / "default.yaml").write_text(f"trainer: {{logger: {loggers}}}")
    project.clear("--yes")
    assert not deleted.exists()


def test_local_config_overrides_the_default_one(
    project: Project, deleted: Path, server: Server
) -> None:
    server.projects = {"team/demo": [[]]}
    (project.root / "configs" / "local.yaml").write_text(
        "trainer: {logger: {init_args: {entity: team}}}"
    )
    run = project.add("baseline/ours", logger="project: demo, entity: team")
    project.clear("--yes")
    assert not run.exists()
    assert deleted.exists()


@pytest.mark.parametrize(
    "config", ["", "trainer: {logger: false}", "trainer: {logger: {class_path: CSVLogger}}"]
)
def test_configs_without_project_delete_nothing(
    project: Project, deleted: Path, config: str
) -> None:
    (project.root / "configs" / "default.yaml").write_text(config)
    project.assert_refuses(because="--project ENTITY/PROJECT")


# Servers that cannot be asked


def test_unreachable_server_deletes_nothing(
    project: Project, deleted: Path, server: Server
) -> None:
    server.shutdown()
    server.server_close()
    project.assert_refuses()


def test_failing_server_deletes_nothing(project: Project, deleted: Path, server: Server) -> None:
    server.status = 500
    project.assert_refuses()


def test_wrong_api_key_deletes_nothing(project: Project, deleted: Path, server: Server) -> None:
    server.status = 401
    project.assert_refuses()


def test_failure_at_the_second_page_deletes_nothing(
    project: Project, deleted: Path, server: Server
) -> None:
    server.status_of_page_2 = 403
    project.assert_refuses()


def test_incomplete_list_deletes_nothing(project: Project, deleted: Path, server: Server) -> None:
    server.missing_in_list = 1
    project.assert_refuses(because="listed 2 of 3 runs")


def test_no_api_key_deletes_nothing(project: Project, deleted: Path) -> None:
    del project.env["WANDB_API_KEY"]
    project.assert_refuses()


def test_no_api_key_is_not_asked_for_at_a_terminal(project: Project, deleted: Path) -> None:
    del project.env["WANDB_API_KEY"]
    terminal, tty = os.openpty()
    assert project.clear("--yes", stdin=tty, stdout=tty, stderr=tty).returncode == 1
    assert "cannot ask W&B about" in os.read(terminal, 4096).decode()
    os.close(terminal)
    os.close(tty)
    assert deleted.exists()


def test_api_key_and_server_may_be_in_the_env_file(project: Project, deleted: Path) -> None:
    settings = (f"{key}={project.env.pop(key)}\n" for key in ("WANDB_BASE_URL", "WANDB_API_KEY"))
    (project.root / ".env").write_text("".join(settings))
    project.clear("--yes")
    assert not deleted.exists()
