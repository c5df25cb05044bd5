"""Records, the form of every data set, and the problems found while a data set is read."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sat_tf.data.objects import ObjectBoxes
from sat_tf.errors import UserError, printable

SPLITS = ("train", "dev", "test")
MAX_LISTED_PROBLEMS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """An image with its captions."""

    image_id: str  # as the data set writes it, unique in the data set
    image: str | bytes  # path of a file, or the bytes of one
    captions: tuple[str, ...]  # as written, not tokenized
    objects: ObjectBoxes | None = None  # if the data set or `--boxes` has them
    # The `id` of the image in a document such as COCO's, by which files of results name it; None:
    # they use `image_id`.
    document_id: int | str | None = None


class SourceLocation(NamedTuple):
    """A position in a file: a line, or an entry such as "annotations[17]"; "" is the whole file."""

    path: Path
    position: int | str = ""

    def __str__(self) -> str:
        if isinstance(self.position, int):
            return f"{self.path}:{self.position}"
        return f"{self.path}: {self.position}" if self.position else str(self.path)


class Problem(NamedTuple):
    """An error in a file, for the person who can correct it."""

    location: SourceLocation
    message: str


class Problems(list[Problem]):
    """Every problem found so far."""

    def __init__(self) -> None:
        super().__init__()
        # How a data set was read that is not as documented, or lacks a part; nothing to correct.
        self.notes: list[str] = []

    def add(self, location: SourceLocation, message: str) -> None:
        """Append a problem."""
        self.append(Problem(location, message))

    def note(self, location: SourceLocation, message: str) -> None:
        """Append a note."""
        self.notes.append(printable(f"{location}: {message}"))


class ValidatedSplits(NamedTuple):
    """The valid records of each split, and every problem found."""

    records: dict[str, tuple[Record, ...]]
    problems: Problems


def describe_problems(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each problem, location first, in the order of the files."""
    paths = [*dict.fromkeys(problem.location.path for problem in problems)]

    def sort_key(problem: Problem) -> tuple[int, list[int | str]]:
        path, position = problem.location
        # Text and numbers alternate, so that images[2] comes before images[10].
        parts = re.split(r"(\d+)", str(position))
        return paths.index(path), [int(part) if part.isdecimal() else part for part in parts]

    ordered = sorted(problems, key=sort_key)
    return [printable(f"{problem.location}: {problem.message}") for problem in ordered]


def raise_if_problems(problems: Sequence[Problem]) -> None:
    """Raise a `UserError` that lists the problems by location, up to a limit, if there are any."""
    if not problems:
        return
    paths = ", ".join(dict.fromkeys(printable(problem.location.path) for problem in problems))
    lines = [f"{len(problems)} problems in {paths}"] if len(problems) > 1 else []
    lines += describe_problems(problems)[:MAX_LISTED_PROBLEMS]
    if len(problems) > MAX_LISTED_PROBLEMS:
        lines.append(f"... and {len(problems) - MAX_LISTED_PROBLEMS} more")
    raise UserError("\n".join(lines))
