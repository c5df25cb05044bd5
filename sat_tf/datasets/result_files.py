"""Captions that any system wrote: COCO's results format, and plain text, one caption a line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sat_tf.data.records import Problem, Record, SourceLocation, raise_if_problems
from sat_tf.errors import UserError
from sat_tf.storage import read_json

# COCO's number of an image closes its file's name: COCO_val2014_000000000042.jpg is 42.
_COCO_NUMBER = re.compile(r"(\d{12})\.\w+$")


def coco_number(image_id: str) -> int | None:
    """The number that COCO gives an image, from its file's name; None for other names."""
    found = _COCO_NUMBER.search(image_id)
    return int(found[1]) if found else None


def results_document(
    records: Sequence[Record], captions: Sequence[str], numbered: bool
) -> list[dict[str, Any]]:
    """Captions in COCO's results format, as its server takes them.

    Args:
      records: of the images.
      captions: one an image.
      numbered: whether images go by COCO's number, where their name has one, or by their name.
    """
    return [
        {
            "image_id": (numbered and coco_number(record.image_id)) or record.image_id,
            "caption": caption,
        }
        for record, caption in zip(records, captions, strict=True)
    ]


def read_results(path: Path, records: Sequence[Record]) -> list[str]:
    """The captions of a file in COCO's results format, in the order of the records.

    Args:
      path: of a JSON list of objects with `image_id`, a name or COCO's number, and `caption`.
      records: of the images: each must have its caption in the file, and no other may.

    Raises:
      UserError: the file can't be read, or something is wrong in it; each entry is named.
    """
    entries = read_json(path, "captions in COCO's results format")
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of objects with image_id and caption")
    rows: dict[Any, int] = {}
    for row, record in enumerate(records):
        rows[record.image_id] = row
        rows[coco_number(record.image_id) or record.image_id] = row
    captions: dict[int, str] = {}
    problems = []
    for number, entry in enumerate(entries):
        location = SourceLocation(path, f"[{number}]")
        if not isinstance(entry, dict) or not isinstance(entry.get("caption"), str):
            problems.append(Problem(location, "must be an object with a text as its caption"))
            continue
        image = entry.get("image_id")
        row = rows.get(image, -1) if isinstance(image, str | int) else -1
        if row < 0:
            problems.append(Problem(location, f"image_id {image!r} is no image of the split"))
        elif row in captions:
            problems.append(Problem(location, f"image_id {image!r} has a caption already"))
        else:
            captions[row] = entry["caption"]
    problems += [
        Problem(SourceLocation(path), f"has no caption of {record.image_id!r}")
        for row, record in enumerate(records)
        if row not in captions and not problems
    ]
    raise_if_problems(problems)
    return [captions[row] for row in range(len(records))]


def read_lines(
    path: Path, reference_paths: Sequence[Path]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Captions and their references from plain text, line n of each file for image n.

    Args:
      path: of the captions; an empty line is an empty caption.
      reference_paths: of the first references, the second ones and so on; an empty line where an
        image has no more.

    Returns:
      The captions, and the references of each image.

    Raises:
      UserError: a file can't be read or has another number of lines, or an image no reference.
    """
    captions = _lines(path)
    columns = [_lines(reference_path) for reference_path in reference_paths]
    for reference_path, column in zip(reference_paths, columns, strict=True):
        if len(column) != len(captions):
            raise UserError(
                f"{reference_path}: has {len(column):,} lines, but {path} has {len(captions):,}: "
                "line n of each is of image n"
            )
    references = [tuple(filter(None, texts)) for texts in zip(*columns, strict=True)]
    raise_if_problems(
        [
            Problem(
                SourceLocation(reference_paths[0], number), "the image has no reference in any file"
            )
            for number, texts in enumerate(references, start=1)
            if not texts
        ]
    )
    return captions, references


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: can't be read: {reason}") from None
    # Not splitlines(), which also parts at characters that may stand in a caption.
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []
