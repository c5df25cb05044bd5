"""Caption files -> checked records. Every format is a reader of rows; one checker serves all."""

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sat_tf.data.shapes_scenes import Scene
from sat_tf.errors import UserError
from sat_tf.vocabulary import tokenize

SPLITS = ("train", "dev", "test")
_SPLIT_NAMES = {name: name for name in SPLITS} | dict.fromkeys(
    ("val", "valid", "validation"), "dev"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
MOST_PROBLEMS = 20  # shown at a time; the rest is counted


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image with its captions.

    Attributes:
      image_id: its name, unique in the data set.
      image: a file's path, or the bytes of one.
      captions: as they were written.
      scene: what is drawn on it, for the embedded data set.
    """

    image_id: str
    image: str | bytes
    captions: tuple[str, ...]
    scene: Scene | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One caption as a reader found it; `split` is "" where the file names none."""

    line: int
    image: str
    caption: str
    split: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a line of a caption file."""

    line: int
    what: str


Rows = Iterator[Row | Problem]


@dataclasses.dataclass(frozen=True, slots=True)
class CaptionFile:
    """The rows of a caption file by split and image, with what is wrong in its lines."""

    path: Path
    images: dict[str, dict[str, list[Row]]]
    problems: list[Problem]


def read_flickr_tokens(path: Path) -> Rows:
    """Rows of `NAME.jpg#NUMBER<tab>CAPTION`, the official format of Flickr8k and Flickr30k."""
    for number, line in read_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line.strip():
            name, tab, caption = line.partition("\t")
            image, _, _ = name.rpartition("#")
            if tab and image:
                yield Row(number, image, caption)
            else:
                yield Problem(number, "is not IMAGE#NUMBER<tab>CAPTION")


def read_csv(path: Path) -> Rows:
    """Rows of a CSV file whose header names the columns image, caption and, if wished, split."""
    table = _read_table(path)
    number, columns = next(table, (1, []))
    if isinstance(columns, Problem):
        yield columns
        return
    columns = [name.strip() for name in columns]
    counts = [columns.count(name) for name in ("image", "caption", "split")]
    if counts not in ([1, 1, 0], [1, 1, 1]):
        what = "the header must name image and caption, and maybe split, once each; it has "
        yield Problem(number, what + (", ".join(columns) or "nothing"))
        return
    for number, fields in table:
        if isinstance(fields, Problem):
            yield fields
        elif len(fields) != len(columns):
            yield Problem(number, f"must have {len(columns)} columns; it has {len(fields)}")
        else:
            named = dict(zip(columns, fields, strict=True))
            yield Row(number, named["image"], named["caption"], named.get("split", ""))


def _read_table(path: Path) -> Iterator[tuple[int, list[str] | Problem]]:
    """What stands in a CSV file, each with the line it begins in; empty lines are left out."""
    lines = [line for _, line in read_lines(path)]
    # A line that can't be read is blank to the parser, so that it keeps the count of lines.
    texts = ("\n" if isinstance(line, Problem) else line + "\n" for line in lines)
    reader = csv.reader(texts, strict=True, skipinitialspace=True)
    while True:
        before = reader.line_num
        try:
            fields: list[str] | Problem = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = Problem(before + 1, f"is not CSV: {error}")
        unread = [line for line in lines[before : reader.line_num] if isinstance(line, Problem)]
        yield from ((problem.line, problem) for problem in unread)
        if isinstance(fields, Problem) or any(fields):
            yield before + 1, fields


def read_json_lines(path: Path) -> Rows:
    """Rows of a file with one JSON object a line: image, caption and, if wished, split."""
    for number, line in read_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line.strip():
            yield _read_object(number, line)


def _read_object(number: int, line: str) -> Row | Problem:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        return Problem(number, f"is not JSON: {error.msg}, column {error.colno}")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        return Problem(number, f"is not JSON that can be read: {error}")
    if not isinstance(fields, dict):
        return Problem(number, "is not a JSON object")
    texts: list[Any] = [fields.get("image"), fields.get("caption"), fields.get("split") or ""]
    if not all(isinstance(text, str) for text in texts):
        found = ", ".join(fields) or "nothing"
        return Problem(
            number, f"must have image and caption, and maybe split, as texts; has {found}"
        )
    if any(_SURROGATES.search(text) for text in texts):
        return Problem(number, "holds half a character (a lone surrogate)")
    return Row(number, *texts)


def group_rows(path: Path, rows: Rows, split_of: Callable[[str], str]) -> CaptionFile:
    """Puts rows together by split and image, in the order of the file.

    Args:
      path: of the caption file.
      rows: from a reader.
      split_of: the split of an image when no line of the file names a split; "" leaves it out.
    """
    problems: list[Problem] = []
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
        else:
            grouped.setdefault(row.image, []).append(row)
    are_named = any(row.split.strip() for found in grouped.values() for row in found)
    images: dict[str, dict[str, list[Row]]] = {}
    for image, found in grouped.items():
        if are_named:
            problems.extend(_split_problems(found))
        split = _named_split(found[0]) or split_of(image)
        images.setdefault(split, {})[image] = found
    return CaptionFile(path, images, problems)


def _named_split(row: Row) -> str:
    return _SPLIT_NAMES.get(row.split.strip().lower(), "")


def _split_problems(rows: Sequence[Row]) -> Iterator[Problem]:
    """What is wrong with the splits that an image's rows name."""
    splits = [_named_split(row) for row in rows]
    first = next(filter(None, splits), "")
    for row, split in zip(rows, splits, strict=True):
        if not row.split.strip():
            yield Problem(row.line, "names no split, as other lines do")
        elif not split:
            names = ", ".join(_SPLIT_NAMES)
            yield Problem(row.line, f"split {row.split!r} must be one of {names}")
        elif split != first:
            yield Problem(row.line, f"{row.image!r} is in the split {first} already")


def make_records(
    file: CaptionFile, image_dir: Path, splits: Sequence[str]
) -> dict[str, tuple[Record, ...]]:
    """The records of some splits, checked; images of other splits need not exist.

    Args:
      file: what was read.
      image_dir: what image names are relative to.
      splits: those wanted; one without an image comes out empty.

    Raises:
      UserError: every problem found, with its line, up to a limit.
    """
    wanted = {split: file.images.get(split, {}) for split in splits}
    problems = list(file.problems)
    for images in wanted.values():
        there = _existing(image_dir, images)
        for image, rows in images.items():
            if image not in there:
                problems.append(Problem(rows[0].line, f"no such image: {image!r}"))
            problems.extend(
                Problem(row.line, f"the caption of {image!r} is empty")
                for row in rows
                if not tokenize(row.caption)
            )
    refuse(file.path, problems)
    return {
        split: tuple(
            Record(image, str(image_dir / image), tuple(row.caption.strip() for row in rows))
            for image, rows in images.items()
        )
        for split, images in wanted.items()
    }


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


def read_lines(path: Path) -> Iterator[tuple[int, str | Problem]]:
    """Numbered lines of a text file in UTF-8, with or without a byte order mark.

    Raises:
      UserError: the file can't be read; names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            yield number, Problem(number, "is not UTF-8 text")
            continue
        yield number, Problem(number, "holds a NUL byte") if "\0" in text else text


def refuse(path: Path, problems: Sequence[Problem]) -> None:
    """Does nothing without problems.

    Raises:
      UserError: there are some; names them by line, up to a limit.
    """
    if not problems:
        return
    ordered = sorted(problems, key=lambda problem: problem.line)
    message = [f"{len(ordered)} problems in {path}"] if len(ordered) > 1 else []
    message += [f"{path}:{problem.line}: {problem.what}" for problem in ordered[:MOST_PROBLEMS]]
    if len(ordered) > MOST_PROBLEMS:
        message.append(f"... and {len(ordered) - MOST_PROBLEMS} more")
    raise UserError("\n".join(message))
