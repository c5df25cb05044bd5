"""The objects of a split's images, as far as its data set or a file of boxes knows them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from sat_tf.config import DataSettings, ImageSettings
from sat_tf.data.captions import Record, refuse
from sat_tf.data.coco_instances import read_instances
from sat_tf.data.entities import ANNOTATIONS, SENTENCES, read_entities
from sat_tf.data.images import covered_box
from sat_tf.data.regions import AnnotatedImage, Box, KnownObjects
from sat_tf.data.shapes_objects import scene_objects
from sat_tf.errors import UserError


def find_objects(
    records: Sequence[Record], data: DataSettings, images: ImageSettings
) -> list[KnownObjects | None]:
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

    @functools.cache
    def seen(height: int, width: int) -> Box:
        return Box(*covered_box(tf.constant([height, width]), images).numpy().tolist())

    annotated = _annotated(records, data)
    known: list[KnownObjects | None] = []
    for record in records:
        image = annotated.get(record.image_id)
        if record.scene is not None:
            size = record.scene.size
            known.append(scene_objects(record.scene, seen(size, size)))
        elif image is not None:
            seen_part = seen(image.height, image.width)
            known.append(KnownObjects(image.objects, image.named_by, seen_part))
        else:
            known.append(None)
    return known


def _annotated(records: Sequence[Record], data: DataSettings) -> Mapping[str, AnnotatedImage]:
    """The images, by id, that `--boxes` knows."""
    if not data.boxes:
        return {}
    path = Path(data.boxes)
    names = [record.image_id for record in records]
    if path.is_file():
        found = read_instances(path, names)
    elif (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir():
        found = read_entities(path, names)
    else:
        raise UserError(
            f"--boxes={path}: is neither a file (COCO's instances_*.json) nor a folder with "
            f"{ANNOTATIONS} and {SENTENCES} (Flickr30k Entities)"
        )
    refuse(found.problems)
    # Scores of no word at all would read as attention that is always wrong.
    if names and not found.images:
        raise UserError(f"--boxes={path}: has no boxes of this split's images, as {names[0]!r}")
    return found.images
