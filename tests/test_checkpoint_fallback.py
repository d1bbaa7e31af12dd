"""Damaged and moved checkpoints, and commands that fail."""

import textwrap
from pathlib import Path

import pytest
import torch
from helpers.commands import fail, run_warm, succeed
from helpers.run_files import record
from helpers.runs import DATA, NOISY, QUIET, SHORT, STEPS, fit, load, runs

# Keeps what `weights_only` does not load
WORDS = """
from pathlib import Path

from lightning.pytorch import Callback


class Words(Callback):
    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["words"] = Path("words.txt")
"""

# Fails at the end of an epoch, as a callback of the owner may
FAILING = """
import os

from lightning.pytorch import Callback


class Failing(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if "FAIL" in os.environ:
            raise ValueError("the plot failed")
"""


def test_an_epoch_is_kept_when_a_callback_fails_at_its_end(noisy_project: Path) -> None:
    (noisy_project / "src" / "my_project" / "callbacks" / "failing.py").write_text(FAILING)
    callback = "--trainer.callbacks+=my_project.callbacks.failing.Failing"
    options = (*DATA, *SHORT, *STEPS, callback, "--trainer.max_epochs=2")
    done = run_warm(noisy_project, "fit", *options, "--name=failed", FAIL="1")
    assert done.returncode == 1 and "the plot failed" in done.stderr
    (directory,) = runs(noisy_project, "failed")
    assert load(directory)["epoch"] == load(directory, "best")["epoch"] == 0
    succeed(noisy_project, "fit", "--run=failed")
    whole = fit(noisy_project, *STEPS, callback, "--trainer.max_epochs=2", "--name=whole")
    for which in ("last", "best"):
        one, other = load(directory, which), load(whole, which)
        torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)
    scores = [load(one)["callbacks"] for one in (directory, whole)]
    key = next(name for name in scores[0] if "BestCheckpoint" in name)
    assert scores[0][key]["best_model_score"] == scores[1][key]["best_model_score"]


def test_a_misspelt_metric_of_training_keeps_the_epoch(noisy_project: Path) -> None:
    stop = ("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=train/los")
    options = (*DATA, *SHORT, *STEPS, *stop, "--trainer.callbacks.mode=min")
    line = fail(noisy_project, "fit", *options, "--name=misspelt")
    assert "train/los" in line
    (directory,) = runs(noisy_project, "misspelt")
    assert load(directory)["epoch"] == 0


def test_a_full_disk_leaves_the_checkpoint_before(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=full", "--trainer.max_epochs=1", *STEPS)
    before = (directory / "checkpoints" / "last.ckpt").read_bytes()
    code = f"""
        import resource, runpy, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2}))
        sys.argv = ["src/main.py", "fit", "--run=full", "--trainer.max_epochs=2", "--trainer.logger=false", *{QUIET!r}]
        sys.path.insert(0, "src")
        runpy.run_path("src/main.py", run_name="__main__")
    """
    done = run_warm(noisy_project, "-c", textwrap.dedent(code))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr
    assert (directory / "checkpoints" / "last.ckpt").read_bytes() == before
    assert (
        record(directory)["status"] == "failed" and "File too large" in record(directory)["error"]
    )
    succeed(noisy_project, "fit", "--run=full", "--trainer.max_epochs=2", *QUIET)
    assert load(directory)["epoch"] == 1
    names = {path.name for path in (directory / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}


def test_of_a_checkpoint_cut_short_the_best_takes_the_place(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=cut", "--trainer.max_epochs=1", *STEPS)
    path = directory / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-1000])
    output = succeed(noisy_project, "fit", "--run=cut", "--trainer.max_epochs=2", *QUIET)
    assert f"{path.relative_to(noisy_project)} is damaged: best.ckpt takes its place" in output
    assert load(directory)["epoch"] == 1


def test_a_checkpoint_cut_short_anywhere_is_called_damaged(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=cut", "--trainer.max_epochs=1")
    code = f"""
        from pathlib import Path
        from my_project.engine.checkpoints import load_file
        from my_project.utils.project import UserError

        whole = Path({str(directory / "checkpoints" / "last.ckpt")!r}).read_bytes()
        cut = Path("cut.ckpt")
        for length in range(0, len(whole), len(whole) // 200):
            cut.write_bytes(whole[:length])
            try:
                load_file(cut, weights_only=True)
            except UserError as error:
                assert "cut.ckpt is damaged" in str(error), error
            else:
                raise AssertionError(length)
    """
    succeed(noisy_project, "-c", textwrap.dedent(code), PYTHONPATH="src")


def test_a_checkpoint_in_which_a_byte_has_changed_is_called_damaged(noisy_project: Path) -> None:
    directory = fit(noisy_project, "--name=flipped", "--trainer.max_epochs=1", *STEPS)
    for which in ("best", "last"):
        path = directory / "checkpoints" / f"{which}.ckpt"
        weights = load(directory, which)["state_dict"]["net.0.weight"].numpy().tobytes()
        content = bytearray(path.read_bytes())
        content[content.index(weights) + 3] ^= 64  # of the exponent of the first weight
        if which == "best":
            whole = path.read_bytes()
            path.write_bytes(content)
            line = fail(noisy_project, "test", "--run=flipped", *QUIET)
            assert line.startswith(f"{path.relative_to(noisy_project)} is damaged")
            path.write_bytes(whole)
        else:
            path.write_bytes(content)
            output = succeed(
                noisy_project, "fit", "--run=flipped", *QUIET, "--trainer.max_epochs=2"
            )
            assert "last.ckpt is damaged: best.ckpt takes its place" in output


def test_what_was_best_stays_where_the_project_is_moved(
    noisy_project: Path, tmp_path: Path
) -> None:
    options = (*STEPS, "--model.optimizer.lr=0.01", "--name=moved", "--trainer.max_epochs=3")
    directory = fit(noisy_project, *options)
    best = load(directory, "best")["epoch"]
    moved = noisy_project.rename(tmp_path / "elsewhere")
    worse = ("--model.optimizer.lr=9", "--trainer.max_epochs=5", "--test_after_fit=true")
    output = succeed(moved, "fit", "--run=moved", *worse)
    assert load(moved / directory.relative_to(noisy_project), "best")["epoch"] == best
    assert f"Tested: {directory.relative_to(noisy_project)}/checkpoints/best.ckpt" in output
    assert "Warning" not in output


@pytest.mark.parametrize("option", ["--trainer.max_epochs=9", "--trainer.precision=bf16-mixed"])
def test_a_run_that_does_not_go_on_stays_as_it_is(noisy_project: Path, option: str) -> None:
    schedule = ("--model.lr_scheduler=OneCycleLR", "--model.lr_scheduler.max_lr=0.01")
    directory = fit(noisy_project, "--name=kept", "--trainer.max_epochs=1", *schedule)
    kept = [
        (directory / name).read_text()
        for name in ("config.yaml", "run.json", "code.patch", "metrics.csv")
    ]
    (noisy_project / "README.md").write_text("Changed\n")
    run_warm(
        noisy_project, "fit", "--run=kept", option
    )  # OneCycleLR cannot be longer; all has been trained
    there = [
        (directory / name).read_text()
        for name in ("config.yaml", "run.json", "code.patch", "metrics.csv")
    ]
    assert there == kept
    succeed(noisy_project, "test", "--name=kept", *DATA, *QUIET)


def test_another_runs_best_is_not_the_new_runs(noisy_project: Path) -> None:
    directory = fit(noisy_project, *STEPS, "--name=first", "--trainer.max_epochs=2")
    start = f"--ckpt_path={directory / 'checkpoints' / 'last.ckpt'}"
    fit(
        noisy_project,
        *STEPS,
        "--name=second",
        "--trainer.max_epochs=4",
        "--model.optimizer.lr=9",
        start,
    )
    (second,) = runs(noisy_project, "second")
    assert load(second, "best")["epoch"] > 1


def test_a_checkpoint_with_more_than_plain_data_is_gone_on_with_if_that_is_allowed(
    noisy_project: Path,
) -> None:
    (noisy_project / "src" / "my_project" / "callbacks" / "words.py").write_text(WORDS)
    words = "--trainer.callbacks+=my_project.callbacks.words.Words"
    fit(noisy_project, *STEPS, "--name=words", "--trainer.max_epochs=2", words)
    output = succeed(
        noisy_project, "fit", "--run=words", "--weights_only=false", "--trainer.max_epochs=3"
    )
    assert "damaged" not in output
    (directory,) = runs(noisy_project, "words")
    saved = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=False)
    assert (saved["epoch"], saved["global_step"]) == (2, 9)


def test_a_command_that_fails_leaves_the_users_empty_folders(
    noisy_original: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "results").mkdir(parents=True)
    root = f"--trainer.default_root_dir={tmp_path / 'mine' / 'results'}"
    fail(noisy_original, "fit", *DATA, *SHORT, root, "--ckpt_path=nope.ckpt")
    assert (tmp_path / "mine" / "results").is_dir() and not list(
        (tmp_path / "mine" / "results").iterdir()
    )


def test_an_error_is_recorded(noisy_project: Path) -> None:
    module = noisy_project / "src" / "my_project" / "data_modules" / "noisy.py"
    module.write_text(NOISY.replace("return images +", "raise RuntimeError('out of luck') #"))
    done = run_warm(noisy_project, "fit", *DATA, *SHORT, "--name=failed")
    assert done.returncode != 0 and "out of luck" in done.stderr
    (directory,) = runs(noisy_project, "failed")
    assert record(directory)["status"] == "failed"
    assert record(directory)["error"] == "RuntimeError: out of luck"
    assert "no finished run of failed" in fail(
        noisy_project, "test", *DATA, *QUIET, "--name=failed"
    )

    module.write_text(NOISY)
    succeed(noisy_project, "fit", "--run=failed", *QUIET)
    assert record(directory)["status"] == "finished" and record(directory)["error"] is None
