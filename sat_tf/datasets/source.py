"""Caption files and lists of splits to validated records; every problem is reported at once.

A reader of a format is a function `(path, problems)` that yields a `Row` for each caption and adds
the errors of the file to `problems`. To add a format of caption files, write such a function and
register it: in `files.READERS` by the extension of the file, or in the `Source` of a data set.
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sat_tf.config import DataConfig
from sat_tf.data.records import SPLITS, Problems, Record, SourceLocation, ValidatedSplits
from sat_tf.datasets.image_files import ImageFiles, name_key
from sat_tf.errors import UserError, in_current_folder, printable, why_not_json
from sat_tf.text_files import NOT_TEXT, open_text
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
_NOT_UTF8 = "is not UTF-8 text: save the file as UTF-8"


class Row(NamedTuple):
    """A caption of an image as a file has it.

    location: in the file.
    image: name of the image.
    caption: not tokenized.
    split: "" if the file names none.
    document_id: see `Record`.
    """

    location: SourceLocation
    image: str
    caption: str
    split: str = ""
    document_id: int | str | None = None


Reader = Callable[[Path, Problems], Iterable[Row]]
# The rows of each image, in the order of the files.
Images = dict[str, list[Row]]


def read_lines(path: Path, problems: Problems) -> Iterator[tuple[SourceLocation, str]]:
    """Yield the lines of a text file; those that can't be read are reported, and yielded as ""."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            location, what = SourceLocation(path, number), ""
            if NOT_TEXT.search(line):
                what = _NOT_UTF8
            elif "\0" in line:
                what = "holds a NUL byte"
            if what:
                problems.add(location, what)
            # A CR within the line is a blank; the CSV parser would take it for the end of a row.
            yield location, "" if what else line.rstrip("\r\n").replace("\r", " ")


class Field(NamedTuple):
    """A field of a JSON object: what it must be, in words and as a test."""

    what: str
    is_valid: Callable[[Any], bool]


ID = Field("a number or text", lambda value: type(value) in (int, str))
OPTIONAL_ID = Field("a number or text, optional", lambda value: value is None or ID.is_valid(value))
TEXT = Field("a text", lambda value: isinstance(value, str))
NAME = Field("a text", lambda value: isinstance(value, str) and bool(value.strip()))
OPTIONAL_TEXT = Field("a text, optional", lambda value: value is None or isinstance(value, str))
Fields = Mapping[str, Field]


def has_fields(entry: Any, fields: Fields, location: SourceLocation, problems: Problems) -> bool:
    """Return whether a JSON value is an object with these fields; report the wrong ones."""
    values = entry if isinstance(entry, dict) else {}
    wrong = [
        f"{name} ({field.what})"
        for name, field in fields.items()
        if not field.is_valid(values.get(name))
    ]
    if wrong:
        problems.add(location, f"must have {' and '.join(wrong)}")
    return not wrong


def parse_json(
    text: str, location: SourceLocation, problems: Problems, keep: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """Return a JSON object; None if it is none, which is reported.

    Args:
      text: JSON.
      location: of the text; the line is added for a file.
      problems: to which errors are added.
      keep: keys kept in each object; the others are dropped while parsing, as they may take
        several times the memory of the rest. None: all.
    """

    def select(found: dict[str, Any]) -> dict[str, Any]:
        return {key: found[key] for key in keep or () if key in found}

    try:
        value = json.loads(text, object_hook=select if keep else None)
    except json.JSONDecodeError as error:
        if not location.position:
            location = SourceLocation(location.path, error.lineno)
        problems.add(location, f"is not JSON: {error.msg}, column {error.colno}")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        problems.add(location, f"is not JSON that can be read: {why_not_json(error)}")
    else:
        if isinstance(value, dict):
            return value
        problems.add(location, "is not a JSON object")
    return None


class JsonDocument:
    """A JSON file of a whole data set: an object with lists of entries.

    Args:
      path: of the file.
      lists: the fields of the entries of each list; others are not read.
      problems: to which errors are added.
    """

    def __init__(self, path: Path, lists: Mapping[str, Fields], problems: Problems) -> None:
        self._path, self._lists, self._problems = path, lists, problems
        self._content = None
        keep = {*lists, *itertools.chain.from_iterable(lists.values())}
        with open_text(path) as file:
            text = file.read()
        if wrong := NOT_TEXT.search(text):
            line = text.count("\n", 0, wrong.start()) + 1
            problems.add(SourceLocation(path, line), _NOT_UTF8)
        else:
            self._content = parse_json(text, SourceLocation(path), problems, [*keep])

    def entries(self, key: str) -> Iterator[tuple[SourceLocation, dict[str, Any]]]:
        """Yield the entries of a list with their locations; faulty ones are reported instead."""
        for location, entry, is_valid in self._check(key):
            if is_valid:
                yield location, entry

    def entries_by_id(self, key: str) -> dict[int | str, tuple[SourceLocation, dict[str, Any]]]:
        """Return the entries of a list by their `id`; a faulty entry that has one is {}."""
        found: dict[int | str, tuple[SourceLocation, dict[str, Any]]] = {}
        for location, entry, is_valid in self._check(key):
            number: Any = entry.get("id")
            if not ID.is_valid(number):
                continue
            first, _ = found.setdefault(number, (location, entry if is_valid else {}))
            if first is not location:
                self._problems.add(location, f"has the id of {first.position}, {number!r}")
        return found

    def _check(self, key: str) -> Iterator[tuple[SourceLocation, dict[str, Any], bool]]:
        if self._content is None:
            return
        listed = self._content.get(key)
        if not isinstance(listed, list):
            self._problems.add(SourceLocation(self._path, key), "is not a list")
            return
        for number, entry in enumerate(listed):
            location = SourceLocation(self._path, f"{key}[{number}]")
            is_valid = has_fields(entry, self._lists[key], location, self._problems)
            yield location, entry if isinstance(entry, dict) else {}, is_valid


_SENTENCES = Field("a list, not empty", lambda value: isinstance(value, list) and bool(value))
_KARPATHY = {
    "images": {
        "filename": NAME,
        "filepath": OPTIONAL_TEXT,
        "split": NAME,
        "sentences": _SENTENCES,
        "cocoid": OPTIONAL_ID,
    },
    "sentences": {"raw": TEXT},
}
# Names of COCO's own files, which hold their ids.
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.jpg")


def coco_id(image: str) -> int | None:
    """Return COCO's id of an image by the name of its file; None for names that are not COCO's."""
    found = _COCO_NAME.fullmatch(os.path.basename(image))
    return int(found[1]) if found else None


def read_karpathy(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of Karpathy's `dataset_*.json`, which names the split of each image."""
    first: dict[str, SourceLocation] = {}
    for location, entry in JsonDocument(path, _KARPATHY, problems).entries("images"):
        folder = entry.get("filepath")
        image = f"{folder}/{entry['filename']}" if folder else entry["filename"]
        if first.setdefault(image, location) is not location:
            problems.add(location, f"{image!r} is {first[image].position} already")
            continue
        own = entry.get("cocoid")
        document_id = coco_id(image) if own is None else own
        for number, sentence in enumerate(entry["sentences"]):
            at = SourceLocation(path, f"{location.position}.sentences[{number}]")
            if has_fields(sentence, _KARPATHY["sentences"], at, problems):
                yield Row(at, image, sentence["raw"], entry["split"], document_id)


class CaptionFile(NamedTuple):
    """A file with captions and its reader; `split` is that of all its images, or ""."""

    path: Path
    read: Reader
    split: str = ""

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the captions; that there is none is a problem."""
        before, is_empty = len(problems), True
        for row in self.read(self.path, problems):
            is_empty = False
            yield row
        if is_empty and len(problems) == before:
            problems.add(SourceLocation(self.path), "holds no caption")


# Files with one image name a line, by split; COCO has two for train (train and restval).
SplitLists = Mapping[str, Sequence[Path]]


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a data set.

    Attributes:
      files: with captions.
      image_dir: the folder that image names are relative to.
      nearby: further folders of images, see `ImageFiles`.
      lists: which image is in which split; without lists, the caption files say so.
      default_split: maps the name of an image to its split if nothing else does; "": to none.
      advice: what to do if a split has no image; {split} is its name.
    """

    files: tuple[CaptionFile, ...]
    image_dir: Path
    lists: SplitLists = dataclasses.field(default_factory=dict)
    default_split: Callable[[str], str] = lambda image: ""
    advice: str = ""
    nearby: tuple[Path, ...] = ()

    def available(self) -> tuple[str, ...]:
        """Return the splits that have an image, as far as is known without validation."""
        available = set(self.lists) or {file.split for file in self.files}
        if "" in available:
            # Problems are reported when splits are loaded, together with all others.
            available = set(self._images_by_split(SPLITS, Problems()))
        return tuple(split for split in SPLITS if split in available)

    def validate(self, splits: Sequence[str]) -> ValidatedSplits:
        """Return the valid records of the splits, and every problem.

        Images and caption files of other splits need not exist.

        Raises:
          UserError: a file can't be read, or a split has no image and no problem explains it.
        """
        problems = Problems()
        images = self._images_by_split(splits, problems)
        files = ImageFiles(self.image_dir, self.nearby)
        records = {split: make_records(images.get(split, {}), files, problems) for split in splits}
        files.add_notes(problems)
        empty = [split for split in splits if not records[split]]
        if empty and not problems:
            paths = ", ".join(printable(file.path) for file in self.files)
            available = ", ".join(self.available()) or "none"
            advice = f": {self.advice.format(split=empty[0])}" if self.advice else ""
            raise UserError(
                f"{paths}: no image in the split {empty[0]} (available: {available}){advice}"
            )
        return ValidatedSplits(records, problems)

    def _images_by_split(self, splits: Sequence[str], problems: Problems) -> dict[str, Images]:
        """Return the rows of these splits at least."""
        files = [f for f in self.files if self.lists or not f.split or f.split in splits]
        images = group_by_image(
            itertools.chain.from_iterable(file.rows(problems) for file in files), problems
        )
        if not self.lists:
            return split_by_rows(images, self.default_split, problems)
        lists = {split: self.lists.get(split, ()) for split in splits}
        return split_by_lists(images, lists, ", ".join(f.path.name for f in files), problems)


def group_by_image(rows: Iterable[Row], problems: Problems) -> Images:
    """Return the rows of each image; rows whose text can't be printed or written are reported."""
    images: Images = {}
    for row in rows:
        if any(map(NOT_TEXT.search, (row.image, row.caption, row.split))):
            problems.add(row.location, "holds half a character (a lone surrogate)")
        elif "\0" in row.caption:
            problems.add(row.location, "holds a NUL character")
        else:
            images.setdefault(row.image, []).append(row)
    return images


def split_by_rows(
    images: Images, default_split: Callable[[str], str], problems: Problems
) -> dict[str, Images]:
    """Divide images into the splits that their rows name, or by default if no row names one."""
    are_named = any(row.split.strip() for rows in images.values() for row in rows)
    by_split: dict[str, Images] = {}
    for image, rows in images.items():
        splits = [SPLIT_NAMES.get(row.split.strip().lower(), "") for row in rows]
        first = next(filter(None, splits), "")
        for row, split in zip(rows, splits, strict=True) if are_named else ():
            if not row.split.strip():
                problems.add(row.location, "names no split, as others do")
            elif not split:
                what = f"split {row.split!r} must be one of {', '.join(SPLIT_NAMES)}"
                problems.add(row.location, what)
            elif split != first:
                problems.add(row.location, f"{row.image!r} is in the split {first} already")
        by_split.setdefault(first or default_split(image), {})[image] = rows
    return by_split


def split_by_lists(
    images: Images, lists: SplitLists, captions: str, problems: Problems
) -> dict[str, Images]:
    """Divide images into splits by lists of their names, in the order of the lists.

    Images of no list are left out.

    Args:
      images: to divide; splits that their rows name are ignored.
      lists: of the splits wanted.
      captions: names of the caption files, for problems.
      problems: to which errors are added.
    """
    listed: dict[str, tuple[str, SourceLocation]] = {}
    for split, path in ((split, path) for split, paths in lists.items() for path in paths):
        for name, location in _read_list(path, problems):
            first, _ = listed.setdefault(name, (split, location))
            if first != split:
                problems.add(location, f"{name!r} is in the split {first} already")
    images_of: dict[str, list[str]] = {}
    for image in images:
        base = os.path.basename(image)
        # Lists name an image with its folder or without, or without its extension.
        forms = (image, base, os.path.splitext(base)[0])
        images_of.setdefault(next(filter(listed.__contains__, forms), ""), []).append(image)
    # Images of no list, by what names that look alike have in common.
    alike: dict[str, list[str]] = {}
    if not images_of.keys() >= listed.keys():
        for image in images_of.get("", ()):
            base = os.path.basename(image)
            for form in {name_key(form) for form in (image, base, os.path.splitext(base)[0])}:
                alike.setdefault(form, []).append(image)
    by_split: dict[str, Images] = {split: {} for split in lists}
    for name, (split, location) in listed.items():
        found = images_of.get(name) or alike.get(name_key(name), [])
        by_split[split].update((image, images[image]) for image in found)
        if not found:
            problems.add(location, f"{name!r} has no caption in {captions}")
        elif len(found) > 1:
            problems.add(location, f"{name!r} may be {' or '.join(map(repr, found))}")
    return by_split


def _read_list(path: Path, problems: Problems) -> list[tuple[str, SourceLocation]]:
    """Return the names in a file with one image name a line."""
    before = len(problems)
    lines = [(line.strip(), location) for location, line in read_lines(path, problems)]
    names = [(name, location) for name, location in lines if name]
    if not names and len(problems) == before:
        problems.add(SourceLocation(path), "lists no image")
    return names


def make_records(images: Images, files: ImageFiles, problems: Problems) -> tuple[Record, ...]:
    """Return the records of images that exist, with the captions that have a word."""
    records = []
    for image, rows in images.items():
        location, *_, document_id = rows[0]
        path = files.find(image, location, problems)
        captions = []
        for row in rows:
            if _LETTER_OR_DIGIT.search(row.caption) or tokenize(row.caption):
                captions.append(row.caption.strip())
            else:
                problems.add(row.location, f"the caption of {image!r} is empty")
        if captions and path:
            records.append(Record(image, path, tuple(captions), document_id=document_id))
    return tuple(records)


def data_folder(config: DataConfig) -> Path:
    """Return `--data_dir`; raise a `UserError` if it is no folder."""
    folder = Path(config.data_dir)
    if not folder.is_dir():
        where = in_current_folder(folder)
        raise UserError(printable(f"--data_dir={folder}: no such folder{where}"))
    return folder


def missing_path(flag: str, path: Path, config: DataConfig, what: str) -> UserError:
    """Return the error for a path of a flag that does not exist.

    Args:
      flag: without dashes.
      path: that the flag names.
      config: of the data set; `--data_dir` may hold the path.
      what: that the path should be.
    """
    message = f"--{flag}={path}: no such {what}{in_current_folder(path)}"
    if not path.is_absolute() and (inside := Path(config.data_dir) / path).exists():
        message += f"; there is --{flag}={inside}"
    return UserError(printable(message))


def find_splits(config: DataConfig, patterns: Sequence[str]) -> tuple[Path | None, SplitLists]:
    """Find the splits of `--splits`, else those in `--data_dir`.

    Args:
      config: of the data set.
      patterns: file names of its lists, {} instead of the name of a split.

    Returns:
      Path of a document of Karpathy's, or None; lists, or none of them.
    """
    if not config.splits:
        lists = _find_lists(Path(config.data_dir), patterns)
        document = Path(config.data_dir) / f"dataset_{config.dataset}.json"
        is_used = not lists and config.dataset != "files" and document.is_file()
        return (document if is_used else None), lists
    path = Path(config.splits)
    if path.is_file():
        return path, {}
    if not path.is_dir():
        raise missing_path("splits", path, config, "file or folder")
    patterns = (*patterns, "{}.txt")
    lists = _find_lists(path, patterns)
    if not lists:
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
