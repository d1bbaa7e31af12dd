"""`python -m <package>.repeat`. The code is in tools/."""

from .tools.repeat import main

if __name__ == "__main__":
    main()
