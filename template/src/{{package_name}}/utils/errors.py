"""The error for what the user can mend."""


class UserError(ValueError):
    """A mistake of the user's: the command line prints the message, one line with the mend, and no traceback."""
