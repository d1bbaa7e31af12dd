"""Break the template in some thirty places, one at a time, and say which tests notice: `make mutations`.

With words, only the breaks whose file or text contains one of them: `make mutations BREAKS="resume export"`.
A break that no test notices needs a test. One whose old code is gone is an error: give its new code.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "template/src/{{package_name}}"
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Break(NamedTuple):
    """A mistake in one file, and the tests that should notice it, as pytest takes them."""

    file: str
    old: str
    new: str
    tests: str


BREAKS = [
    # Runs that are stopped and resumed
    Break(
        f"{PACKAGE}/engine/best_checkpoint.py",
        'self.complete.replace(self.complete.with_name("last.ckpt"))',
        "self.complete.unlink()",
        "test_checkpoint_fallback.py -k kept",
    ),
    Break(
        f"{PACKAGE}/engine/best_checkpoint.py",
        "is_trained_epoch(trainer) and are_finite(pl_module)",
        "is_trained_epoch(trainer)",
        "test_weights.py -k nothing_is_validated",
    ),
    Break(
        f"{PACKAGE}/engine/stopping.py",
        "self.stop_requested = True",
        "self.stop_requested = False",
        "test_training_end.py -k interrupted",
    ),
    Break(
        f"{PACKAGE}/engine/random_states.py",
        "np.random.set_state(numpy_state)",
        "pass",
        "test_interrupted_runs.py -k 'random_moments or within_the_epoch'",
    ),
    Break(
        f"{PACKAGE}/engine/schedule_changes.py",
        "for _ in range(done // config.frequency):",
        "for _ in range(0):",
        "test_resume_changes.py",
    ),
    Break(
        f"{PACKAGE}/engine/loop_position.py",
        'begin_validation_anew(fit_loop["epoch_loop.val_loop.batch_progress"])',
        "pass",
        "test_resume_equality.py",
    ),
    Break(
        f"{PACKAGE}/engine/metric_states.py",
        "metric._update_count = count",
        "pass",
        "test_resume_equality.py",
    ),
    Break(
        f"{PACKAGE}/engine/finite_weights.py",
        "diverged = not are_finite(pl_module)",
        "diverged = False",
        "test_weights.py -k diverged",
    ),
    Break(
        f"{PACKAGE}/engine/results.py",
        "if is_own_checkpoint(run, checkpoint) and not changes:",
        "if not changes:",
        "test_run_files.py",
    ),
    # Data
    Break(
        f"{PACKAGE}/data_modules/in_memory.py",
        "self._sampler(UnrepeatedDistributedSampler, data, shuffle=False)",
        "self._sampler(ShuffledSampler, data, shuffle=True)",
        "test_two_processes.py",
    ),
    Break(
        f"{PACKAGE}/engine/samplers.py",
        "self.seed + self.epoch",
        "self.seed",
        "test_datasets.py test_weights.py test_environment.py",
    ),
    Break(
        f"{PACKAGE}/engine/download.py",
        "hexdigest() != sha256",
        "hexdigest() == ''",
        "test_downloads.py",
    ),
    Break(
        f"{PACKAGE}/engine/picture_files.py",
        "ImageOps.exif_transpose(opened)",
        "opened.copy()",
        "test_pictures.py",
    ),
    Break(
        f"{PACKAGE}/engine/masks.py",
        "(np.arange(new_size) + 0.5) * size",
        "np.arange(new_size) * size",
        "test_segmentation.py",
    ),
    Break(
        f"{PACKAGE}/data_modules/table_encoding.py",
        "numbers.fillna(column.median)",
        "numbers.fillna(0)",
        "test_tables.py",
    ),
    Break(
        f"{PACKAGE}/data_modules/table_splits.py",
        "return rows[~is_held_out], rows[is_held_out]",
        "return rows, rows[is_held_out]",
        "test_tables.py -k group",
    ),
    # Training
    Break(
        f"{PACKAGE}/utils/param_groups.py",
        "return tensor.ndim < 2",
        "return tensor.ndim < 1",
        "test_fine_tuning.py",
    ),
    Break(
        f"{PACKAGE}/utils/freezing.py",
        "child.train(epoch >= epochs)",
        "pass",
        "test_fine_tuning.py",
    ),
    Break(
        f"{PACKAGE}/utils/schedules.py",
        "(step + 1) / (warmup + 1)",
        "step / (warmup + 1)",
        "test_schedules.py test_learning_rate.py",
    ),
    Break(
        f"{PACKAGE}/utils/class_weights.py",
        "inverse[exist].mean()",
        "inverse.mean()",
        "test_labels.py",
    ),
    Break(
        f"{PACKAGE}/utils/macro_f1.py",
        "counts = (labels >= 0).long()",
        "counts = torch.ones_like(labels)",
        "test_labels.py",
    ),
    Break(
        f"{PACKAGE}/engine/averaged_weights.py",
        'checkpoint["state_dict"] = checkpoint["current_model_state"]',
        "pass",
        "test_weights.py -k average",
    ),
    # Command line and records
    Break(
        f"{PACKAGE}/engine/secrets.py",
        "left_out.append(key)\n        return None",
        "left_out.append(key)\n        return config",
        "test_secrets.py test_values.py",
    ),
    Break(
        f"{PACKAGE}/engine/links.py",
        "if plain(asked.value) != plain(value):",
        "if False:",
        "test_option_values.py",
    ),
    Break(
        f"{PACKAGE}/engine/values.py",
        '"data.batch_size": 1,',
        '"data.batch_size": 0,',
        "test_option_values.py",
    ),
    Break(
        f"{PACKAGE}/engine/configs.py",
        "if key in lines:",
        "if False:",
        "test_config_blocks.py test_error_messages.py",
    ),
    Break(
        f"{PACKAGE}/engine/commit.py",
        '["add", "--all", "."]',
        '["add", "."]',
        "test_commit_before_fit.py",
    ),
    # Tools
    Break(
        f"{PACKAGE}/tools/export.py",
        "if not apart <= tolerance:",
        "if apart > tolerance:",
        "test_export.py",
    ),
    Break(
        f"{PACKAGE}/tools/report/tables.py",
        "counts = (true >= 0) & (true < num_classes)",
        "counts = true < num_classes",
        "test_report_runs.py -k ignores",
    ),
    Break(
        f"{PACKAGE}/tools/repeat.py",
        'with_folds.append([*seed, f"--data.fold={fold}/{folds}"])',
        'with_folds.append([*seed, f"--data.fold=1/{folds}"])',
        "test_repeat.py",
    ),
    # The template
    Break("copier.yml", "    /tests/test_data.py\n", "", "test_update_owners.py"),
    Break(
        "template/.gitignore", "logs/*", "log/*", "test_template.py test_render.py test_readme.py"
    ),
]


def main(words: list[str]) -> None:
    """Try the breaks in a copy of the repository, and print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", ROOT, copy], check=True)
        unseen = 0
        for one in BREAKS:
            if words and not any(word in f"{one.file} {one.old}" for word in words):
                continue
            seen = try_break(copy, one)
            unseen += not seen
            print(f"{len(seen):3} tests  {one.file}: {one.old!r} -> {one.new!r}", flush=True)
            for test in seen[:3]:
                print(f"           {test}", flush=True)
    print(f"{unseen} breaks are seen by no test")


def try_break(copy: Path, one: Break) -> list[str]:
    """Return the tests that fail with a break."""
    path = copy / one.file
    text = path.read_text(encoding="utf-8")
    assert text.count(one.old) >= 1, f"{one.file} has no {one.old!r}"
    path.write_text(text.replace(one.old, one.new), encoding="utf-8")
    subprocess.run(
        ["git", "commit", "--quiet", "--all", "--message", "Break"], cwd=copy, check=True
    )
    arguments = one.tests.split(" -k ")
    files = [f"tests/{name}" for name in arguments[0].split()]
    chosen = ["-k", arguments[1].strip("'")] if len(arguments) > 1 else []
    command = [sys.executable, "-m", "pytest", "--quiet", *files, *chosen]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    subprocess.run(["git", "reset", "--quiet", "--hard", "HEAD~1"], cwd=copy, check=True)
    return FAILED.findall(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
