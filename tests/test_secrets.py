"""No secret is written into a run's directory."""

import json
import subprocess
from pathlib import Path

from helpers.commands import python, succeed
from helpers.run_files import config
from helpers.runs import DATA, QUIET, SHORT, runs

SENDER = """
from lightning.pytorch import Callback

TOKEN = "s3cr3tvalue1"


class Sender(Callback):
    def __init__(self, api_key: str | None = None, url: str = "", note: str = "") -> None:
        self.api_key = api_key
"""


def test_no_secret_is_written(noisy_project: Path, tmp_path: Path) -> None:
    (noisy_project / "src" / "my_project" / "callbacks" / "sender.py").write_text(SENDER)
    arguments = {
        "api_key": "s3cr3tvalue2",
        "url": "https://ada:s3cr3tvalue3@example.org/x",
        "note": "it is s3cr3tvalue4",
    }
    sender = {"class_path": "my_project.callbacks.sender.Sender", "init_args": arguments}
    (tmp_path / "sender.yaml").write_text(json.dumps({"trainer": {"callbacks": [sender]}}))
    options = ("-c", str(tmp_path / "sender.yaml"), "--name=masked", "--trainer.max_epochs=1")
    succeed(noisy_project, "fit", *DATA, *SHORT, *options, MY_API_TOKEN="s3cr3tvalue4")
    (directory,) = runs(noisy_project, "masked")
    for path in directory.rglob("*"):
        assert path.is_dir() or b"s3cr3tvalue" not in path.read_bytes(), path
    assert "TOKEN = ***" in (directory / "code.patch").read_text().replace('"', "")
    assert "api_key: str | None = None" in (directory / "code.patch").read_text(), "code stays code"
    (callback,) = config(directory)["trainer"]["callbacks"]
    assert callback["init_args"] == {
        "api_key": None,
        "url": "https://example.org/x",
        "note": "it is ",
    }
    succeed(noisy_project, "test", "--run=masked", *QUIET)


KEYS = (
    "api_key",
    "token",
    "password",
    "client_secret",
    "COMET_API_KEY",
    "aws_secret_access_key",
    "accessToken",
)


FORMS = [
    "{}: s3cr3t",
    "{}: 1-s3cr3t",
    "{}: true-s3cr3t",
    '{}: "s3cr3t one"',
    "--x.{} s3cr3t",
    "--x.{}=s3cr3t",
    '{{"{}": "s3cr3t"}}',
]


NO_SECRETS = [
    "tokenizer: bert",
    "max_tokens: 512",
    "keys: [a, b]",
    "monitor: val/acc",
    "token: null",
    "use_cls_token: true",
    "--model.net.pad_token 50256",
    "--model.net.pad_token=3 --name x",
    '{"eos_token": 2}',
    'mask_token: "[MASK]"',
    "mask_token: <mask>",
    "--data.key_column name",
    "https://example.org/x@y",
]


def test_what_is_named_as_secrets_are_is_masked(noisy_original: Path) -> None:
    texts = {form.format(key): key for key in KEYS for form in FORMS}
    for text, masked in mask(noisy_original, [*texts]).items():
        assert "s3cr3t" not in masked and texts[text] in masked and "***" in masked, text


def test_what_is_no_secret_stays(noisy_original: Path) -> None:
    for text, masked in mask(noisy_original, NO_SECRETS).items():
        assert masked == text


def mask(project: Path, texts: list[str]) -> dict[str, str]:
    """Return texts, and what is written of each of them."""
    code = """
import json, sys
from my_project.utils.project import mask

print(json.dumps({text: mask(text) for text in json.load(sys.stdin)}))
"""
    done = subprocess.run(
        [python(), "-c", code],
        cwd=project / "src",
        check=True,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout))
