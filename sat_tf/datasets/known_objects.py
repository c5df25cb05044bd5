"""The objects of a split's images, as far as its data set or a file of boxes knows them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from sat_tf.config import DataConfig, ImageConfig
from sat_tf.data.images import crop_box
from sat_tf.data.objects import AnnotatedImages, Box, ObjectBoxes
from sat_tf.data.records import Place, Problem, Record, raise_if_problems
from sat_tf.datasets.coco_instances import read_instances
from sat_tf.datasets.entities import ANNOTATIONS, SENTENCES, read_entities
from sat_tf.errors import UserError
from sat_tf.shapes.objects import scene_objects


def find_objects(
    records: Sequence[Record], data: DataConfig, images: ImageConfig
) -> list[ObjectBoxes | None]:
    """The objects of each image; None where they are not known.

    Drawn scenes know their objects; those of other images stand in what `--boxes` names. No image
    is opened: its size is that of the annotations, which are made on images seen upright.

    Args:
      records: of a split.
      data: says where boxes are.
      images: how an image becomes the square that the encoder sees.

    Raises:
      UserError: what holds the boxes can't be read, something is wrong in it, or it has none of
        these images.
    """
    checked = check_objects(records, data, images)
    raise_if_problems(checked.problems)
    raise_if_problems(without_boxes(records, checked.objects, data))
    return checked.objects


class CheckedObjects(NamedTuple):
    """The objects of each image, as far as nothing is wrong with them, and every problem found."""

    objects: list[ObjectBoxes | None]
    problems: list[Problem]


def check_objects(
    records: Sequence[Record], data: DataConfig, images: ImageConfig
) -> CheckedObjects:
    """As `find_objects`, but hands over every problem, and boxes need be of none of these images.

    Raises:
      UserError: what holds the boxes can't be read.
    """

    @functools.cache
    def seen(height: int, width: int) -> Box:
        return Box(*crop_box(tf.constant([height, width]), images).numpy().tolist())

    annotated = _read_boxes(records, data)
    known: list[ObjectBoxes | None] = []
    for record in records:
        image = annotated.images.get(record.image_id)
        if record.scene is not None:
            size = record.scene.size
            known.append(scene_objects(record.scene, seen(size, size)))
        elif image is not None:
            seen_part = seen(image.height, image.width)
            known.append(ObjectBoxes(image.objects, image.named_by, seen_part))
        else:
            known.append(None)
    return CheckedObjects(known, annotated.problems)


def without_boxes(
    records: Sequence[Record], objects: Sequence[ObjectBoxes | None], data: DataConfig
) -> list[Problem]:
    """That `--boxes` has none of a split's images, if that is so.

    Scores of no word at all would read as attention that is always wrong.
    """
    if not data.boxes or not records or any(objects):
        return []
    what = f"has no boxes of this split's images, as {records[0].image_id!r}"
    return [Problem(Place(Path(data.boxes)), what)]


def _read_boxes(records: Sequence[Record], data: DataConfig) -> AnnotatedImages:
    """The images, by id, that `--boxes` knows."""
    if not data.boxes:
        return AnnotatedImages({}, [])
    path = Path(data.boxes)
    names = [record.image_id for record in records]
    if path.is_file():
        return read_instances(path, names)
    if (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir():
        return read_entities(path, names)
    raise UserError(
        f"--boxes={path}: is neither a file (COCO's instances_*.json) nor a folder with "
        f"{ANNOTATIONS} and {SENTENCES} (Flickr30k Entities)"
    )
