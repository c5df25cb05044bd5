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
    """An image with its captions.

    Attributes:
      image_id: name of the image as the data set writes it, unique in the data set.
      image: path of a file, or the bytes of one.
      captions: as written, not tokenized.
      objects: with their boxes, if the data set or `--boxes` has them.
      document_id: the `id` of the image in a document such as COCO's, by which files of results
        name it; None: they use the name.
    """

    image_id: str
    image: str | bytes
    captions: tuple[str, ...]
    objects: ObjectBoxes | None = None
    document_id: int | str | None = None


class SourceLocation(NamedTuple):
    """A position in a file.

    path: of the file.
    position: number of a line, or an entry such as "annotations[17]"; "" is the whole file.
    """

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
    """Every problem found so far.

    Attributes:
      notes: how a data set was read that is not as documented, or lacks a part; nothing to correct.
    """

    def __init__(self) -> None:
        super().__init__()
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
    ranks: dict[Path, int] = {}
    for problem in problems:
        ranks.setdefault(problem.location.path, len(ranks))

    def sort_key(problem: Problem) -> tuple[int, list[int | str]]:
        path, position = problem.location
        # Text and numbers alternate, so that images[2] comes before images[10].
        parts: list[int | str] = ["", position] if isinstance(position, int) else []
        if isinstance(position, str):
            parts = [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", position)]
        return ranks[path], parts

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
