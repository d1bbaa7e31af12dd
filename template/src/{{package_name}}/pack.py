"""`python -m <package>.pack`. The code is in tools/pack/."""

from .tools.pack.command import main

if __name__ == "__main__":
    main()
