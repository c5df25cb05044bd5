"""JSON documents of a whole data set -> rows: COCO's annotations, Karpathy's data sets."""

from pathlib import Path
from typing import Any, NamedTuple

from sat_tf.data.records import Problem, Row, Rows, SourceLocation
from sat_tf.datasets.json_documents import entries, is_id, read_document

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
    document = read_document(path, _COCO_KEYS)
    if isinstance(document, Problem):
        yield document
        return
    images = _CocoImages({}, {}, {})
    for location, entry in entries(path, document, "images"):
        if problem := images.add(location, entry):
            yield problem
    if not isinstance(document.get("images"), list):
        return
    with_caption = set()
    taken: dict[int | str, SourceLocation] = {}
    for location, entry in entries(path, document, "annotations"):
        found = _coco_caption(location, entry, images.names, taken)
        if isinstance(found, Problem):
            yield found
            continue
        number, caption = found
        with_caption.add(number)
        if name := images.names[number]:
            yield Row(location, f"{folder}/{name}", caption, split)
    for number in images.names.keys() - with_caption:
        if name := images.names[number]:
            yield Problem(images.locations[number], f"{name!r} has no caption in annotations")


class _CocoImages(NamedTuple):
    """The images of a document of COCO's: id -> name, "" for a faulty one; where each stands."""

    names: dict[int | str, str]
    locations: dict[int | str, SourceLocation]
    places_of_names: dict[str, SourceLocation]

    def add(self, location: SourceLocation, entry: dict[str, Any]) -> Problem | None:
        """Takes an entry in; tells what is wrong with it."""
        number, name = entry.get("id"), entry.get("file_name")
        if not is_id(number):
            return Problem(location, _COCO_IMAGE)
        if number in self.locations:
            return Problem(location, f"has the id of {self.locations[number].at}, {number!r}")
        # A faulty one too, lest each of its captions be told to have no image.
        self.locations[number], self.names[number] = location, ""
        if not isinstance(name, str) or not name:
            return Problem(location, _COCO_IMAGE)
        first = self.places_of_names.setdefault(name, location)
        if first is not location:
            return Problem(location, f"{name!r} is {first.at} already")
        self.names[number] = name
        return None


def _coco_caption(
    location: SourceLocation,
    entry: dict[str, Any],
    images: dict[int | str, str],
    taken: dict[int | str, SourceLocation],
) -> tuple[int | str, str] | Problem:
    """The id of a caption's image, and the caption; its own id is put among those taken."""
    image, caption, own = entry.get("image_id"), entry.get("caption"), entry.get("id")
    if not is_id(image) or not isinstance(caption, str):
        return Problem(location, _COCO_CAPTION)
    if image not in images:
        return Problem(location, f"image_id {image!r} is that of no image")
    if is_id(own) and taken.setdefault(own, location) is not location:
        return Problem(location, f"has the id of {taken[own].at}, {own!r}")
    return image, caption


def read_karpathy(path: Path) -> Rows:
    """Rows of a `dataset_*.json` of Karpathy's: images with their split and sentences."""
    document = read_document(path, _KARPATHY_KEYS)
    if isinstance(document, Problem):
        yield document
        return
    locations: dict[str, SourceLocation] = {}
    for location, entry in entries(path, document, "images"):
        folder, name = entry.get("filepath", ""), entry.get("filename")
        split, sentences = entry.get("split"), entry.get("sentences")
        if not (name and split and all(isinstance(text, str) for text in (folder, name, split))):
            yield Problem(location, "must have filename and split, and maybe filepath, as texts")
            continue
        image = f"{folder}/{name}" if folder else f"{name}"
        if locations.setdefault(image, location) is not location:
            yield Problem(location, f"{image!r} is {locations[image].at} already")
        elif not isinstance(sentences, list) or not sentences:
            yield Problem(location, f"{image!r} has no list of sentences")
        else:
            yield from _sentences(location, image, f"{split}", sentences)


def _sentences(location: SourceLocation, image: str, split: str, sentences: list[Any]) -> Rows:
    for number, sentence in enumerate(sentences):
        at = SourceLocation(location.path, f"{location.at}.sentences[{number}]")
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        yield (
            Row(at, image, raw, split)
            if isinstance(raw, str)
            else Problem(at, "must have raw, a text")
        )
