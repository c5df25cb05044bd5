"""COCO: captions, splits and boxes of objects (`instances_*.json`)."""

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sat_tf.config import MOST_PIXELS, DataConfig
from sat_tf.data.objects import Box, NamedBox, ObjectBoxes, intersect
from sat_tf.data.records import Problems
from sat_tf.datasets.files import read_json_lines
from sat_tf.datasets.parsing import ID, NAME, TEXT, Field, JsonDocument
from sat_tf.datasets.source import CaptionFile, Row, Source, coco_id, data_folder, find_splits
from sat_tf.vocabulary import tokenize

# Both have the same images; results are published on the parts of 2014.
_YEARS = ("2014", "2017")
_UNIQUE_ID = ID._replace(is_unique=True)
_CAPTIONS = {
    "images": {"id": _UNIQUE_ID, "file_name": NAME._replace(is_unique=True)},
    "annotations": {
        "id": Field("anything", lambda value: True, is_unique=True),
        "image_id": ID,
        "caption": TEXT,
    },
}


def find_coco(config: DataConfig) -> Source:
    """Find COCO as published, with a document of Karpathy's, or prepared by tensorflow-datasets."""
    folder = data_folder(config)
    document, lists = find_splits(config, ("coco_{}.txt",))
    if document:
        return Source((document,), folder)
    advice = (
        "the official annotations have train and dev alone; dataset_coco.json (Karpathy's) in "
        "--data_dir, or lists of image names, divide them as the field does (see --splits)"
    )
    for year in _YEARS:
        parts = {"train": f"train{year}", "dev": f"val{year}"}
        files = tuple(
            CaptionFile(path, read_captions, split, images)
            for split, images in parts.items()
            if (path := folder / "annotations" / f"captions_{images}.json").is_file()
        )
        if files:
            return Source(files, folder, lists, advice=advice)
    from sat_tf.datasets.coco_tfds import CAPTIONS, IMAGES, unpacked_folder

    unpacked = unpacked_folder(folder)
    return Source((CaptionFile(unpacked / CAPTIONS, _read_unpacked),), unpacked / IMAGES, lists)


def _read_unpacked(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of tensorflow-datasets' COCO, whose ids are in the names of its files."""
    for row in read_json_lines(path, problems):
        yield row._replace(document_id=coco_id(row.image))


def read_captions(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of COCO's `captions_*.json`."""
    document = JsonDocument(path, _CAPTIONS, problems)
    images = document.entries_by_id("images")
    if not images:
        return
    with_caption = set()
    for location, entry in document.entries("annotations"):
        number: Any = entry["image_id"]
        if number in images:
            with_caption.add(number)
            _, image = images[number]
            if image:
                yield Row(location, image["file_name"], entry["caption"], document_id=number)
        else:
            problems.add(location, f"image_id {number!r} is that of no image")
    for number, (location, image) in images.items():
        if image and number not in with_caption:
            problems.add(location, f"{image['file_name']!r} has no caption in annotations")


# Words of captions for the objects of a category beside its name, in the singular.
SYNONYMS = {
    "person": (
        "man woman boy girl child kid toddler baby infant lady gentleman guy adult teenager player "
        "batter pitcher catcher umpire surfer skier skateboarder snowboarder biker cyclist rider "
        "pedestrian"
    ),
    "bicycle": "bike",
    "car": "taxi cab suv sedan",
    "motorcycle": "motorbike moped scooter",
    "airplane": "plane jet aircraft",
    "train": "locomotive",
    "truck": "pickup",
    "boat": "ship canoe kayak sailboat",
    "traffic light": "stoplight",
    "fire hydrant": "hydrant",
    "bird": "seagull pigeon duck goose parrot",
    "cat": "kitten",
    "dog": "puppy",
    "horse": "pony",
    "sheep": "lamb",
    "cow": "bull calf",
    "backpack": "rucksack",
    "handbag": "purse",
    "tie": "necktie",
    "suitcase": "luggage",
    "skis": "ski",
    "sports ball": "ball",
    "baseball bat": "bat",
    "tennis racket": "racket racquet",
    "wine glass": "glass wineglass",
    "cup": "mug",
    "sandwich": "hamburger burger",
    "hot dog": "hotdog",
    "donut": "doughnut",
    "couch": "sofa",
    "potted plant": "plant houseplant",
    "dining table": "table",
    "toilet": "commode",
    "tv": "television",
    "laptop": "computer",
    "remote": "controller",
    "cell phone": "phone cellphone",
    "refrigerator": "fridge",
    "hair drier": "hairdryer",
}
_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "calf": "calves",
    "aircraft": "aircraft",
    "luggage": "luggage",
    "skis": "skis",
    "knife": "knives",
    "sheep": "sheep",
}


def _is_bbox(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(side) in (int, float) for side in value)
        and all(abs(side) <= sys.float_info.max for side in value)  # neither infinite nor NaN
        and min(value[2:]) >= 0
    )


_PIXELS = Field("pixels", lambda value: type(value) is int and 0 < value <= MOST_PIXELS)
# The outlines of objects, most of the document, are dropped while it is parsed.
_INSTANCES = {
    "categories": {"id": _UNIQUE_ID, "name": NAME},
    "images": {"id": _UNIQUE_ID, "file_name": NAME, "height": _PIXELS, "width": _PIXELS},
    "annotations": {
        "image_id": ID,
        "category_id": ID,
        "bbox": Field("[left, top, width, height], in pixels", _is_bbox),
    },
}
# Phrases -> the category that they name.
Phrases = Mapping[tuple[str, ...], str]


def read_instances(
    path: Path, image_ids: Iterable[str], problems: Problems
) -> dict[str, ObjectBoxes]:
    """Return the objects of images by COCO's `instances_*.json`.

    A word of a caption mentions the objects of a category if it ends the name of the category, the
    plural of the name or one of `SYNONYMS`; the longest phrase that ends there counts, so that a
    "hot dog" is no dog. Meaning beyond that is ignored: the "train" of a "train station" mentions
    a train, if the image has one. Objects are named by their category; boxes are clipped to the
    image, and objects without area are left out. The document has images by the name of their file.

    Raises:
      UserError: the file can't be read.
    """
    document = JsonDocument(path, _INSTANCES, problems)
    categories = document.entries_by_id("categories")
    images = document.entries_by_id("images")
    objects: dict[int | str, list[NamedBox]] = {}
    for location, entry in document.entries("annotations"):
        if entry["image_id"] not in images:
            problems.add(location, f"image_id {entry['image_id']!r} is that of no image")
        elif entry["category_id"] not in categories:
            problems.add(location, f"category_id {entry['category_id']!r} is that of no category")
        else:
            (_, image), (_, category) = images[entry["image_id"]], categories[entry["category_id"]]
            box = _box(entry["bbox"], image) if image and category else None
            if box:
                objects.setdefault(entry["image_id"], []).append(NamedBox(category["name"], box))
    phrases = _phrases([category["name"] for _, category in categories.values() if category])
    by_name = {
        Path(image["file_name"]).name: (image, objects.get(number, []))
        for number, (_, image) in images.items()
        if image
    }
    found: dict[str, ObjectBoxes] = {}
    for image_id in image_ids:
        if (name := Path(image_id).name) in by_name:
            image, boxes = by_name[name]
            mentions = functools.partial(_mentions, phrases, boxes)
            found[image_id] = ObjectBoxes(image["height"], image["width"], boxes, mentions)
    return found


def _box(bbox: Sequence[float], image: Mapping[str, Any]) -> Box | None:
    """Return the part of a box, in pixels, that lies in the image, as fractions."""
    left, top, width, height = map(float, bbox)
    down, across = image["height"], image["width"]
    return intersect(Box(top / down, left / across, (top + height) / down, (left + width) / across))


def _mentions(
    phrases: Phrases, objects: Sequence[NamedBox], words: Sequence[str]
) -> dict[int, list[int]]:
    """See `sat_tf.data.objects.Mentions`; objects: of the image, named by their categories."""
    longest = max(map(len, phrases), default=0)
    mentions: dict[int, list[int]] = {}
    for end in range(1, len(words) + 1):
        ending = (tuple(words[max(end - length, 0) : end]) for length in range(longest, 0, -1))
        category = next((phrases[phrase] for phrase in ending if phrase in phrases), "")
        indices = [i for i, one in enumerate(objects) if one.name == category] if category else []
        if indices:
            mentions[end - 1] = indices
    return mentions


def _phrases(categories: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Return the phrases that name a category; names take precedence over synonyms of others."""
    synonyms = [(word, name) for name in categories for word in SYNONYMS.get(name, "").split()]
    phrases: dict[tuple[str, ...], str] = {}
    for text, category in [*synonyms, *((name, name) for name in categories)]:
        *before, last = tokenize(text) or [""]
        phrases[(*before, last)] = phrases[(*before, _plural(last))] = category
    return phrases


def _plural(noun: str) -> str:
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
