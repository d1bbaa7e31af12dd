"""Entry point of `python src/main.py`, `python -m <package>` and the console script."""

import sys
from collections.abc import Sequence

from .utils.project import UserError, project_root


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends it with one line and a non-zero exit status."""
    try:
        project_root()  # loads .env, whose thread limits torch and numpy read when they are imported

        from .cli import CLI

        CLI(args)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # before or after the training, which ends in order
        sys.exit(130)


if __name__ == "__main__":
    main()
