"""`python -m <package>.schema`. The code is in tools/."""

from .tools.schema.command import main

if __name__ == "__main__":
    main()
