"""`python -m <package>.search`. The code is in tools/."""

from .tools.search.command import main

if __name__ == "__main__":
    main()
