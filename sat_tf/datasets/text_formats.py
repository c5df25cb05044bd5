"""Caption files of one caption a line -> rows: Flickr's tokens, CSV, JSON lines."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sat_tf.data.records import Problem, Row, Rows, SourceLocation
from sat_tf.errors import UserError


def read_flickr_tokens(path: Path) -> Rows:
    """Rows of `NAME.jpg#NUMBER<tab>CAPTION`, the official format of Flickr8k and Flickr30k."""
    for number, line in read_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line.strip():
            name, tab, caption = line.partition("\t")
            image, _, _ = name.rpartition("#")
            if tab and image:
                yield Row(SourceLocation(path, number), image, caption)
            else:
                yield Problem(SourceLocation(path, number), "is not IMAGE#NUMBER<tab>CAPTION")


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
        yield Problem(SourceLocation(path, number), what + (", ".join(columns) or "nothing"))
        return
    for number, fields in table:
        if isinstance(fields, Problem):
            yield fields
        elif len(fields) != len(columns):
            what = f"must have {len(columns)} columns; it has {len(fields)}"
            yield Problem(SourceLocation(path, number), what)
        else:
            named = dict(zip(columns, fields, strict=True))
            split = named.get("split", "")
            yield Row(SourceLocation(path, number), named["image"], named["caption"], split)


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
            fields = Problem(SourceLocation(path, before + 1), f"is not CSV: {error}")
        for number, line in enumerate(lines[before : reader.line_num], start=before + 1):
            if isinstance(line, Problem):
                yield number, line
        if isinstance(fields, Problem) or any(fields):
            yield before + 1, fields


def read_json_lines(path: Path) -> Rows:
    """Rows of a file with one JSON object a line: image, caption and, if wished, split."""
    for number, line in read_lines(path):
        if isinstance(line, Problem):
            yield line
        elif line.strip():
            yield _read_object(SourceLocation(path, number), line)


def _read_object(location: SourceLocation, line: str) -> Row | Problem:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        return Problem(location, f"is not JSON: {error.msg}, column {error.colno}")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        return Problem(location, f"is not JSON that can be read: {error}")
    if not isinstance(fields, dict):
        return Problem(location, "is not a JSON object")
    texts: list[Any] = [fields.get("image"), fields.get("caption"), fields.get("split") or ""]
    if not all(isinstance(text, str) for text in texts):
        found = ", ".join(fields) or "nothing"
        return Problem(
            location, f"must have image and caption, and maybe split, as texts; has {found}"
        )
    return Row(location, *texts)


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
            yield number, Problem(SourceLocation(path, number), "is not UTF-8 text")
            continue
        yield (
            number,
            Problem(SourceLocation(path, number), "holds a NUL byte") if "\0" in text else text,
        )
