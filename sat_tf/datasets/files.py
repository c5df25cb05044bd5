"""The user's own images, with captions in a table (CSV and its kin) or a JSON-lines file."""

import csv
import hashlib
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from sat_tf.config import DataConfig
from sat_tf.data.image_bytes import SUFFIXES
from sat_tf.data.records import Problems, SourceLocation
from sat_tf.datasets.parsing import OPTIONAL_TEXT, TEXT, Field, has_fields, parse_json, read_lines
from sat_tf.datasets.source import (
    SPLIT_NAMES,
    CaptionFile,
    Reader,
    Row,
    Source,
    data_folder,
    find_splits,
    missing_path,
)
from sat_tf.errors import UserError

# Images go to dev below the first share and to test below the second, if nothing names a split.
_DEV_BELOW, _TEST_BELOW = 0.1, 0.2
# Caption files in --data_dir: the first that is there is read. Hugging Face's folders of images
# have metadata, Kaggle's Flickr8k captions.txt and its Flickr30k results.csv.
_DEFAULT_NAMES = (
    *("captions.csv", "captions.jsonl", "captions.tsv", "captions.txt"),
    *("metadata.csv", "metadata.jsonl", "results.csv"),
)
# Columns, or keys, of published files: the first that is there counts.
IMAGE_COLUMNS = ("image", "image_name", "image_path", "file_name", "filename", "file")
CAPTION_COLUMNS = ("caption", "captions", "comment", "text", "sentence", "description")
_SPLIT = "split"
# What the parser says of a row, and what it means.
_CSV_ERRORS = {
    "unexpected end of data": "a quotation mark that it opens is never closed",
    "field larger than": "a value is very long: is a quotation mark never closed?",
    "expected after": (
        "a closing quotation mark must end the value: inside of one, write two in place of one"
    ),
}
_URL = re.compile("https?://", re.IGNORECASE)
# The name of an image in a table without header; Flickr's have the number of the caption.
_IMAGE_NAME = re.compile(rf"[^\t|]*({'|'.join(map(re.escape, SUFFIXES))})(#\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"#\d+$")


def find_files(config: DataConfig) -> Source:
    """Find the files of `--dataset=files`."""
    folder = data_folder(config)
    document, lists = find_splits(config, ())
    if document and config.captions_file:
        raise UserError(
            f"--splits={document.path} holds captions too: leave --captions_file out, or give lists"
        )
    if document:
        return Source((document,), folder, nearby=(folder,))
    files = _caption_files(config)
    advice = (
        "a column split says where each is, and without one a tenth of the images goes to dev and "
        "to test: add images or the column"
    )
    nearby = () if files[0].split else (files[0].path.parent,)
    return Source(files, folder, lists, _split_by_hash, "" if lists else advice, nearby)


def _caption_files(config: DataConfig) -> tuple[CaptionFile, ...]:
    """Return the caption file that is named or lies in the folder, or one for each split in it."""
    if config.captions_file:
        path = Path(config.captions_file)
        if path.suffix.lower() not in READERS:
            raise UserError(f"--captions_file={path}: must end in {' or '.join(READERS)}")
        if not path.is_file():
            raise missing_path("captions_file", path, config, "file")
        return (CaptionFile(path, READERS[path.suffix.lower()]),)
    # Hugging Face's folders of images may have one for each split, with a file each.
    found = _default_file(config) or [
        file for name, split in SPLIT_NAMES.items() for file in _default_file(config, split, name)
    ]
    if not found:
        raise UserError(
            f"--data_dir={config.data_dir}: holds none of {', '.join(_DEFAULT_NAMES)}; name the "
            "file with --captions_file"
        )
    return tuple(found)


def _default_file(config: DataConfig, split: str = "", folder: str = "") -> list[CaptionFile]:
    """Return the first of the usual caption files in a folder of the data set, if there is one."""
    paths = (Path(config.data_dir, folder, name) for name in _DEFAULT_NAMES)
    return [CaptionFile(x, READERS[x.suffix], split, folder) for x in paths if x.is_file()][:1]


def _split_by_hash(image_id: str) -> str:
    """Return train for four images of five, else dev or test, independent of other images."""
    digest = hashlib.sha256(image_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return "dev" if share < _DEV_BELOW else "test" if share < _TEST_BELOW else "train"


class _Dialect(NamedTuple):
    """How a table is written."""

    delimiter: str
    columns: list[str]  # their names, `image` and `caption` in place of those that hold these
    names: str  # of the columns that are read, as the header has them; "" without a header

    @property
    def is_quoted(self) -> bool:
        """Whether quotation marks may enclose a value; otherwise they are part of it."""
        return self.delimiter in ",;" or (self.delimiter == "\t" and bool(self.names))


def read_table(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a table: CSV, or with semicolons, tabs or bars between the columns.

    The header names a column of `IMAGE_COLUMNS`, one of `CAPTION_COLUMNS` and, optionally, split.
    A table of two columns, names of images and captions, needs no header.
    """
    found = Problems()
    filled = ((at, line) for at, line in read_lines(path, found) if line.strip())
    location, header = next(filled, (SourceLocation(path, 1), ""))
    dialect = None if found else _find_dialect(header, location, found)
    problems += found
    if not dialect:
        return
    delimiter, columns, names = dialect
    if delimiter != "," or {*names.split(", ")} - {"image", "caption", _SPLIT}:
        names = names or f"{', '.join(columns)}; it has no header"
        problems.note(SourceLocation(path), f"read with {delimiter!r} between columns, {names}")
    rows = _parse(path, dialect, problems)
    if dialect.names:
        next(rows, None)
    for location, values in rows:
        if columns[-2:] == ["comment_number", "caption"] and len(values) == len(columns) - 1:
            # One row of Kaggle's Flickr30k lacks the bar after the number of its caption.
            number, _, caption = values[-1].strip().partition(" ")
            if number.isdigit() and caption.strip():
                problems.note(location, f"read as if {delimiter!r} followed the {number}")
                values[-1:] = number, caption
        if len(values) == len(columns):
            row = dict(zip(columns, values, strict=True))
            image = row["image"].strip() if dialect.names else _NUMBER.sub("", row["image"].strip())
            yield Row(location, image, row["caption"], row.get(_SPLIT, ""))
        else:
            what = f"must have {len(columns)} columns; it has {len(values)}"
            if len(values) > len(columns) and dialect.is_quoted:
                what += f": enclose a caption that holds {delimiter!r} in quotation marks"
            problems.add(location, what)


def _find_dialect(line: str, location: SourceLocation, problems: Problems) -> _Dialect | None:
    """Return how a table with this first line is written; None if it can't be one."""
    parsed: dict[str, list[str]] = {}
    for delimiter in "\t|;,":  # a comma may be a part of a caption between others
        # No header is longer, and the parser would refuse a very long value.
        parser = csv.reader([line[:10_000]], delimiter=delimiter, skipinitialspace=True)
        parsed[delimiter] = [value.strip() for value in next(parser, [])]
    for delimiter, values in parsed.items():
        columns = [name.lower() for name in values]
        image, caption = _first_of(columns)
        if [columns.count(x) for x in (image, caption)] == [1, 1] and columns.count(_SPLIT) < 2:
            names = ", ".join(name for name in columns if name in (image, caption, _SPLIT))
            renamed = {image: "image", caption: "caption"}
            return _Dialect(delimiter, [renamed.get(name, name) for name in columns], names)
    for delimiter, values in parsed.items():
        named = [bool(_IMAGE_NAME.fullmatch(x)) and not _URL.match(x) for x in values]
        if sorted(named) == [False, True] and not any(map(_URL.match, values)):
            return _Dialect(delimiter, ["image" if x else "caption" for x in named], "")
    columns = max(parsed.values(), key=len)
    if any(map(_URL.match, columns)):
        what = (
            "holds the address of an image: download the images, and write the names of their "
            "files in place of the addresses"
        )
    else:
        what = (
            f"the header must name image (or {', '.join(IMAGE_COLUMNS[1:])}), caption (or "
            f"{', '.join(CAPTION_COLUMNS[1:])}) and maybe split, once each; it has "
            f"{', '.join(columns) or 'nothing'}"
        )
    problems.add(location, what)
    return None


def _first_of(names: Container[str]) -> tuple[str, str]:
    """Return which columns or keys are the image and the caption; the usual ones if none is."""
    image, caption = (
        next(filter(names.__contains__, known), known[0])
        for known in (IMAGE_COLUMNS, CAPTION_COLUMNS)
    )
    return image, caption


def _parse(
    path: Path, dialect: _Dialect, problems: Problems
) -> Iterator[tuple[SourceLocation, list[str]]]:
    """Yield the rows of a table that are not empty, with the lines in which they begin."""
    reader = csv.reader(
        (line + "\n" for _, line in read_lines(path, problems)),
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.is_quoted else csv.QUOTE_NONE,
        strict=True,
        skipinitialspace=True,
    )
    while True:
        location = SourceLocation(path, reader.line_num + 1)
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = [ours for theirs, ours in _CSV_ERRORS.items() if theirs in str(error)]
            problems.add(location, ": ".join(["is not CSV", *why]))
        else:
            if any(values):
                yield location, values


_TEXTS = Field(
    "a text or a list of texts",
    lambda value: (
        TEXT.is_valid(value)
        or (isinstance(value, list) and bool(value) and all(map(TEXT.is_valid, value)))
    ),
)


def read_json_lines(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a file with one JSON object a line: image, caption, optional split.

    Keys may be any of `IMAGE_COLUMNS` and `CAPTION_COLUMNS`, and the caption a list of several.
    """
    noted: set[tuple[str, str]] = {("image", "caption")}
    for location, line in read_lines(path, problems):
        entry = parse_json(line, location, problems) if line.strip() else None
        if entry is None:
            continue
        image, caption = _first_of(entry)
        fields = {image: TEXT, caption: _TEXTS, _SPLIT: OPTIONAL_TEXT}
        if has_fields(entry, fields, location, problems):
            if (image, caption) not in noted:
                noted.add((image, caption))
                problems.note(SourceLocation(path), f"read {image}, {caption}")
            texts = entry[caption]
            for text in [texts] if isinstance(texts, str) else texts:
                yield Row(location, entry[image], text, entry.get(_SPLIT) or "")


# By the extension of the file.
READERS: dict[str, Reader] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".txt": read_table,
    ".jsonl": read_json_lines,
}
