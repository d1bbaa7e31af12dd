"""Each rule for a message of jsonargparse has an example that still happens."""

import textwrap
from pathlib import Path

import pytest
from helpers.command_line_driver import Driver
from helpers.commands import DIGITS, succeed


def test_the_whole_configuration_of_fit_is_taken_by_test(
    driven_project: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(succeed(driven_project, "fit", *DIGITS, "--print_config"))
    for verb in ("fit", "validate", "test", "predict"):
        line = driver.run(verb, "-c", str(config), "--trainer.fast_dev_run=true", "--name=none")[1]
        assert "known key" not in line and ("error" not in line or "there is no" in line), line
    assert "test_after_fit" not in succeed(driven_project, "test", "--help")


MLP = "fit D --model.net=my_project.models.mlp.MLP --model.net.hidden_sizes"
PROVOKED = {
    "Unexpected keys: {'freez'}": 'fit D --model.param_groups=[{"params":"net","freez":1}]',
    "Missing required keys: {'params'}": 'fit D --model.param_groups=[{"freeze":1}]',
    "Option 'optimizr' is not accepted": "fit D --model.optimizr=SGD",
    "Subcommand 'fit' does not accept option 'trainer.max_epoch'": 'fit D -c={"zzz":1}',
    "unrecognized arguments: --optimizr.lr=0.1": "fit D --model.optimizr.lr=0.1",
    "unrecognized arguments: max_epochs=3": "fit D max_epochs=3",
    "the following arguments are required: fit.model": "fit",
    "argument --data: expected one argument": "fit D --name",
    "module 'torch.optim' has no attribute 'Adan'": "fit D --model.optimizer=torch.optim.Adan",
    "No module named 'nothing'": "fit D --model.net=nothing.Missing",
    "Expected a dot import path string: Missing": "fit D --model.net=Missing",
    "Unexpected import path format: .nan": "fit D --model.net=.nan",
    "Expected an import path or a subclass spec, but got [1]": "fit D --model.net=[1]",
    "Unexpected import object <module 'os'>": "fit D --model.net=my_project.models",
    "Import path torch.nn.Linear does not correspond to a subclass of LightningModule": "fit D --model=torch.nn.Linear",
    "Expected 'torch.nn.Linear' to be a subclass of <class 'Optimizer'>.": "fit D --model.optimizer=torch.nn.Linear",
    "Expected 'os.system' to be a function that returns <class 'Module'>.": "fit D --model.net=os.system",
    "Expected an instantiatable class, but Logger is abstract": "fit D --trainer.logger=Logger",
    "'str' object has no attribute 'keys'": "fit D --model.net.init_args=5",
    "trainer: Unable to load config '5' - trainer: Unable to load config \"5\"": "fit D --trainer=5",
    "Parser key \"config\": File does not exist: '/home/me/configs/missing.yaml'": "fit D -c=missing.yaml",
    "argument subcommand: invalid choice: 'fitt' (choose from 'fit', 'test')": "fitt",
    'expected "subcommand" to be one of {fit,test}, but it was not provided.': "",
    "Not a valid subclass of Callback": "fit D --trainer.callbacks=[1]",
    "Not of type PositiveInt: 0 does not conform to restriction v>0": f"{MLP}=[0]",
    "Not of type PositiveInt: invalid literal for int() with base 10: 'x'": f"{MLP}=[x]",
    "Expected a <class 'int'>": "fit D --trainer.max_epochs=x",
}


@pytest.mark.parametrize("example", PROVOKED)
def test_jsonargparse_still_says_what_a_rule_is_for(driver: Driver, example: str) -> None:
    words = PROVOKED[example].split()
    driver.refuse(*(part for word in words for part in (DIGITS if word == "D" else (word,))))
    assert Path(f"{driver.output}.rule").read_text() == example


def test_each_rule_fits_its_example_and_no_earlier_one_does(driven_project: Path) -> None:
    code = """
    from my_project.engine.messages import RULES, explain_parse_error
    from my_project.engine.parse_errors import read_message

    for rule in RULES:
        text = read_message(rule.example).text
        first = next(other for other in RULES if other.pattern.match(text))
        assert first is rule, (rule.example, first.example)
        answer = explain_parse_error(rule.example, ["trainer.max_epochs", "name"])
        assert "\\n" not in answer and answer, rule.example
    print(*(rule.example for rule in RULES), sep="\\n")
    """
    output = succeed(driven_project, "-c", textwrap.dedent(code), PYTHONPATH="src")
    assert {*output.splitlines()} == {*PROVOKED}, "each is provoked above"
