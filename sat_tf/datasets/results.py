"""Captions of any system: COCO's results format, and text files with one caption a line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sat_tf.data.records import Problems, Record, SourceLocation, raise_if_problems
from sat_tf.datasets.parsing import ID, NAME, TEXT, JsonDocument, has_fields, read_lines
from sat_tf.datasets.source import coco_id
from sat_tf.errors import UserError
from sat_tf.storage import read_json

_LISTED = 5  # images that a message names
_IMAGE_INFO = {"images": {"id": ID, "file_name": NAME}}


def image_ids(paths: Sequence[str], image_info: str = "") -> dict[str, int | str]:
    """Return the id of each image in COCO's results, by its path.

    Args:
      paths: of the images.
      image_info: COCO's list of the images of a split, such as image_info_test2014.json, which
        gives the ids of those that it lists. Without it an id is COCO's number in the name of the
        file if all images have one, else the path.

    Raises:
      UserError: the list can't be read, an image of it is not given, or two images have one id.
    """
    ids: dict[str, int | str] = {}
    if image_info:
        problems = Problems()
        document = JsonDocument(Path(image_info), _IMAGE_INFO, problems)
        known = {entry["file_name"]: entry["id"] for _, entry in document.entries("images")}
        raise_if_problems(problems)
        ids = {path: known[name] for path in paths if (name := os.path.basename(path)) in known}
        if missing := known.keys() - map(os.path.basename, ids):
            raise UserError(
                f"--image_info={image_info}: {len(missing):,} of its {len(known):,} images are not "
                f"given, {', '.join(sorted(missing)[:_LISTED])}: COCO's server wants all"
            )
    else:
        ids.update((path, own) for path in paths if (own := coco_id(path)) is not None)
        if len(ids) < len(paths):
            ids.update((path, path) for path in paths)
    first: dict[int | str, str] = {}
    for path, number in ids.items():
        if first.setdefault(number, path) != path:
            raise UserError(
                f"{path}: has the image_id {number} of {first[number]}: --captions takes one "
                "caption an id"
            )
    return ids


def results_document(records: Sequence[Record], captions: Sequence[str]) -> list[dict[str, Any]]:
    """Return captions, one an image, in COCO's results format, which COCO's server takes.

    An image is named by its id in the document of its data set, if it has one, else by its name.
    """
    return [
        {"image_id": _result_id(record), "caption": caption}
        for record, caption in zip(records, captions, strict=True)
    ]


def _result_id(record: Record) -> int | str:
    return record.image_id if record.document_id is None else record.document_id


def read_results(path: Path, records: Sequence[Record]) -> list[str]:
    """Return the captions of a file in COCO's results format, in the order of the records.

    Args:
      path: of a JSON list of objects with `caption` and `image_id`: the id of the image in the
        document of its data set, as number or text, or its name.
      records: of the images, each of which must have one caption; no other image may have one.

    Raises:
      UserError: the file can't be read, or entries are wrong, all of which are named.
    """
    entries = read_json(path, "captions in COCO's results format")
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of objects with image_id and caption")
    # The id itself comes last: it takes precedence.
    rows: dict[int | str, int] = {record.image_id: row for row, record in enumerate(records)}
    rows |= {str(_result_id(record)): row for row, record in enumerate(records)}
    rows |= {_result_id(record): row for row, record in enumerate(records)}
    captions: dict[int, str] = {}
    problems = Problems()
    for number, entry in enumerate(entries):
        location = SourceLocation(path, f"[{number}]")
        if not has_fields(entry, {"caption": TEXT}, location, problems):
            continue
        image = entry.get("image_id")
        row = rows.get(image) if ID.is_valid(image) else None
        if row is None:
            example = repr(_result_id(records[0]))
            problems.add(location, f"image_id {image!r} is no image of the split, as {example} is")
        elif row in captions:
            problems.add(location, f"image_id {image!r} has a caption already")
        else:
            captions[row] = entry["caption"]
    for row, record in enumerate(() if problems else records):
        if row not in captions:
            problems.add(SourceLocation(path), f"has no caption of {record.image_id!r}")
    raise_if_problems(problems)
    return [captions[row] for row in range(len(records))]


def read_text_results(
    path: Path, reference_paths: Sequence[Path]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return captions, and the references of each image, from text files: line n for image n.

    Args:
      path: of the captions; an empty line is an empty caption.
      reference_paths: of the first references, the second ones and so on; an empty line where an
        image has no more.

    Raises:
      UserError: a file can't be read or has another number of lines, or an image no reference.
    """
    problems = Problems()
    captions, *columns = (
        [line.strip() for _, line in read_lines(one, problems)] for one in (path, *reference_paths)
    )
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
