"""The error for mistakes of the user."""


class UserError(Exception):
    """A mistake of the user; says what is wrong, where (file, line or flag) and what to do.

    Commands print its message without a stack trace and exit with status 1.
    """
