"""Errors that are the user's to mend."""


class UserError(Exception):
    """What is wrong, where (file, line or flag) and what to do, in words for the user.

    Commands print its message without a stack trace and exit with status 1.
    """
