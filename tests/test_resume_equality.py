"""A resumed run of any training ends like an uninterrupted one."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import run_warm
from helpers.resuming import BASE, PACKAGE, QUIET, SCHEDULES, same
from helpers.run_files import load, run_of

TRAININGS = {
    "plain": (),
    "accumulated": ("--trainer.accumulate_grad_batches=3",),
    "validated": ("--trainer.val_check_interval=4",),
    "scheduled": (
        "--trainer.callbacks+=GradientAccumulationScheduler",
        '--trainer.callbacks.scheduling={"0": 1, "1": 4}',
    ),
    "tuned": (
        "--model=my_project.modules.own.TunedModule",
        "--trainer.callbacks+=my_project.callbacks.stop.Unfreeze",
    ),
    "seldom": ("--trainer.check_val_every_n_epoch=2",),
    "frozen": ("--model=my_project.modules.own.FrozenModule",),
    "masks": (
        "--data=my_project.data_modules.digit_masks.DigitMasksDataModule",
        "--data.crop=0.75",
        "--data.batch_size=4",
        "--model=my_project.modules.segmentation.SegmentationModule",
        "--model.net=my_project.models.unet.UNet",
        "--model.net.width=2",
        "--model.net.depth=1",
        "--model.optimizer=AdamW",
        "--model.optimizer.lr=0.01",
    ),
}  # fmt: skip


def stop(how: str, batch: int) -> tuple[str, ...]:
    """Options with which a training stops after so many batches."""
    if how == "max_steps":
        return (f"--trainer.max_steps={batch}",)
    if how == "own":
        return (
            "--trainer.callbacks+=ModelCheckpoint",
            "--trainer.callbacks.every_n_train_steps=1",
            "--trainer.callbacks.save_top_k=-1",
            "--trainer.callbacks.dirpath=own",
            "--trainer.callbacks.filename=own-{step}",
        )
    return (
        "--trainer.callbacks+=my_project.callbacks.stop.Stop",
        f"--trainer.callbacks.how={how}",
        f"--trainer.callbacks.batch={batch}",
    )


CELLS = [
    ("max_steps", 11, "constant", "plain"),
    ("max_steps", 5, "plateau", "accumulated"),
    ("should_stop", 11, "onecycle", "plain"),
    ("should_stop", 11, "plateau", "accumulated"),
    ("should_stop", 12, "cosine", "validated"),
    ("SIGTERM", 11, "plateau", "seldom"),
    ("SIGTERM", 12, "cosine", "validated"),
    ("SIGTERM", 13, "onecycle", "scheduled"),
    ("SIGTERM", 12, "constant", "tuned"),
    ("SIGINT", 11, "plateau", "accumulated"),
    ("SIGKILL", 20, "constant", "tuned"),
    ("exception", 21, "cosine", "validated"),
    ("own", 11, "constant", "plain"),
    ("own", 12, "cosine", "validated"),
    ("own", 8, "plateau", "seldom"),
    ("own", 10, "onecycle", "scheduled"),
    ("SIGTERM", 5, "warmup", "frozen"),
    ("own", 8, "warmup", "frozen"),
    ("SIGTERM", 13, "warmup", "frozen"),
    ("SIGTERM", 13, "plateau", "masks"),
    ("own", 11, "warmup", "masks"),
]


def label(*cell: Any) -> str:
    return "-".join(map(str, cell))


@pytest.fixture(scope="module")
def walked(resuming_project: Path) -> Path:
    """The project after all trainings of the walk."""
    walk: dict[str, list[list[str]]] = {}
    for cell in CELLS:
        how, batch, schedule, training = cell
        options = [*BASE, *TRAININGS[training], *SCHEDULES[schedule]]
        walk[label("whole", schedule, training)] = [
            [*options, f"--name={label('whole', schedule, training)}"]
        ]
        name = label(*cell)
        resume = [
            "fit",
            f"--run={name}",
            *QUIET,
            f"--trainer.callbacks={plain_callbacks(training)}",
        ]
        if how == "max_steps":
            resume.append("--trainer.max_steps=-1")
            options.remove("--trainer.max_epochs=3")
            options += ["--trainer.max_epochs=3"]
        if how == "own":
            resume.append(f"--ckpt_path=own-{name}/own-step={batch}.ckpt")
        stopping = [option.replace("=own", f"=own-{name}", 1) if "dirpath" in option else option
                    for option in stop(how, batch)]  # fmt: skip
        walk[name] = [[*options, *stopping, f"--name={name}"], resume]
    (resuming_project / "walk.json").write_text(json.dumps(walk))
    done = run_warm(
        resuming_project, "-m", f"{PACKAGE}.walk", PYTHONPATH=str(resuming_project / "src")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return resuming_project


def plain_callbacks(training: str) -> str:
    """The callbacks of a run without the one that stops it."""
    if training == "tuned":
        return "[my_project.callbacks.stop.Unfreeze]"
    if training != "scheduled":
        return "null"
    return '[{"class_path": "GradientAccumulationScheduler", "init_args": {"scheduling": {"0": 1, "1": 4}}}]'


@pytest.mark.parametrize("cell", CELLS, ids=[label(*cell) for cell in CELLS])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    walked: Path, cell: tuple[str, int, str, str]
) -> None:
    how, _, schedule, training = cell
    name, whole = label(*cell), label("whole", schedule, training)
    codes = {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9, "exception": 1}
    log = (walked / f"{name}.log").read_text()
    assert json.loads((walked / f"{whole}.codes").read_text()) == [0], (
        walked / f"{whole}.log"
    ).read_text()
    assert json.loads((walked / f"{name}.codes").read_text()) == [codes.get(how, 0), 0], log
    assert "Warning" not in log
    ended, expected = (run_of(walked, run) for run in (name, whole))
    end, expected_end = (load(run / "checkpoints" / "last.ckpt") for run in (ended, expected))
    for part in (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
        "epoch",
        "random",
    ):
        assert same(end[part], expected_end[part]), part
    assert (ended / "metrics.csv").read_text() == (expected / "metrics.csv").read_text()
    for best in (end, expected_end):
        for key in [key for key in best["callbacks"] if "Checkpoint" in key]:
            best["callbacks"][key] = best["callbacks"][key]["best_model_score"]
    ours = {
        key: value for key, value in end["callbacks"].items() if key in expected_end["callbacks"]
    }
    assert same(ours, expected_end["callbacks"])
