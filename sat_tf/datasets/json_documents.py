"""JSON documents of a whole data set, read with the locations of what is wrong in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from sat_tf.data.records import Problem, SourceLocation
from sat_tf.errors import UserError


def read_document(path: Path, keys: frozenset[str]) -> dict[str, Any] | Problem:
    """The object that a JSON file holds, of each object in it only some keys.

    Raises:
      UserError: the file can't be read.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_hook=lambda found: {key: found[key] for key in keys if key in found},
        )
    except UnicodeDecodeError as error:
        return Problem(
            SourceLocation(path, content.count(b"\n", 0, error.start) + 1), "is not UTF-8 text"
        )
    except json.JSONDecodeError as error:
        return Problem(
            SourceLocation(path, error.lineno), f"is not JSON: {error.msg}, column {error.colno}"
        )
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        return Problem(SourceLocation(path), f"is not JSON that can be read: {error}")
    return (
        document
        if isinstance(document, dict)
        else Problem(SourceLocation(path), "is not a JSON object")
    )


def entries(
    path: Path, document: dict[str, Any], key: str
) -> Iterator[tuple[SourceLocation, dict[str, Any]]]:
    """The objects of a list in the document; {} for what is none, and for the list itself."""
    listed = document.get(key)
    if not isinstance(listed, list):
        yield SourceLocation(path, key), {}
        return
    for number, entry in enumerate(listed):
        yield SourceLocation(path, f"{key}[{number}]"), entry if isinstance(entry, dict) else {}


def is_id(value: Any) -> TypeGuard[int | str]:
    """Whether COCO's documents may have it as an id."""
    return type(value) in (int, str)
