"""A server that answers as that of W&B does."""

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

from helpers.template import ROOT

TEMPLATE = ROOT / "template"


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
def wandb_server() -> Iterator[Server]:
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
        return subprocess.run(
            command, cwd=self.root, env=self.env, text=True, timeout=300, **kwargs
        )

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
def wandb_cache_project(tmp_path: Path, wandb_server: Server) -> Project:
    return Project(tmp_path / "project", f"http://127.0.0.1:{wandb_server.server_port}")


@pytest.fixture
def deleted_run(wandb_cache_project: Project) -> Path:
    """The directory of a run that the server no longer has."""
    return wandb_cache_project.add("baseline/deleted")
