"""MNIST's files: downloaded from the first mirror that has them whole, never used if they are wrong, never replaced."""

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.commands import fail, succeed

IMAGES, LABELS = (
    torch.arange(30 * 784).remainder(251).byte().view(30, 28, 28),
    torch.arange(30) % 10,
)
NAMES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def idx(values: torch.Tensor) -> bytes:
    """Return a tensor of bytes in MNIST's file format."""
    header = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
    return gzip.compress(header + bytes(values.flatten().tolist()))


FILES = dict(
    zip(NAMES, map(idx, (IMAGES[:20], LABELS[:20], IMAGES[20:], LABELS[20:])), strict=True)
)


class Handler(BaseHTTPRequestHandler):
    """The first folder of the path says what the mirror is like: good, missing, broken or wrong."""

    server: "Server"

    def do_GET(self) -> None:
        mirror, name = self.path.strip("/").split("/")
        self.server.requests.append((mirror, name))
        body = FILES[name]
        if mirror == "missing":
            self.send_error(404)
            return
        if mirror == "wrong":
            body = idx(IMAGES[:3])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mirror == "broken" else body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Several mirrors, and what has been asked of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []

    def url(self, mirror: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{mirror}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def package(default_project: Path) -> Iterator[Path]:
    """Let tests import the package of a rendered project; return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(default_project / "src"))
        yield default_project / "src" / "my_project"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture
def mnist(package: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The project's module, which takes the small files for MNIST's."""
    mnist = import_module("my_project.data_modules.mnist")
    official = mnist.MNISTDataModule.sha256
    assert official.keys() == FILES.keys()
    for name, content in FILES.items():
        monkeypatch.setitem(official, name, hashlib.sha256(content).hexdigest())
    assert Path(str(mnist.__file__)).is_relative_to(package)
    return mnist


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mnist"


def prepare(mnist: ModuleType, folder: Path, *mirrors: str) -> Any:
    """Download what is missing and return the data module."""
    data = mnist.MNISTDataModule(data_dir=str(folder.parent), mirrors=mirrors, val_size=5)
    data.prepare_data()
    return data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def refuse(mnist: ModuleType, folder: Path, *mirrors: str) -> str:
    """See the files refused and return the one line that says why."""
    with pytest.raises(ValueError) as caught:
        prepare(mnist, folder, *mirrors)
    assert type(caught.value).__name__ == "UserError"
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_missing_files_are_downloaded_and_loaded(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    data = prepare(mnist, folder, server.url("good"))
    assert contents(folder) == FILES
    for train, part in ((True, slice(0, 20)), (False, slice(20, 30))):
        images, labels = data.load(train).tensors
        assert images.dtype == torch.uint8 and torch.equal(images, IMAGES[part].unsqueeze(1))
        assert labels.dtype == torch.int64 and torch.equal(labels, LABELS[part])
    data.setup("fit")
    data.setup("test")
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [15, 5, 10]


def test_a_mirror_may_be_given_without_a_slash_at_the_end(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    prepare(mnist, folder, server.url("good").rstrip("/"))
    assert contents(folder) == FILES


@pytest.mark.parametrize("mirror", ["missing", "broken", "wrong"])
def test_the_second_mirror_helps_where_the_first_fails(
    mnist: ModuleType, folder: Path, server: Server, mirror: str
) -> None:
    prepare(mnist, folder, server.url(mirror), server.url("good"))
    assert contents(folder) == FILES
    assert server.requests == [(which, name) for name in NAMES for which in (mirror, "good")]


def test_the_second_mirror_helps_where_nobody_listens(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    prepare(mnist, folder, "http://127.0.0.1:9/", server.url("good"))
    assert contents(folder) == FILES


def test_the_second_mirror_is_not_asked_in_vain(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    prepare(mnist, folder, server.url("good"), server.url("missing"))
    assert server.requests == [("good", name) for name in NAMES]


def test_one_line_names_the_file_and_all_mirrors_that_fail(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    mirrors = [server.url(mirror) for mirror in ("missing", "broken", "wrong")]
    line = refuse(mnist, folder, *mirrors)
    assert line.startswith(f"cannot download {NAMES[0]}")
    assert all(mirror in line for mirror in mirrors)
    assert os.path.relpath(folder) in line or str(folder) in line
    assert contents(folder) == {}, "neither a file nor a part of one"


def test_what_has_been_downloaded_stays_when_a_later_file_fails(
    mnist: ModuleType, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mnist.MNISTDataModule.sha256, NAMES[1], "0" * 64)
    assert NAMES[1] in refuse(mnist, folder, server.url("good"))
    assert contents(folder) == {NAMES[0]: FILES[NAMES[0]]}


def test_only_missing_files_are_downloaded(mnist: ModuleType, folder: Path, server: Server) -> None:
    folder.mkdir()
    for name in NAMES[:3]:
        (folder / name).write_bytes(FILES[name])
    prepare(mnist, folder, server.url("good"))
    assert server.requests == [("good", NAMES[3])]
    assert contents(folder) == FILES


def test_no_mirror_is_asked_where_all_files_are(
    mnist: ModuleType, folder: Path, server: Server
) -> None:
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(FILES[name])
    prepare(mnist, folder, server.url("good"))
    assert not server.requests


@pytest.mark.parametrize("content", [b"", b"an error page", FILES[NAMES[2]][:-1]])
def test_a_wrong_file_is_named_and_left_alone(
    mnist: ModuleType, folder: Path, server: Server, content: bytes
) -> None:
    folder.mkdir()
    (folder / NAMES[2]).write_bytes(content)
    line = refuse(mnist, folder, server.url("good"))
    assert NAMES[2] in line and "SHA-256" in line
    assert contents(folder)[NAMES[2]] == content


# On the command line --------------------------------------------------------------------------------------------------

CONFIGS = ("-c", "configs/data/mnist.yaml", "-c", "configs/model/simplenet.yaml")
COUNT = """
from my_project.data_modules.mnist import MNISTDataModule

data = MNISTDataModule()
data.prepare_data()
data.setup("fit")
data.setup("test")
print(len(data.train_set), len(data.val_set), len(data.test_set))
"""


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every request to where nobody listens."""
    for name, value in {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_offline")
def test_without_files_and_network_the_command_says_so_in_one_line(project: Path) -> None:
    line = fail(project, "fit", *CONFIGS)
    assert line.startswith(f"cannot download {NAMES[0]}") and "put it into data/mnist" in line
    assert [path.name for path in (project / "logs").iterdir()] == [".gitkeep"]


@pytest.mark.usefixtures("_offline")
@pytest.mark.skipif(
    "MNIST_DIR" not in os.environ, reason="MNIST_DIR does not name the folder of the official files"
)
def test_the_official_files_are_trained_on_without_a_network(project: Path) -> None:
    (project / "data" / "mnist").mkdir()
    for name in NAMES:
        (project / "data" / "mnist" / name).symlink_to(
            Path(os.environ["MNIST_DIR"]).absolute() / name
        )
    options = (
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=100",
        "--trainer.enable_progress_bar=false",
    )
    output = succeed(project, "fit", *CONFIGS, *options, "--test_after_fit=true")
    accuracy = re.search(r"test/acc\W+([\d.]+)", output)
    assert accuracy and float(accuracy[1]) > 0.8
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-c", COUNT]
    counts = subprocess.run(
        command, cwd=project, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert counts.split() == ["54000", "6000", "10000"], (
        "a tenth is held out unless val_size says otherwise"
    )
