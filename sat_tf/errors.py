"""The errors that end a command with a sentence, and what it quotes of errors and names."""

import json
import os


class UserError(Exception):
    """A mistake of the user; says what is wrong, where (file, line or flag) and what to do.

    Commands print its message without a stack trace and exit with status 1.
    """


class TryAgainError(Exception):
    """What the same command may not meet again: another process has ended, or does not answer.

    Commands print its message and exit with status 75 (EX_TEMPFAIL).

    Args:
      message: says what has happened.
      stay: seconds to wait before the exit.
    """

    def __init__(self, message: str, stay: float = 0.0) -> None:
        super().__init__(message)
        self.stay = stay


def reason(error: Exception) -> str:
    """Return the first line of an error's message; the name of its class if that is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def why_not_json(error: ValueError | RecursionError) -> str:
    """Return what an error of `json.loads` means to the person who has the file."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text: save the file as UTF-8"
    if isinstance(error, RecursionError):
        return "its brackets are nested too deeply"
    return "it holds a number of too many digits"


def in_current_folder(path: str | os.PathLike[str]) -> str:
    """Return what a path that does not exist is relative to, to follow "no such file"."""
    return "" if os.path.isabs(path) else f" in the current folder, {os.getcwd()}"


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
