"""Flickr30k Entities: the boxes of what the phrases of reference captions speak of.

Plummer et al., 2015. `Annotations/NAME.xml` has the boxes of an image, each of one or more chains
of phrases; `Sentences/NAME.txt` its captions, in which a phrase names its chain:
`[/EN#283585/people Two men] wearing [/EN#283587/clothing green shirts] .`
"""

import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sat_tf.config import MOST_PIXELS
from sat_tf.data.objects import Box, NamedBox, ObjectBoxes, intersect
from sat_tf.data.records import Problem, SourceLocation, ValidatedObjects
from sat_tf.data.word_classes import CONTENT, word_class
from sat_tf.datasets.text_formats import read_lines
from sat_tf.errors import UserError
from sat_tf.vocabulary import tokenize

ANNOTATIONS, SENTENCES = "Annotations", "Sentences"
_PHRASE = re.compile(r"\[/EN#(\d+)/\S+ ([^\[\]]+)\]")
_OPENING = "[/EN#"
_SIDES = ("ymin", "xmin", "ymax", "xmax")


def read_entities(folder: Path, image_ids: Iterable[str]) -> ValidatedObjects:
    """The annotated ones of some images.

    A word of a caption names an entity of the image if it is the head, the last word, of one of
    the phrases that people used for it. Nothing names an entity without a box, and no function
    word ("another") names one. An object, that is a box, is called by the first phrase of each of
    its chains; of its box counts what lies in the image. Boxes of which no phrase speaks are left
    out.

    Args:
      folder: that holds the folders Annotations and Sentences.
      image_ids: of images; one without files of its name there is not annotated.

    Raises:
      UserError: a file can't be read.
    """
    images: dict[str, ObjectBoxes] = {}
    problems: list[Problem] = []
    for image_id in image_ids:
        name = Path(image_id).stem
        boxes, sentences = folder / ANNOTATIONS / f"{name}.xml", folder / SENTENCES / f"{name}.txt"
        if boxes.is_file() and sentences.is_file():
            image = _read_image(boxes, sentences)
            if isinstance(image, ObjectBoxes):
                images[image_id] = image
            else:
                problems += image
    return ValidatedObjects(images, problems)


def _read_image(boxes: Path, sentences: Path) -> ObjectBoxes | list[Problem]:
    """An image, or what is wrong in its two files."""
    problems: list[Problem] = []
    height, width, boxed = _read_xml(boxes, problems)
    phrases: dict[str, list[str]] = {}  # of each chain
    for chain, phrase in _read_phrases(sentences, problems):
        phrases.setdefault(chain, []).append(phrase)
    objects: list[NamedBox] = []
    named: dict[str, list[int]] = {}  # the objects of each head
    for chains, bounds in boxed:
        spoken = [phrases[chain] for chain in chains if chain in phrases]
        box = intersect(bounds)
        if not spoken or not box:
            continue
        for head in {_head(phrase) for of_chain in spoken for phrase in of_chain}:
            if head:
                named.setdefault(head, []).append(len(objects))
        objects.append(NamedBox(", ".join(first for first, *_ in spoken), box))
    mentions = functools.partial(_mentions, named)
    return problems or ObjectBoxes(height, width, objects, mentions)


def _mentions(named: Mapping[str, Sequence[int]], words: Sequence[str]) -> dict[int, Sequence[int]]:
    return {index: named[word] for index, word in enumerate(words) if word in named}


def _read_xml(path: Path, problems: list[Problem]) -> tuple[int, int, list[tuple[list[str], Box]]]:
    """Height and width of the image, and its boxes, each with the chains that it belongs to."""
    try:
        root = ET.fromstring(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    except ET.ParseError as error:
        problems.append(Problem(SourceLocation(path, error.position[0]), f"is not XML: {error}"))
        return 0, 0, []
    except (ValueError, LookupError) as error:  # an encoding that is unknown
        problems.append(Problem(SourceLocation(path), f"is not XML that can be read: {error}"))
        return 0, 0, []
    height, width = (_whole_number(root, f"size/{side}") for side in ("height", "width"))
    # Neither of them missing or 0.
    if not (height and width and max(height, width) <= MOST_PIXELS):
        what = "must have height and width, whole numbers from 1"
        problems.append(Problem(SourceLocation(path, "size"), what))
        return 0, 0, []
    boxes = []
    for number, thing in enumerate(root.iterfind("object"), start=1):
        location = SourceLocation(path, f"object[{number}]")
        chains = [(name.text or "").strip() for name in thing.iterfind("name")]
        if not all(chains) or not chains:
            problems.append(Problem(location, "must have a name, the number of its chain"))
        for bounds in thing.iterfind("bndbox"):  # scenes, and what is not seen, have none
            top, left, bottom, right = (_whole_number(bounds, side) for side in _SIDES)
            if top is None or left is None or bottom is None or right is None:
                what = f"must have {', '.join(_SIDES)}, whole numbers from 0"
                problems.append(Problem(SourceLocation(path, f"{location.at}.bndbox"), what))
            elif top > bottom or left > right:
                problems.append(
                    Problem(SourceLocation(path, f"{location.at}.bndbox"), "ends before it begins")
                )
            else:
                # Pixels are counted from 1, and the last one lies inside.
                box = Box((top - 1) / height, (left - 1) / width, bottom / height, right / width)
                boxes.append((chains, box))
    return height, width, boxes


def _whole_number(element: ET.Element, path: str) -> int | None:
    text = (element.findtext(path) or "").strip()
    # Longer ones are no pixels' numbers, and Python refuses to read very long ones.
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def _read_phrases(path: Path, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Each phrase, after its chain."""
    for number, line in read_lines(path):
        if isinstance(line, Problem):
            problems.append(line)
            continue
        phrases = _PHRASE.findall(line)
        if len(phrases) < line.count(_OPENING):
            what = "holds a phrase that is not [/EN#CHAIN/KIND WORDS]"
            problems.append(Problem(SourceLocation(path, number), what))
        yield from phrases


def _head(phrase: str) -> str:
    """Its last word; "" if that is a function word."""
    *_, head = "", *tokenize(phrase)
    return head if word_class(head) == CONTENT else ""
