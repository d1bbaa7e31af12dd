"""Numbers with limits, as types of arguments. The command line refuses other values in one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers, they are plain numbers
    NonNegativeFloat = float
    PositiveInt = int
    Probability = float
else:
    from jsonargparse.typing import ClosedUnitInterval as Probability
    from jsonargparse.typing import NonNegativeFloat, PositiveInt

__all__ = ["NonNegativeFloat", "PositiveInt", "Probability"]
