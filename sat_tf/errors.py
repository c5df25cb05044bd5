"""The error for mistakes of the user, and what its message quotes of errors and names."""


class UserError(Exception):
    """A mistake of the user; says what is wrong, where (file, line or flag) and what to do.

    Commands print its message without a stack trace and exit with status 1.
    """


def reason(error: Exception) -> str:
    """Return the first line of an error's message; the name of its class if that is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(text: object) -> str:
    """Return a text with escapes for what `repr` escapes too, so that a terminal can show it.

    These are control characters, which can move the cursor or hide a part of the message, line
    ends, marks of direction and the halves of characters (lone surrogates) that stand for bytes of
    a file name that are no text.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )
