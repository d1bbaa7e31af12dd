"""`python -m <package>.model_card`. The code is in tools/."""

from .tools.model_card import main

if __name__ == "__main__":
    main()
