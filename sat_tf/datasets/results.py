"""Captions of any system: COCO's results format, and text files with one caption a line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sat_tf.data.records import Problems, Record, SourceLocation, raise_if_problems
from sat_tf.datasets.source import TEXT, has_fields, read_lines
from sat_tf.errors import UserError
from sat_tf.storage import read_json

# The file of image 42 is COCO_val2014_000000000042.jpg.
_COCO_ID = re.compile(r"(?<!\d)(\d{12})\.\w+$")


def coco_id(image_id: str) -> int | None:
    """Return COCO's number of an image, by the name of its file; None for other names."""
    found = _COCO_ID.search(image_id)
    return int(found[1]) if found else None


def results_document(
    records: Sequence[Record], captions: Sequence[str], use_coco_ids: bool
) -> list[dict[str, Any]]:
    """Return captions, one an image, in COCO's results format.

    Args:
      records: of the images.
      captions: one an image.
      use_coco_ids: whether images have COCO's number where their name has one, as COCO's server
        takes them, or their name.
    """
    return [
        {
            "image_id": (use_coco_ids and coco_id(record.image_id)) or record.image_id,
            "caption": caption,
        }
        for record, caption in zip(records, captions, strict=True)
    ]


def read_results(path: Path, records: Sequence[Record]) -> list[str]:
    """Return the captions of a file in COCO's results format, in the order of the records.

    Args:
      path: of a JSON list of objects with `image_id`, a name or COCO's number, and `caption`.
      records: of the images, each of which must have one caption; no other image may have one.

    Raises:
      UserError: the file can't be read, or entries are wrong, all of which are named.
    """
    entries = read_json(path, "captions in COCO's results format")
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of objects with image_id and caption")
    rows: dict[Any, int] = {record.image_id: row for row, record in enumerate(records)}
    rows |= {coco_id(r.image_id) or r.image_id: row for row, r in enumerate(records)}
    captions: dict[int, str] = {}
    problems = Problems()
    for number, entry in enumerate(entries):
        location = SourceLocation(path, f"[{number}]")
        if not has_fields(entry, {"caption": TEXT}, location, problems):
            continue
        image = entry.get("image_id")
        row = rows.get(image) if isinstance(image, str | int) else None
        if row is None:
            problems.add(location, f"image_id {image!r} is no image of the split")
        elif row in captions:
            problems.add(location, f"image_id {image!r} has a caption already")
        else:
            captions[row] = entry["caption"]
    if not problems:
        missing = [record.image_id for row, record in enumerate(records) if row not in captions]
        for image_id in missing:
            problems.add(SourceLocation(path), f"has no caption of {image_id!r}")
    raise_if_problems(problems)
    return [captions[row] for row in range(len(records))]


def read_text_results(
    path: Path, reference_paths: Sequence[Path]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return captions and references from text files, line n of each for image n.

    Args:
      path: of the captions; an empty line is an empty caption.
      reference_paths: of the first references, the second ones and so on; an empty line where an
        image has no more.

    Returns:
      The captions, and the references of each image.

    Raises:
      UserError: a file can't be read or has another number of lines, or an image no reference.
    """
    problems = Problems()
    captions, *columns = (_read_column(one, problems) for one in (path, *reference_paths))
    raise_if_problems(problems)
    for reference_path, column in zip(reference_paths, columns, strict=True):
        if len(column) != len(captions):
            raise UserError(
                f"{reference_path}: has {len(column):,} lines, but {path} has {len(captions):,}: "
                "line n of each is of image n"
            )
    references = [tuple(filter(None, texts)) for texts in zip(*columns, strict=True)]
    for line, texts in enumerate(references, start=1):
        if not texts:
            location = SourceLocation(reference_paths[0], line)
            problems.add(location, "the image has no reference in any file")
    raise_if_problems(problems)
    return captions, references


def _read_column(path: Path, problems: Problems) -> list[str]:
    lines = [line.strip() for _, line in read_lines(path, problems)]
    return lines if lines[-1] else lines[:-1]  # after the newline of the last line
