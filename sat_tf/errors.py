"""The error for mistakes of the user, and the part of other errors that its message quotes."""


class UserError(Exception):
    """A mistake of the user; says what is wrong, where (file, line or flag) and what to do.

    Commands print its message without a stack trace and exit with status 1.
    """


def reason(error: Exception) -> str:
    """Return the first line of an error's message; the name of its class if that is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
