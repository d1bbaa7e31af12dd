"""Errors in code of the user's own, missing configs, and files that are no checkpoint."""

import sys
from pathlib import Path

import pytest
from helpers.commands import DIGITS, fail, run_warm
from helpers.trained_project import QUIET, VERBS, last, refuse, refuse_digits, start, write


def test_compiling_where_there_is_no_compiler_is_answered_in_a_line(
    fitted: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [
        sys.executable,  # PyTorch reads the compiler's name when it is imported
        "src/main.py",
        "fit",
        *DIGITS,
        *QUIET,
        "--model.compile=true",
    ]
    done = start(
        [*command, "--name=compiled"], fitted, CXX="none", TORCHINDUCTOR_CACHE_DIR=str(tmp_path)
    )
    assert done.returncode == 1
    answer = "error: compile is true, but needs a C++ compiler, such as g++"
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1] == answer


def test_a_label_that_the_loss_refuses_is_named_with_the_step(project: Path) -> None:
    """Of a data module that does not use the template's base class."""
    write(
        project,
        "data_modules/plain.py",
        """
        import torch
        from lightning.pytorch import LightningDataModule
        from torch.utils.data import DataLoader, TensorDataset


        class Plain(LightningDataModule):
            num_classes, input_shape = 3, (1, 28, 28)

            def train_dataloader(self):
                data = TensorDataset(torch.zeros(20, 1, 28, 28), torch.arange(20))
                return DataLoader(data, batch_size=5)

            val_dataloader = train_dataloader
        """,
    )
    model = ("-c", "configs/model/simplenet.yaml")
    message = fail(project, "fit", "--data=my_project.data_modules.plain.Plain", *model, *QUIET)
    assert message.startswith("a label in validation_step is 3, but the network gives logits of ")


@pytest.mark.parametrize("where", ["when it is built", "in training"])
def test_an_error_in_the_users_own_code_is_shown_with_where_it_is(
    project: Path, where: str
) -> None:
    write(
        project,
        "models/wrong.py",
        f"""
        import torch

        from .simplenet import SimpleNet


        class Wrong(SimpleNet):
            def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
                super().__init__(num_classes, input_shape)
                self.fail("when it is built")

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                self.fail("in training")
                return super().forward(x)

            def fail(self, here: str) -> None:
                if here == "{where}":
                    raise ValueError("nothing comes of nothing")
        """,
    )
    done = run_warm(project, "fit", *DIGITS, *QUIET, "--model.net=my_project.models.wrong.Wrong")
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == (where == "in training"), (
        "to build it takes a few steps alone"
    )
    assert "wrong.py" in done.stderr and "ValueError: nothing comes of nothing" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_model_or_data_module_is_asked_for(fitted: Path, verb: str) -> None:
    for given, missing in zip(DIGITS[1::2], ("model", "data"), strict=True):
        line = refuse(fitted, verb, "-c", given, "--name=exp1")
        assert "missing" in line and f"-c configs/{missing}/<name>.yaml" in line


@pytest.mark.parametrize("command", ["", "train", "--name exp1"])
def test_a_sub_command_is_asked_for(fitted: Path, command: str) -> None:
    line = refuse(fitted, *command.split())
    assert all(verb in line for verb in VERBS), line


def test_a_missing_config_is_named(fitted: Path) -> None:
    assert "missing.yaml" in refuse_digits(fitted, "fit -c configs/missing.yaml")


@pytest.mark.parametrize(
    "text", ["trainer: {max_epochs: [", "trainer:\n\tmax_epochs: 1\n", "- trainer"]
)
def test_a_config_that_is_no_yaml_of_keys_is_named(fitted: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "mistake.yaml").write_text(text)
    assert "mistake.yaml" in refuse_digits(fitted, f"fit -c {tmp_path}/mistake.yaml")


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.parametrize("content", [None, b"", b"text\n", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_named(
    fitted: Path, tmp_path: Path, verb: str, content: bytes | None
) -> None:
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    line = refuse_digits(fitted, f"{verb} --ckpt_path {path}")
    assert (
        "some.ckpt" in line
        and ("there is no checkpoint" if content is None else "is damaged") in line
    )


def test_a_truncated_checkpoint_is_named(fitted: Path, exp1: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    path.write_bytes(last(exp1).read_bytes()[:-1000])
    assert "some.ckpt is damaged" in refuse_digits(fitted, f"fit --ckpt_path {path}")


@pytest.mark.parametrize("verb", ["fit", "validate"])
@pytest.mark.parametrize("size", [-1, 1437])
def test_a_validation_set_that_leaves_nothing_is_refused(
    fitted: Path, verb: str, size: int
) -> None:
    line = fail(fitted, verb, *DIGITS, *QUIET, "--name=exp1", f"--data.val_size={size}")
    assert line == f"val_size is {size}, but only 1 to 1436 samples can be held out"
