"""Caption files and lists of splits to validated records; every problem is reported at once.

A reader of a format is a function `(path, problems)` that yields a `Row` for each caption and adds
the errors of the file to `problems`. To add a format of caption files, write such a function and
register it: in `files.READERS` by the extension of the file, or in the `Source` of a data set.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sat_tf.config import DataConfig
from sat_tf.data.records import SPLITS, Problems, Record, SourceLocation, ValidatedSplits
from sat_tf.datasets.image_files import ImageFiles, name_key
from sat_tf.datasets.parsing import (
    NAME,
    OPTIONAL_ID,
    OPTIONAL_TEXT,
    TEXT,
    Field,
    JsonDocument,
    has_fields,
    read_lines,
)
from sat_tf.errors import UserError, in_current_folder, printable
from sat_tf.text_files import NOT_TEXT
from sat_tf.vocabulary import tokenize

# Names of splits in files; restval is the part of COCO's validation images that Karpathy's splits
# leave over, on which everybody trains.
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "restval": "train",
}
# A text with one of these has a word: most captions need no tokenizer to be checked.
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


class Row(NamedTuple):
    """A caption of an image as a file has it."""

    location: SourceLocation
    image: str  # its name
    caption: str
    split: str = ""  # if the file names one
    document_id: int | str | None = None  # see `Record`


Reader = Callable[[Path, Problems], Iterable[Row]]
# The rows of each image, in the order of the files.
Images = Mapping[str, Sequence[Row]]
# Files with one image name a line, by split; COCO has two for train (train and restval).
SplitLists = Mapping[str, Sequence[Path]]


class CaptionFile(NamedTuple):
    """A file with captions and its reader."""

    path: Path
    read: Reader
    split: str = ""  # of all its images, if it has one
    folder: str = ""  # of these images, which becomes a part of their names

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the captions that can be printed and written; that there is none is a problem."""
        before, row = len(problems), None
        for row in self.read(self.path, problems):
            if any(map(NOT_TEXT.search, (row.image, row.caption, row.split))):
                problems.add(row.location, "holds half a character (a lone surrogate)")
            elif "\0" in row.caption:
                problems.add(row.location, "holds a NUL character")
            elif self.split:
                location, image, caption, _, document_id = row
                yield Row(location, f"{self.folder}/{image}", caption, self.split, document_id)
            else:
                yield row
        if not row and len(problems) == before:
            problems.add(SourceLocation(self.path), "holds no caption")


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a data set."""

    files: tuple[CaptionFile, ...]
    image_dir: Path  # that names of images are relative to
    lists: SplitLists = dataclasses.field(default_factory=dict)  # without, the files name splits
    default_split: Callable[[str], str] = lambda image: ""  # of an image, if nothing names one
    advice: str = ""  # what to do if a split, {split}, has no image
    nearby: tuple[Path, ...] = ()  # further folders of images, see `ImageFiles`

    def available(self) -> tuple[str, ...]:
        """Return the splits that have an image, as far as is known without validation."""
        available = set(self.lists) or {file.split for file in self.files}
        if "" in available:
            # Problems are reported when splits are loaded, together with all others.
            available = set(self._divide(SPLITS, Problems())[1].values())
        return tuple(split for split in SPLITS if split in available)

    def validate(self, splits: Sequence[str]) -> ValidatedSplits:
        """Return the valid records of the splits, and every problem.

        Images and caption files of other splits need not exist.

        Raises:
          UserError: a file can't be read, or a split has no image and no problem explains it.
        """
        problems = Problems()
        images, split_of = self._divide(splits, problems)
        files = ImageFiles(self.image_dir, self.nearby)
        records: dict[str, list[Record]] = {split: [] for split in splits}
        for image, split in split_of.items():
            if split in records:
                record = _make_record(image, images[image], files, problems)
                records[split] += [record] if record else []
        files.add_notes(problems)
        empty = next((split for split in splits if not records[split]), "")
        if empty and not problems:
            paths = ", ".join(printable(file.path) for file in self.files)
            available = ", ".join(self.available()) or "none"
            advice = f": {self.advice.format(split=empty)}" if self.advice else ""
            raise UserError(
                f"{paths}: no image in the split {empty} (available: {available}){advice}"
            )
        return ValidatedSplits({split: tuple(found) for split, found in records.items()}, problems)

    def _divide(self, splits: Sequence[str], problems: Problems) -> tuple[Images, dict[str, str]]:
        """Return the rows of each image, and the split of images, of these splits at least."""
        images: dict[str, list[Row]] = {}
        files = [f for f in self.files if self.lists or not f.split or f.split in splits]
        for file in files:
            for row in file.rows(problems):
                images.setdefault(row.image, []).append(row)
        if not self.lists:
            return images, _split_by_rows(images, self.default_split, problems)
        lists = {split: self.lists.get(split, ()) for split in splits}
        captions = ", ".join(file.path.name for file in files)
        return images, _split_by_lists(images, lists, captions, problems)


def _split_by_rows(
    images: Images, default_split: Callable[[str], str], problems: Problems
) -> dict[str, str]:
    """Return the split of each image: that its rows name, or the default if no row names any."""
    are_named = any(row.split.strip() for rows in images.values() for row in rows)
    split_of: dict[str, str] = {}
    for image, rows in images.items():
        splits = [SPLIT_NAMES.get(row.split.strip().lower(), "") for row in rows]
        first = split_of[image] = next(filter(None, splits), "") or default_split(image)
        for row, split in zip(rows, splits, strict=True) if are_named else ():
            if not row.split.strip():
                problems.add(row.location, "names no split, as others do")
            elif not split:
                what = f"split {row.split!r} must be one of {', '.join(SPLIT_NAMES)}"
                problems.add(row.location, what)
            elif split != first:
                problems.add(row.location, f"{row.image!r} is in the split {first} already")
    return split_of


def _split_by_lists(
    images: Iterable[str], lists: SplitLists, captions: str, problems: Problems
) -> dict[str, str]:
    """Return the split of each image that lists name, in the order of the lists.

    A list names an image with its folder, without, or without its extension too; the names that
    are no image's as they are written are those of images that look alike (see `name_key`).
    Messages name the caption files as `captions`.
    """
    listed: dict[str, tuple[str, SourceLocation]] = {}
    for split, path in ((split, path) for split, paths in lists.items() for path in paths):
        for location, name in _read_list(path, problems):
            first, _ = listed.setdefault(name, (split, location))
            if first != split:
                problems.add(location, f"{name!r} is in the split {first} already")
    images_of: dict[str, list[str]] = {name: [] for name in listed}
    rest: list[str] = []
    for image in images:
        images_of_name = (images_of[form] for form in _forms(image) if form in listed)
        next(images_of_name, rest).append(image)
    missing = {name_key(name): found for name, found in images_of.items() if not found}
    for image in rest if missing else ():
        alike = (missing[key] for key in map(name_key, _forms(image)) if key in missing)
        next(alike, []).append(image)
    for name, found in images_of.items():
        if not found:
            problems.add(listed[name][1], f"{name!r} has no caption in {captions}")
        elif len(found) > 1:
            problems.add(listed[name][1], f"{name!r} may be {' or '.join(map(repr, found))}")
    return {image: listed[name][0] for name, found in images_of.items() for image in found}


def _forms(image: str) -> tuple[str, str, str]:
    base = os.path.basename(image)
    return image, base, os.path.splitext(base)[0]


def _read_list(path: Path, problems: Problems) -> list[tuple[SourceLocation, str]]:
    """Return the names in a file with one image name a line."""
    before = len(problems)
    names = [(at, line.strip()) for at, line in read_lines(path, problems) if line.strip()]
    if not names and len(problems) == before:
        problems.add(SourceLocation(path), "lists no image")
    return names


def _make_record(
    image: str, rows: Sequence[Row], files: ImageFiles, problems: Problems
) -> Record | None:
    """Return an image that exists with the captions that have a word; None without either."""
    path = files.find(image, rows[0].location, problems)
    captions = []
    for row in rows:
        if _LETTER_OR_DIGIT.search(row.caption) or tokenize(row.caption):
            captions.append(row.caption.strip())
        else:
            problems.add(row.location, f"the caption of {image!r} is empty")
    if not (path and captions):
        return None
    return Record(image, path, tuple(captions), document_id=rows[0].document_id)


# --- Where a data set has its splits


_KARPATHY = {
    "filename": NAME,
    "filepath": OPTIONAL_TEXT,
    "split": NAME,
    "sentences": Field("a list, not empty", lambda value: isinstance(value, list) and bool(value)),
    "cocoid": OPTIONAL_ID,
}
_SENTENCE = {"raw": TEXT}
# Names of COCO's own files, which hold their ids.
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.jpg")


def coco_id(image: str) -> int | None:
    """Return COCO's id of an image by the name of its file; None for names that are not COCO's."""
    found = _COCO_NAME.fullmatch(os.path.basename(image))
    return int(found[1]) if found else None


def read_karpathy(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of Karpathy's `dataset_*.json`, which names the split of each image."""
    first: dict[str, SourceLocation] = {}
    lists = {"images": _KARPATHY, "sentences": _SENTENCE}
    for location, entry in JsonDocument(path, lists, problems).entries("images"):
        folder = entry.get("filepath")
        image = f"{folder}/{entry['filename']}" if folder else entry["filename"]
        if first.setdefault(image, location) is not location:
            problems.add(location, f"{image!r} is {first[image].position} already")
            continue
        own = entry.get("cocoid")
        document_id = coco_id(image) if own is None else own
        for number, sentence in enumerate(entry["sentences"]):
            at = SourceLocation(path, f"{location.position}.sentences[{number}]")
            if has_fields(sentence, _SENTENCE, at, problems):
                yield Row(at, image, sentence["raw"], entry["split"], document_id)


def data_folder(config: DataConfig) -> Path:
    """Return `--data_dir`; raise a `UserError` if it is no folder."""
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise missing_path("data_dir", folder, config, "folder")
    return folder


def missing_path(flag: str, path: Path, config: DataConfig, what: str) -> UserError:
    """Return the error for the path of a flag, which should be a `what` and does not exist."""
    message = f"--{flag}={path}: no such {what}{in_current_folder(path)}"
    if not path.is_absolute() and (inside := Path(config.data_dir) / path).exists():
        message += f"; there is --{flag}={inside}"
    return UserError(printable(message))


def find_splits(
    config: DataConfig, patterns: Sequence[str]
) -> tuple[CaptionFile | None, SplitLists]:
    """Return a document of Karpathy's, or lists, or neither, of `--splits` or else `--data_dir`.

    Lists have the names of a pattern, in which {} stands for the name of a split.
    """
    path = Path(config.splits or config.data_dir)
    if not path.exists():
        raise missing_path("splits", path, config, "file or folder")
    if config.splits:
        document, patterns = path, (*patterns, "{}.txt")
    else:
        document = path / f"dataset_{config.dataset}.json"
    lists = _find_lists(path, patterns)
    if document.is_file() and not lists and (config.splits or config.dataset != "files"):
        return CaptionFile(document, read_karpathy), {}
    if config.splits and not lists:
        names = " or ".join(pattern.format("train") for pattern in patterns)
        raise UserError(f"--splits={path}: holds no list of image names ({names}, and so on)")
    return None, lists


def _find_lists(folder: Path, patterns: Sequence[str]) -> SplitLists:
    """Return the lists of the first pattern that fits a file of the folder."""
    for pattern in patterns:
        found: dict[str, list[Path]] = {}
        for name, split in SPLIT_NAMES.items():
            path = folder / pattern.format(name)
            if path.is_file():
                found.setdefault(split, []).append(path)
        if found:
            return found
    return {}
