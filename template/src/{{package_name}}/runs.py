"""`python -m <package>.runs`. The code is in tools/."""

from .tools.runs.command import main

if __name__ == "__main__":
    main()
