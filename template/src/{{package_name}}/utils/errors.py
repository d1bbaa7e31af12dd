"""The error for what the user can mend."""


class UserError(ValueError):
    """A mistake of the user's. The command line prints the message as one line, without a traceback.

    Write the message for the person: what was wrong, what was found, what to do.
    """
