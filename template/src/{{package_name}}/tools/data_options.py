"""Builds the data module that configs and options of `fit` describe, without a model and a trainer."""

import json
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from ..engine.class_changes import is_option, split_arguments
from ..engine.configs import given, options, read_config, without_empty_configs
from ..engine.encoding import check_characters, with_texts_of_configs
from ..engine.local_settings import with_local_settings
from ..engine.messages import construction_message, explain_parse_error, own_error, user_message
from ..engine.values import check_values
from ..utils.project import UserError, project_root

CONFIG_OPTIONS = ("-c", "--config")


def build_data(args: Sequence[str]) -> Any:
    """Return the data module that these arguments of `fit` describe.

    The configs may have other blocks, such as `trainer`, which say nothing about the data.

    Args:
        args: Configs (`-c`), and options that begin with `--data`.

    Raises:
        UserError: There is another option, no data module, or a wrong argument.
    """
    for arg in args:
        check_characters(arg)
    check_options(args)
    configs = project_root() / "configs"
    args = with_local_settings(args, configs / "local.yaml")
    args = without_empty_configs(["-c", str(configs / "default.yaml"), *args])
    values = given(args)

    parser = LightningArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    try:
        config = parser.parse_args(with_texts_of_configs(list(without_other_blocks(args))))
    except ArgumentError as error:
        known = parser.get_defaults(skip_validation=True).keys()
        raise UserError(explain_parse_error(str(error), known, values, args)) from error
    check_values(config.as_dict(), values)

    try:
        return parser.instantiate_classes(config).data
    except Exception as error:
        cause = own_error(error)
        message = user_message(cause) or construction_message(cause)
        if not message:
            raise
        raise UserError(message) from error


def check_options(args: Sequence[str]) -> None:
    """Raise UserError if an option is neither a config nor about the training data."""
    for option, _ in options(args):
        if option == "--data.predict":
            raise UserError("data.predict is an option of predict alone: leave it out")
        is_of_data = option == "--data" or option.startswith("--data.")
        if is_option(option) and option not in CONFIG_OPTIONS and not is_of_data:
            advice = "give configs with -c, and options of the data such as --data.folder"
            raise UserError(f"{option} is no option of this command: {advice}")


def without_other_blocks(args: Sequence[str]) -> Iterator[str]:
    """Yield the arguments, with only the block `data` of each config."""
    for argument in split_arguments(args):
        if not argument.is_config:
            yield from argument.words
            continue
        path = argument.words[-1].removeprefix("-c=").removeprefix("--config=")
        config = read_config(path)
        if not config:  # the parser says what is wrong with it
            yield from ("-c", path)
        block = {key: config[key] for key in config if key.partition(".")[0] == "data"}
        if block:
            yield from ("-c", json.dumps(block, default=str))
