"""The command line of this project. It is yours: add options and links here."""

from .engine.cli import RunCLI


class CLI(RunCLI):
    """The template's command line, with the options and links of this project.

    For example, add an option, and pass a value from the data module to the model::

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            super().add_arguments_to_parser(parser)
            parser.add_argument("--note", type=str | None, help="What this run tries.")
            parser.link_arguments(
                "data.vocabulary_size", "model.init_args.vocabulary_size", apply_on="instantiate"
            )

        def before_fit(self) -> None:
            print(self.config.fit.note)

    LightningArgumentParser is in lightning.pytorch.cli, and so are all hooks.
    """
