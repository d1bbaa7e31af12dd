"""Entry point of `python -m <package>` and of the console script. The command line is in cli.py."""

from .engine.start import main as main

if __name__ == "__main__":
    main()
