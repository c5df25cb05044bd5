"""JSON documents of a whole data set -> rows: COCO's annotations, Karpathy's data sets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from sat_tf.data.captions import Place, Problem, Row, Rows
from sat_tf.errors import UserError

# What is read of each document's objects. The rest, such as the words of Karpathy's sentences, is
# let go while the file is parsed: it would take several times the memory.
_COCO_KEYS = frozenset(("images", "id", "file_name", "annotations", "image_id", "caption"))
_KARPATHY_KEYS = frozenset(("images", "filepath", "filename", "split", "sentences", "raw"))
_COCO_IMAGE = "must have id (a number or text) and file_name (a text)"
_COCO_CAPTION = "must have image_id (a number or text) and caption (a text)"


def read_coco(path: Path, folder: str, split: str) -> Rows:
    """Rows of COCO's `captions_*.json`: images with an id, annotations that name it.

    Args:
      path: of the document.
      folder: of the images; becomes part of their names.
      split: that all its images are in.
    """
    document = _read_document(path, _COCO_KEYS)
    if isinstance(document, Problem):
        yield document
        return
    images = _CocoImages({}, {}, {})
    for place, entry in _entries(path, document, "images"):
        if problem := images.add(place, entry):
            yield problem
    if not isinstance(document.get("images"), list):
        return
    with_caption = set()
    taken: dict[int | str, Place] = {}
    for place, entry in _entries(path, document, "annotations"):
        found = _coco_caption(place, entry, images.names, taken)
        if isinstance(found, Problem):
            yield found
            continue
        number, caption = found
        with_caption.add(number)
        if name := images.names[number]:
            yield Row(place, f"{folder}/{name}", caption, split)
    for number in images.names.keys() - with_caption:
        if name := images.names[number]:
            yield Problem(images.places[number], f"{name!r} has no caption in annotations")


class _CocoImages(NamedTuple):
    """The images of a document of COCO's: id -> name, "" for a faulty one; where each stands."""

    names: dict[int | str, str]
    places: dict[int | str, Place]
    places_of_names: dict[str, Place]

    def add(self, place: Place, entry: dict[str, Any]) -> Problem | None:
        """Takes an entry in; tells what is wrong with it."""
        number, name = entry.get("id"), entry.get("file_name")
        if not _is_id(number):
            return Problem(place, _COCO_IMAGE)
        if number in self.places:
            return Problem(place, f"has the id of {self.places[number].at}, {number!r}")
        # A faulty one too, lest each of its captions be told to have no image.
        self.places[number], self.names[number] = place, ""
        if not isinstance(name, str) or not name:
            return Problem(place, _COCO_IMAGE)
        first = self.places_of_names.setdefault(name, place)
        if first is not place:
            return Problem(place, f"{name!r} is {first.at} already")
        self.names[number] = name
        return None


def _coco_caption(
    place: Place,
    entry: dict[str, Any],
    images: dict[int | str, str],
    taken: dict[int | str, Place],
) -> tuple[int | str, str] | Problem:
    """The id of a caption's image, and the caption; its own id is put among those taken."""
    image, caption, own = entry.get("image_id"), entry.get("caption"), entry.get("id")
    if not _is_id(image) or not isinstance(caption, str):
        return Problem(place, _COCO_CAPTION)
    if image not in images:
        return Problem(place, f"image_id {image!r} is that of no image")
    if _is_id(own) and taken.setdefault(own, place) is not place:
        return Problem(place, f"has the id of {taken[own].at}, {own!r}")
    return image, caption


def _is_id(value: Any) -> TypeGuard[int | str]:
    return type(value) in (int, str)


def read_karpathy(path: Path) -> Rows:
    """Rows of a `dataset_*.json` of Karpathy's: images with their split and sentences."""
    document = _read_document(path, _KARPATHY_KEYS)
    if isinstance(document, Problem):
        yield document
        return
    places: dict[str, Place] = {}
    for place, entry in _entries(path, document, "images"):
        folder, name = entry.get("filepath", ""), entry.get("filename")
        split, sentences = entry.get("split"), entry.get("sentences")
        if not (name and split and all(isinstance(text, str) for text in (folder, name, split))):
            yield Problem(place, "must have filename and split, and maybe filepath, as texts")
            continue
        image = f"{folder}/{name}" if folder else f"{name}"
        if places.setdefault(image, place) is not place:
            yield Problem(place, f"{image!r} is {places[image].at} already")
        elif not isinstance(sentences, list) or not sentences:
            yield Problem(place, f"{image!r} has no list of sentences")
        else:
            yield from _sentences(place, image, f"{split}", sentences)


def _sentences(place: Place, image: str, split: str, sentences: list[Any]) -> Rows:
    for number, sentence in enumerate(sentences):
        at = Place(place.path, f"{place.at}.sentences[{number}]")
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        yield (
            Row(at, image, raw, split)
            if isinstance(raw, str)
            else Problem(at, "must have raw, a text")
        )


def _read_document(path: Path, keys: frozenset[str]) -> dict[str, Any] | Problem:
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
        return Problem(Place(path, content.count(b"\n", 0, error.start) + 1), "is not UTF-8 text")
    except json.JSONDecodeError as error:
        return Problem(Place(path, error.lineno), f"is not JSON: {error.msg}, column {error.colno}")
    except (ValueError, RecursionError) as error:  # endless digits, endless brackets
        return Problem(Place(path), f"is not JSON that can be read: {error}")
    return document if isinstance(document, dict) else Problem(Place(path), "is not a JSON object")


def _entries(
    path: Path, document: dict[str, Any], key: str
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of a list in the document; {} for what is none, and for the list itself."""
    entries = document.get(key)
    if not isinstance(entries, list):
        yield Place(path, key), {}
        return
    for number, entry in enumerate(entries):
        yield Place(path, f"{key}[{number}]"), entry if isinstance(entry, dict) else {}
