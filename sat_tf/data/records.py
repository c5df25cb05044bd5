"""Rows of captions -> checked records; one checker for every format."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sat_tf.data.objects import ObjectBoxes
from sat_tf.errors import UserError
from sat_tf.vocabulary import tokenize

SPLITS = ("train", "dev", "test")
# What files call them; restval is the part of COCO's validation images that Karpathy's splits
# leave over, and that everybody trains on.
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "restval": "train",
}
# Any of these makes a word, which spares most captions the tokenizer.
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_SURROGATES = re.compile("[\ud800-\udfff]")
MOST_PROBLEMS = 20  # shown at a time; the rest is counted


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image with its captions.

    Attributes:
      image_id: its name, unique in the data set.
      image: a file's path, or the bytes of one.
      captions: as they were written.
      objects: with their boxes, if the data set or a file of boxes has them.
    """

    image_id: str
    image: str | bytes
    captions: tuple[str, ...]
    objects: ObjectBoxes | None = None


class SourceLocation(NamedTuple):
    """Where something stands: in a line of a file, or in an entry of a JSON document.

    Attributes:
      path: of the file.
      at: number of the line, or the entry as "annotations[17]"; "" is the file as a whole.
    """

    path: Path
    at: int | str = ""

    def __str__(self) -> str:
        if isinstance(self.at, int):
            return f"{self.path}:{self.at}"
        return f"{self.path}: {self.at}" if self.at else str(self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One caption as a reader found it; `split` is "" where the file names none."""

    location: SourceLocation
    image: str
    caption: str
    split: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a location of a file."""

    location: SourceLocation
    what: str


Rows = Iterator[Row | Problem]


@dataclasses.dataclass(frozen=True, slots=True)
class GroupedRows:
    """Rows by split and image, with what is wrong in the files they are from."""

    images: dict[str, dict[str, list[Row]]]
    problems: list[Problem]


class ValidatedSplits(NamedTuple):
    """Records by split, as far as nothing is wrong with them, and every problem found."""

    records: dict[str, tuple[Record, ...]]
    problems: list[Problem]


class ValidatedObjects(NamedTuple):
    """Objects by image id, as far as nothing is wrong with them, and every problem found."""

    objects: dict[str, ObjectBoxes]
    problems: list[Problem]


def group_rows(
    rows: Iterable[Row | Problem], split_of: Callable[[str], str], *, use_row_splits: bool = True
) -> GroupedRows:
    """Puts rows together by split and image, in the order of the file.

    Args:
      rows: from readers.
      split_of: the split of an image when no row names one; "" leaves it out.
      use_row_splits: whether the splits that rows name count; else `split_of` alone does.
    """
    problems: list[Problem] = []
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        problem = row if isinstance(row, Problem) else _text_problem(row)
        if problem:
            problems.append(problem)
        elif isinstance(row, Row):
            grouped.setdefault(row.image, []).append(row)
    are_named = use_row_splits and any(
        row.split.strip() for found in grouped.values() for row in found
    )
    images: dict[str, dict[str, list[Row]]] = {}
    for image, found in grouped.items():
        if are_named:
            problems.extend(_split_problems(found))
        split = _named_split(found[0]) if are_named else ""
        images.setdefault(split or split_of(image), {})[image] = found
    return GroupedRows(images, problems)


def _text_problem(row: Row) -> Problem | None:
    """What makes a text of the row unfit to be printed or written."""
    if any(map(_SURROGATES.search, (row.image, row.caption, row.split))):
        return Problem(row.location, "holds half a character (a lone surrogate)")
    return Problem(row.location, "holds a NUL character") if "\0" in row.caption else None


def _named_split(row: Row) -> str:
    return SPLIT_NAMES.get(row.split.strip().lower(), "")


def _split_problems(rows: Sequence[Row]) -> Iterator[Problem]:
    """What is wrong with the splits that an image's rows name."""
    splits = [_named_split(row) for row in rows]
    first = next(filter(None, splits), "")
    for row, split in zip(rows, splits, strict=True):
        if not row.split.strip():
            yield Problem(row.location, "names no split, as others do")
        elif not split:
            names = ", ".join(SPLIT_NAMES)
            yield Problem(row.location, f"split {row.split!r} must be one of {names}")
        elif split != first:
            yield Problem(row.location, f"{row.image!r} is in the split {first} already")


def make_records(grouped: GroupedRows, image_dir: Path, splits: Sequence[str]) -> ValidatedSplits:
    """The records of some splits, checked; images of other splits need not exist.

    Args:
      grouped: what was read.
      image_dir: what image names are relative to.
      splits: those wanted; one without an image comes out empty.

    Raises:
      UserError: a folder of images can't be read.
    """
    problems = list(grouped.problems)
    records: dict[str, tuple[Record, ...]] = {}
    for split in splits:
        images = grouped.images.get(split, {})
        there = _existing(image_dir, images)
        made = []
        for image, rows in images.items():
            if image not in there:
                problems.append(Problem(rows[0].location, f"no such image: {image!r}"))
            filled = [row for row in rows if _has_word(row.caption)]
            if len(filled) < len(rows):
                problems.extend(
                    Problem(row.location, f"the caption of {image!r} is empty")
                    for row in rows
                    if row not in filled
                )
            if image in there and filled:
                captions = tuple(row.caption.strip() for row in filled)
                made.append(Record(image, str(image_dir / image), captions))
        records[split] = tuple(made)
    return ValidatedSplits(records, problems)


def _has_word(caption: str) -> bool:
    return bool(_LETTER_OR_DIGIT.search(caption) or tokenize(caption))


def _existing(image_dir: Path, images: Iterable[str]) -> set[str]:
    """Those of the images that are files: one listing a folder, not one look an image."""
    there: set[str] = set()
    by_folder: dict[str, list[str]] = {}
    for image in images:
        by_folder.setdefault(os.path.dirname(image), []).append(image)
    for folder, members in by_folder.items():
        try:
            with os.scandir(image_dir / folder) as entries:
                names = {entry.name for entry in entries if _is_file(entry)}
        except PermissionError as error:
            raise UserError(f"{image_dir / folder}: can't be read: {error.strerror}") from None
        except (OSError, ValueError):  # no such folder, or a name no file can have
            continue
        there.update(image for image in members if os.path.basename(image) in names)
    return there


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links in a circle
        return False


def describe_problems(problems: Sequence[Problem]) -> list[str]:
    """A line for each problem: its location, then what is wrong; in the order of the files."""
    ranks: dict[Path, int] = {}
    for problem in problems:
        ranks.setdefault(problem.location.path, len(ranks))

    def order(problem: Problem) -> tuple[int, list[int | str]]:
        path, at = problem.location
        # Text and numbers in turn, so that images[2] comes before images[10].
        parts: list[int | str] = ["", at] if isinstance(at, int) else []
        if isinstance(at, str):
            parts = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", at)]
        return ranks[path], parts

    return [f"{problem.location}: {problem.what}" for problem in sorted(problems, key=order)]


def raise_if_problems(problems: Sequence[Problem]) -> None:
    """Does nothing without problems.

    Raises:
      UserError: there are some; names them by location, up to a limit.
    """
    if not problems:
        return
    paths = ", ".join(dict.fromkeys(str(problem.location.path) for problem in problems))
    message = [f"{len(problems)} problems in {paths}"] if len(problems) > 1 else []
    message += describe_problems(problems)[:MOST_PROBLEMS]
    if len(problems) > MOST_PROBLEMS:
        message.append(f"... and {len(problems) - MOST_PROBLEMS} more")
    raise UserError("\n".join(message))
