"""COCO's `instances_*.json`: the boxes of objects of eighty categories."""

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sat_tf.config import MOST_PIXELS
from sat_tf.data.objects import Box, NamedBox, ObjectBoxes, intersect
from sat_tf.data.records import Problem, SourceLocation, ValidatedObjects
from sat_tf.datasets.json_documents import entries, is_id, read_document
from sat_tf.vocabulary import tokenize

# The outlines of objects are let go while the file is parsed: they are most of it.
_KEYS = frozenset(
    (
        *("images", "id", "file_name", "height", "width"),
        *("annotations", "image_id", "category_id", "bbox"),
        *("categories", "name"),
    )
)
# What captions call the objects of a category beside its name, in the singular.
SYNONYMS = {
    "person": "man woman boy girl child kid baby lady guy player surfer skier",
    "bicycle": "bike",
    "motorcycle": "motorbike",
    "airplane": "plane",
    "traffic light": "stoplight",
    "fire hydrant": "hydrant",
    "couch": "sofa",
    "dining table": "table",
    "potted plant": "plant",
    "tv": "television",
    "cell phone": "phone cellphone",
    "refrigerator": "fridge",
    "donut": "doughnut",
    "sports ball": "ball",
    "baseball bat": "bat",
    "tennis racket": "racket racquet",
}
_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "sheep": "sheep",
}
_HISSING = ("s", "x", "ch", "sh")

# Words -> the category that they name.
Names = Mapping[tuple[str, ...], str]


def read_instances(path: Path, image_ids: Iterable[str]) -> ValidatedObjects:
    """The annotated ones of some images.

    A word of a caption names the objects of a category if it ends the category's name, the name's
    plural or one of `SYNONYMS`; of several names that end there the longest counts, so that a "hot
    dog" is no dog. What the words mean beyond that is not looked at: the "train" of a "train
    station" names a train, if one is there. An object is called by its category; of its box counts
    what lies in the image, and objects without such a part are left out.

    Args:
      path: of the document.
      image_ids: of images; those whose file's name the document has are annotated.

    Raises:
      UserError: the file can't be read.
    """
    document = read_document(path, _KEYS)
    if isinstance(document, Problem):
        return ValidatedObjects({}, [document])
    problems: list[Problem] = []
    categories = _read_categories(path, document, problems)
    sizes = _read_sizes(path, document, problems)
    objects: dict[int | str, list[NamedBox]] = {}
    for location, entry in entries(path, document, "annotations"):
        found = _read_box(location, entry, sizes, categories)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            image, category, bounds = found
            if box := intersect(bounds):
                objects.setdefault(image, []).append(NamedBox(category, box))
    names = _category_names(categories.values())
    annotated = {
        size.name: _annotated(size, objects.get(number, []), names)
        for number, size in sizes.items()
    }
    found_images = ((image_id, annotated.get(Path(image_id).name)) for image_id in image_ids)
    return ValidatedObjects({name: image for name, image in found_images if image}, problems)


def _mentions(
    names: Names, members: Mapping[str, Sequence[int]], words: Sequence[str]
) -> dict[int, Sequence[int]]:
    """See `Mentions`; members: indices of the image's objects of each category."""
    longest = max(map(len, names), default=0)
    named: dict[int, Sequence[int]] = {}
    for end in range(1, len(words) + 1):
        ending = (tuple(words[max(end - length, 0) : end]) for length in range(longest, 0, -1))
        category = next((names[phrase] for phrase in ending if phrase in names), "")
        if category in members:
            named[end - 1] = members[category]
    return named


def _category_names(categories: Iterable[str]) -> dict[tuple[str, ...], str]:
    """All that names one of these categories; a name of one goes before a synonym of another."""
    listed = list(categories)
    synonyms = [(word, name) for name in listed for word in SYNONYMS.get(name, "").split()]
    names: dict[tuple[str, ...], str] = {}
    for text, category in [*synonyms, *zip(listed, listed, strict=True)]:
        *before, last = tokenize(text) or [""]
        names[(*before, last)] = names[(*before, _plural(last))] = category
    return names


def _plural(noun: str) -> str:
    """The plural of a noun, by English rules and a few exceptions."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(_HISSING):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


class _Size(NamedTuple):
    """An image of the document: its file's name, and pixels."""

    name: str
    height: int
    width: int


def _annotated(size: _Size, objects: Sequence[NamedBox], names: Names) -> ObjectBoxes:
    members: dict[str, list[int]] = {}
    for index, thing in enumerate(objects):
        members.setdefault(thing.name, []).append(index)
    mentions = functools.partial(_mentions, names, members)
    return ObjectBoxes(size.height, size.width, objects, mentions)


def _read_categories(
    path: Path, document: dict[str, Any], problems: list[Problem]
) -> dict[int | str, str]:
    categories: dict[int | str, str] = {}
    for location, entry in entries(path, document, "categories"):
        number, name = entry.get("id"), entry.get("name")
        if not is_id(number) or not isinstance(name, str) or not name.strip():
            what = "must have id (a number or text) and name (a text)"
            problems.append(Problem(location, what))
        elif categories.setdefault(number, name) != name:
            problems.append(Problem(location, f"has the id of {categories[number]!r}, {number!r}"))
    return categories


def _read_sizes(
    path: Path, document: dict[str, Any], problems: list[Problem]
) -> dict[int | str, _Size]:
    sizes: dict[int | str, _Size] = {}
    for location, entry in entries(path, document, "images"):
        number, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        if (
            not is_id(number)
            or not isinstance(name, str)
            or not (type(height) is int and 0 < height <= MOST_PIXELS)
            or not (type(width) is int and 0 < width <= MOST_PIXELS)
        ):
            what = "must have id, file_name (a text), height and width (numbers of pixels)"
            problems.append(Problem(location, what))
        elif number in sizes:
            problems.append(Problem(location, f"has the id of {sizes[number].name!r}, {number!r}"))
        else:
            sizes[number] = _Size(Path(name).name, height, width)
    return sizes


def _read_box(
    location: SourceLocation,
    entry: dict[str, Any],
    sizes: Mapping[int | str, _Size],
    categories: Mapping[int | str, str],
) -> tuple[int | str, str, Box] | Problem:
    """The image's id, the category and the box of an annotation."""
    image, category, bounds = entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
    if not is_id(image) or image not in sizes:
        return Problem(location, f"image_id {image!r} is that of no image")
    if not is_id(category) or category not in categories:
        return Problem(location, f"category_id {category!r} is that of no category")
    if (
        not isinstance(bounds, list)
        or len(bounds) != 4
        or not all(type(side) in (int, float) for side in bounds)
        # Neither infinite nor NaN.
        or not all(abs(side) <= sys.float_info.max for side in bounds)
        or min(bounds[2:]) < 0
    ):
        return Problem(location, "must have bbox: [left, top, width, height], in pixels")
    left, top, across, down = map(float, bounds)
    size = sizes[image]
    box = Box(
        top / size.height,
        left / size.width,
        (top + down) / size.height,
        (left + across) / size.width,
    )
    return image, categories[category], box
