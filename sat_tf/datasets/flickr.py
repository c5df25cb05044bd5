"""Flickr8k and Flickr30k, in their official layout or with a document of Karpathy's; Entities.

Flickr30k Entities (Plummer et al., 2015) are boxes of the phrases in reference captions.
`Annotations/NAME.xml` has the boxes of an image, each of one or more chains of phrases that refer
to the same entity; `Sentences/NAME.txt` its captions, in which a phrase names its chain:
`[/EN#283585/people Two men] wearing [/EN#283587/clothing green shirts] .`
"""

import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sat_tf.config import MOST_PIXELS, DataConfig
from sat_tf.data.objects import Box, NamedBox, ObjectBoxes, intersect
from sat_tf.data.records import Problems, SourceLocation
from sat_tf.datasets.parsing import read_lines
from sat_tf.datasets.source import CaptionFile, Row, Source, data_folder, find_splits
from sat_tf.errors import UserError, printable
from sat_tf.vocabulary import CONTENT, tokenize, word_class

# The folder of images, the file of captions and the names of lists of each data set.
_LAYOUTS = {
    "flickr8k": (
        "Flicker8k_Dataset",
        "Flickr8k.token.txt",
        ("Flickr_8k.{}Images.txt", "flickr8k_{}.txt"),
    ),
    "flickr30k": ("flickr30k-images", "results_20130124.token", ("flickr30k_{}.txt",)),
}
ANNOTATIONS, SENTENCES = "Annotations", "Sentences"
_PHRASE = re.compile(r"\[/EN#(\d+)/\S+ ([^\[\]]+)\]")
_OPENING = "[/EN#"
_SIDES = ("ymin", "xmin", "ymax", "xmax")


def find_flickr(config: DataConfig) -> Source:
    """Find the files of `--dataset=flickr8k` or `flickr30k`."""
    folder = data_folder(config)
    images, tokens, patterns = _LAYOUTS[config.dataset]
    if not (folder / images).is_dir():
        raise UserError(f"--data_dir={folder}: holds no {images}")
    document, lists = find_splits(config, patterns)
    if document:
        return Source((document,), folder / images)
    if not lists:
        names = ", ".join(patterns[0].format(name) for name in ("train", "val", "test"))
        raise UserError(
            f"--dataset={config.dataset}: which image is in which split? Put "
            f"dataset_{config.dataset}.json (Karpathy's) or lists of image names ({names}) into "
            "--data_dir, or name the file or their folder with --splits"
        )
    if not (folder / tokens).is_file():
        raise UserError(f"--data_dir={folder}: holds no {tokens}")
    advice = f"its list would be {patterns[0].format('{split}')}"
    file = CaptionFile(folder / tokens, read_tokens)
    return Source((file,), folder / images, lists, advice=advice)


def read_tokens(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a file with lines `NAME.jpg#NUMBER<tab>CAPTION`."""
    for location, line in read_lines(path, problems):
        name, tab, caption = line.partition("\t")
        image, _, _ = name.rpartition("#")
        if tab and image:
            yield Row(location, image, caption)
        elif line.strip():
            problems.add(location, "is not IMAGE#NUMBER<tab>CAPTION")


def read_entities(
    folder: Path, image_ids: Iterable[str], problems: Problems
) -> dict[str, ObjectBoxes]:
    """Return the objects of images by Flickr30k Entities.

    A word of a caption mentions an entity of the image if it is the head (the last word) of one of
    the phrases that people used for the entity. Function words ("another") and entities without a
    box are never mentioned. An object, that is a box, is named by the first phrase of each of its
    chains; boxes are clipped to the image, and those without a phrase are left out, as are images
    without files of their name.

    Raises:
      UserError: a file can't be read.
    """
    found: dict[str, ObjectBoxes] = {}
    for image_id in image_ids:
        name = Path(image_id).stem
        boxes, sentences = folder / ANNOTATIONS / f"{name}.xml", folder / SENTENCES / f"{name}.txt"
        if boxes.is_file() and sentences.is_file():
            before = len(problems)
            objects = _read_image(boxes, sentences, problems)
            if objects and len(problems) == before:
                found[image_id] = objects
    return found


def _read_image(boxes: Path, sentences: Path, problems: Problems) -> ObjectBoxes | None:
    """Return the objects of an image; None, or only some of them, if a problem is added."""
    phrases: dict[str, list[str]] = {}  # of each chain
    for location, line in read_lines(sentences, problems):
        found = _PHRASE.findall(line)
        if len(found) < line.count(_OPENING):
            problems.add(location, "holds a phrase that is not [/EN#CHAIN/KIND WORDS]")
        for chain, phrase in found:
            phrases.setdefault(chain, []).append(phrase)
    root = _parse_xml(boxes, problems)
    if root is None:
        return None
    height, width = (_whole_number(root, f"size/{side}") or 0 for side in ("height", "width"))
    if not 0 < min(height, width) <= max(height, width) <= MOST_PIXELS:
        location = SourceLocation(boxes, "size")
        problems.add(location, "must have height and width, whole numbers from 1")
        return None
    objects: list[NamedBox] = []
    by_head: dict[str, list[int]] = {}  # indices of objects
    for number, thing in enumerate(root.iterfind("object"), start=1):
        chains = [(name.text or "").strip() for name in thing.iterfind("name")]
        if not all(chains) or not chains:
            location = SourceLocation(boxes, f"object[{number}]")
            problems.add(location, "must have a name, the number of its chain")
        used = [phrases[chain] for chain in chains if chain in phrases]
        location = SourceLocation(boxes, f"object[{number}].bndbox")
        for bounds in thing.iterfind("bndbox"):  # scenes and invisible entities have none
            top, left, bottom, right = (_whole_number(bounds, side) for side in _SIDES)
            if top is None or left is None or bottom is None or right is None:
                problems.add(location, f"must have {', '.join(_SIDES)}, whole numbers from 0")
                continue
            if top > bottom or left > right:
                problems.add(location, "ends before it begins")
            # Pixels are counted from 1, and the last one lies inside.
            box = Box((top - 1) / height, (left - 1) / width, bottom / height, right / width)
            if used and (inside := intersect(box)):
                for head in {_head(phrase) for of_chain in used for phrase in of_chain} - {""}:
                    by_head.setdefault(head, []).append(len(objects))
                objects.append(NamedBox(", ".join(first for first, *_ in used), inside))
    return ObjectBoxes(height, width, objects, functools.partial(_mentions, by_head))


def _parse_xml(path: Path, problems: Problems) -> ET.Element | None:
    try:
        # Bytes, as XML names its encoding itself.
        return ET.fromstring(path.read_bytes())
    except OSError as error:
        raise UserError(f"{printable(path)}: can't be read: {error.strerror}") from None
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two: its encoding
        line, _ = getattr(error, "position", ("", 0))
        problems.add(SourceLocation(path, line), f"is not XML: {error}")
        return None


def _mentions(
    by_head: Mapping[str, Sequence[int]], words: Sequence[str]
) -> dict[int, Sequence[int]]:
    return {index: by_head[word] for index, word in enumerate(words) if word in by_head}


def _head(phrase: str) -> str:
    """Return the last word of a phrase; "" if that is a function word."""
    *_, head = "", *tokenize(phrase)
    return head if word_class(head) == CONTENT else ""


def _whole_number(element: ET.Element, path: str) -> int | None:
    text = (element.findtext(path) or "").strip()
    # Longer ones are no numbers of pixels, and Python refuses to parse very long ones.
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
