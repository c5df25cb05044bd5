"""Caption files -> checked records. Every format is a reader of rows; one checker serves all."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sat_tf.data.shapes_scenes import Scene
from sat_tf.errors import UserError
from sat_tf.vocabulary import tokenize

SPLITS = ("train", "dev", "test")
_SPLIT_NAMES = {name: name for name in SPLITS} | dict.fromkeys(
    ("val", "valid", "validation"), "dev"
)
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


def read_flickr_tokens(path: Path) -> Rows:
    """Rows of `NAME.jpg#NUMBER<tab>CAPTION`, the official format of Flickr8k and Flickr30k."""
    for number, line in _lines(path):
        if isinstance(line, Problem):
            yield line
            continue
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        image, mark, _ = name.rpartition("#")
        if not tab or not mark or not image:
            yield Problem(number, "is not IMAGE#NUMBER<tab>CAPTION")
        else:
            yield Row(number, image, caption)


def read_csv(path: Path) -> Rows:
    """Rows of a CSV file whose header names the columns image, caption and, if wished, split."""
    lines = list(_lines(path))
    yield from (line for _, line in lines if isinstance(line, Problem))
    # Lines that are not UTF-8 are reported above; blank here, they keep the numbers right.
    text = "\n".join("" if isinstance(line, Problem) else line for _, line in lines)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    columns = list(reader.fieldnames or ())
    missing = [name for name in ("image", "caption") if name not in columns]
    if missing:
        yield Problem(1, f"no column {' or '.join(missing)}; the header has {', '.join(columns)}")
        return
    try:
        for fields in reader:
            if None in fields or None in fields.values():
                yield Problem(reader.line_num, f"must have {len(columns)} columns")
            else:
                split = fields.get("split", "")
                yield Row(reader.line_num, fields["image"], fields["caption"], split or "")
    except csv.Error as error:
        yield Problem(reader.line_num, f"is not CSV: {error}")


def read_json_lines(path: Path) -> Rows:
    """Rows of a file with one JSON object a line: image, caption and, if wished, split."""
    for number, line in _lines(path):
        if isinstance(line, Problem):
            yield line
            continue
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield Problem(number, f"is not JSON: {error}")
            continue
        known = fields if isinstance(fields, dict) else {}
        image, caption, split = (known.get(name) or "" for name in ("image", "caption", "split"))
        if not all(isinstance(value, str) for value in (image, caption, split)) or not image:
            yield Problem(
                number, 'must be an object with texts "image", "caption" and maybe "split"'
            )
        else:
            yield Row(number, image, caption, split)


def make_records(
    path: Path,
    rows: Rows,
    image_dir: Path,
    wanted: Sequence[str] | None = None,
) -> dict[str, list[Record]]:
    """Groups rows by image and split, and checks everything about them.

    Args:
      path: of the caption file, for messages.
      rows: from a reader.
      image_dir: what image names are relative to.
      wanted: images to keep; None keeps all. Images that are not wanted need not exist.

    Returns:
      Records by split ("" for rows without one), images in the order of the file.

    Raises:
      UserError: every problem found, with its line, up to a limit.
    """
    problems: list[Problem] = []
    grouped: dict[str, list[Row]] = {}
    kept = None if wanted is None else set(wanted)
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
        elif kept is None or row.image in kept:
            grouped.setdefault(row.image, []).append(row)
    there = _existing(image_dir, grouped)
    records: dict[str, list[Record]] = {}
    for image, found in grouped.items():
        problems.extend(_check(image, found, there))
        captions = tuple(row.caption.strip() for row in found)
        record = Record(image, str(image_dir / image), captions)
        records.setdefault(_SPLIT_NAMES.get(found[0].split.lower(), ""), []).append(record)
    if problems:
        raise UserError(_report(path, problems))
    return records


def _check(image: str, rows: Sequence[Row], there: set[str]) -> Iterator[Problem]:
    if image not in there:
        yield Problem(rows[0].line, f"no such image: {image!r}")
    for row in rows:
        if not tokenize(row.caption):
            yield Problem(row.line, f"the caption of {image!r} is empty")
        if row.split and row.split.lower() not in _SPLIT_NAMES:
            names = ", ".join(_SPLIT_NAMES)
            yield Problem(row.line, f"split {row.split!r} must be one of {names}")
        elif row.split.lower() != rows[0].split.lower():
            yield Problem(row.line, f"{image!r} is in split {rows[0].split!r} already")


def _existing(image_dir: Path, images: Iterable[str]) -> set[str]:
    """Those of the images that are files: one listing a folder, not one look an image."""
    there: set[str] = set()
    by_folder: dict[str, list[str]] = {}
    for image in images:
        by_folder.setdefault(os.path.dirname(image), []).append(image)
    for folder, members in by_folder.items():
        try:
            with os.scandir(image_dir / folder) as entries:
                names = {entry.name for entry in entries if entry.is_file()}
        except (OSError, ValueError):  # no such folder, or a name no file can have
            continue
        there.update(image for image in members if os.path.basename(image) in names)
    return there


def _lines(path: Path) -> Iterator[tuple[int, str | Problem]]:
    """Numbered lines of a text file in UTF-8, with or without a byte order mark."""
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


def _report(path: Path, problems: Sequence[Problem]) -> str:
    ordered = sorted(problems, key=lambda problem: problem.line)
    shown = [f"{path}:{problem.line}: {problem.what}" for problem in ordered[:MOST_PROBLEMS]]
    if len(ordered) > len(shown):
        shown.append(f"... and {len(ordered) - len(shown)} more")
    return "\n".join([f"{len(ordered)} problem(s) in the captions", *shown])
