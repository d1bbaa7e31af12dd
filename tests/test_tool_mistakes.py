"""A mistake in the call of a tool is answered in one line."""

from pathlib import Path

import pytest
from helpers.commands import DIGITS, succeed
from helpers.server import Server
from helpers.template import Render


@pytest.fixture(scope="module")
def tools(render: Render) -> Path:
    """A project with the tools, and two runs of which there is a record alone."""
    project = render(tooling=["runs", "repeat", "optuna", "export", "schema", "paper"])
    for name, value in {"a": 0.5, "b": 0.25}.items():
        run = project / "logs" / name / f"20240101-000000-00000{value}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("checkpoint:\n  monitor: val/acc\n  mode: max\n")
        (run / "metrics.csv").write_text(
            f"step,epoch,val/acc,val/loss\n1,0,{value},1\n2,1,0.75,{value}\n"
        )
        (run / "run.json").write_text('{"status": "finished", "metrics": {}, "commands": []}')
    (project / "wrong.yaml").write_text("metric: val/acc\nspce: {}\n")
    (project / "list.yaml").write_text("- metric\n")
    (project / "tab.yaml").write_text("metric:\n\tval/acc\n")
    return project


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("runs lst", "lst"),
        ("runs --lmit 3", "--lmit"),
        ("runs --limit -1", "--limit -1"),
        ("runs --limit 0", "--limit 0"),
        ("runs --limit x", "--limit x"),
        ("runs --limit", "--limit"),
        ("runs --filter data.batch_size", "--filter data.batch_size key=value"),
        ("runs --filter =5", "--filter key=value"),
        ("runs --filter data.batchsize=5", "data.batchsize"),
        ("runs --sort zzz", "zzz"),
        ("runs --metric zzz", "zzz"),
        ("runs diff a", "B"),
        ("runs diff zzz a", "zzz <directory|id|name|last>"),
        ("runs summary --format pdf", "--format pdf"),
        ("runs plot --metric zzz", "zzz"),
        ("runs plot --output p.png", "--output p.png p.svg"),
        ("runs plot --x zzz", "zzz"),
        ("runs plot --output missing/p.svg", "missing"),
        ("runs reproduce", "X"),
        ("runs reproduce zzz", "zzz"),
        ("runs reproduce a --tolerance .nan", "--tolerance .nan"),
        ("runs reproduce a --tolerance -1", "--tolerance"),
        ("repeat", "--seeds --folds"),
        ("repeat --seeds 5..1", "--seeds 5..1"),
        ("repeat --seeds x", "--seeds x"),
        ("repeat --folds -2", "--folds -2"),
        ("repeat --folds 0", "--folds 0"),
        ("repeat --folds x", "--folds x"),
        ("search", "configs/search/<study>.yaml"),
        ("search missing.yaml", "missing.yaml"),
        ("search wrong.yaml", "spce space"),
        ("search list.yaml", "list.yaml"),
        ("search tab.yaml", "tab.yaml line 2"),
        ("search configs/search/optimizer.yaml --trials x", "trials x int"),
        ("search configs/search/optimizer.yaml --trials 0", "trials 0 1"),
        ("search configs/search/optimizer.yaml --trials -1", "trials -1 1"),
        ("export --format zzz", "--format zzz"),
        ("export --tolerance .nan", "--tolerance"),
        ("export --run zzz", "zzz"),
        ("export --zzz", "--zzz"),
        ("schema --zzz", "--zzz"),
        ("schema --output missing/s.json", "missing"),
        ("model_card --zzz", "--zzz"),
        ("model_card --run zzz", "zzz"),
        ("model_card --output", "--output"),
    ],
)
def test_a_mistake_in_a_tool_is_answered_in_a_line(
    tools: Path, warm: Server, command: str, words: str
) -> None:
    name, *options = command.split()
    done = warm.run(tools, "-m", f"my_project.{name}", *options, PYTHONPATH="src")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert all(word in lines[0] for word in words.split()), lines


def test_a_plot_shows_every_metric_that_is_asked_for(tools: Path, warm: Server) -> None:
    options = ("--metric", "val/acc", "--metric", "val/loss", "--output", "both.svg")
    done = warm.run(tools, "-m", "my_project.runs", "plot", *options, PYTHONPATH="src")
    assert done.returncode == 0, done.stderr
    picture = (tools / "both.svg").read_text()
    for name in ("val/acc, a", "val/acc, b", "val/loss, a", "val/loss, b"):
        assert name in picture, name


def test_a_fast_run_refuses_no_callback_that_the_real_one_takes(driven_project: Path) -> None:
    options = (
        "--trainer.logger=false",
        "--trainer.fast_dev_run=true",
        "--trainer.callbacks+=LearningRateMonitor",
    )
    succeed(driven_project, "fit", *DIGITS, *options)
