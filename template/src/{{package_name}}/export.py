"""`python -m <package>.export`. The code is in tools/."""

from .tools.export import main

if __name__ == "__main__":
    main()
