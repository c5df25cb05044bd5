"""Lines of text files and entries of JSON documents, with their locations; faults are reported."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sat_tf.data.records import Problems, SourceLocation
from sat_tf.errors import why_not_json
from sat_tf.text_files import NOT_TEXT, open_text

_NOT_UTF8 = "is not UTF-8 text: save the file as UTF-8"


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
    """A field of a JSON object."""

    what: str  # it must be
    is_valid: Callable[[Any], bool]
    is_unique: bool = False  # in a list of entries, if it is a number or text


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
    text: str, location: SourceLocation, problems: Problems, object_hook: Any = None
) -> dict[str, Any] | None:
    """Return a JSON object; None if it is none, which is reported, of a whole file by its line."""
    try:
        value = json.loads(text, object_hook=object_hook)
    except json.JSONDecodeError as error:
        line = SourceLocation(location.path, location.position or error.lineno)
        problems.add(line, f"is not JSON: {error.msg}, column {error.colno}")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        problems.add(location, f"is not JSON that can be read: {why_not_json(error)}")
    else:
        if isinstance(value, dict):
            return value
        problems.add(location, "is not a JSON object")
    return None


class JsonDocument:
    """A JSON file of a whole data set: an object with lists of entries, of these fields each.

    Other lists and fields are dropped while parsing, as they may take several times the memory.
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
            self._content = parse_json(
                text,
                SourceLocation(path),
                problems,
                lambda found: {key: found[key] for key in keep if key in found},
            )

    def entries(self, key: str) -> Iterator[tuple[SourceLocation, dict[str, Any]]]:
        """Yield the entries of a list with their locations; faulty ones are reported instead."""
        for location, entry, is_valid in self._check(key):
            if is_valid:
                yield location, entry

    def entries_by_id(self, key: str) -> dict[int | str, tuple[SourceLocation, dict[str, Any]]]:
        """Return the entries of a list by their `id`; a faulty entry that has one is {}."""
        found: dict[int | str, tuple[SourceLocation, dict[str, Any]]] = {}
        for location, entry, is_valid in self._check(key):
            if ID.is_valid(entry.get("id")):
                found.setdefault(entry["id"], (location, entry if is_valid else {}))
        return found

    def _check(self, key: str) -> Iterator[tuple[SourceLocation, dict[str, Any], bool]]:
        if self._content is None:
            return
        listed = self._content.get(key)
        if not isinstance(listed, list):
            self._problems.add(SourceLocation(self._path, key), "is not a list")
            return
        fields = self._lists[key]
        first: dict[str, dict[int | str, SourceLocation]] = {
            name: {} for name, field in fields.items() if field.is_unique
        }
        for number, entry in enumerate(listed):
            location = SourceLocation(self._path, f"{key}[{number}]")
            is_valid = has_fields(entry, fields, location, self._problems)
            entry = entry if isinstance(entry, dict) else {}
            for name, locations in first.items():
                value: Any = entry.get(name)
                if ID.is_valid(value) and locations.setdefault(value, location) is not location:
                    what = f"has the {name} of {locations[value].position}, {value!r}"
                    self._problems.add(location, what)
                    is_valid = False
            yield location, entry, is_valid
