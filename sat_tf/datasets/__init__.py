"""Data sets by name: the records of their splits, with the objects that `--boxes` has of them.

A data set is a function from its settings to a `Source`: the files, and where to find the splits.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sat_tf.config import DataConfig
from sat_tf.data.objects import ObjectBoxes
from sat_tf.data.records import (
    SPLITS,
    Problems,
    Record,
    SourceLocation,
    ValidatedSplits,
    raise_if_problems,
)
from sat_tf.datasets.coco import find_coco, read_instances
from sat_tf.datasets.entities import ANNOTATIONS, SENTENCES, read_entities
from sat_tf.datasets.files import find_files
from sat_tf.datasets.flickr import find_flickr
from sat_tf.datasets.source import Source
from sat_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Shapes:
    """The embedded data set, with the methods of a `Source`."""

    config: DataConfig

    def available(self) -> tuple[str, ...]:
        return SPLITS

    def validate(self, splits: Sequence[str]) -> ValidatedSplits:
        # Imported late: it imports TensorFlow, which other data sets do not need.
        from sat_tf.shapes.builder import load_shapes

        return ValidatedSplits(
            {split: load_shapes(self.config, split) for split in splits}, Problems()
        )


DATA_SETS: dict[str, Callable[[DataConfig], Source | _Shapes]] = {
    "shapes": _Shapes,
    "flickr8k": find_flickr,
    "flickr30k": find_flickr,
    "coco": find_coco,
    "files": find_files,
}


def available_splits(config: DataConfig) -> tuple[str, ...]:
    """Return which of train, dev and test the data set has.

    Raises:
      UserError: the data set does not exist.
    """
    return DATA_SETS[config.dataset](config).available()


def load_splits(
    config: DataConfig,
    splits: Sequence[str],
    objects_for: Collection[str] | None = None,
    may_lack_objects: Collection[str] = ("train",),
) -> dict[str, tuple[Record, ...]]:
    """Return the records of splits; what only concerns other splits is not validated.

    Args:
      config: of the data set.
      splits: of train, dev and test.
      objects_for: those of the splits whose objects are wanted from `--boxes`; None: all.
      may_lack_objects: those of which `--boxes` need not have an image, if it has others: a file
        of COCO's has the boxes of one split.

    Raises:
      UserError: a split is missing or empty, something is wrong in a caption file, a list or the
        boxes, or `--boxes` has no image of a split; the problems are named, up to a limit.
    """
    validated = check_splits(config, splits, objects_for, may_lack_objects)
    raise_if_problems(validated.problems)
    return validated.records


def check_splits(
    config: DataConfig,
    splits: Sequence[str],
    objects_for: Collection[str] | None = None,
    may_lack_objects: Collection[str] = ("train",),
) -> ValidatedSplits:
    """Return what `load_splits` does, and every problem instead of raising an error for them.

    Raises:
      UserError: the data set does not exist, a split is missing, or a file can't be read.
    """
    validated = DATA_SETS[config.dataset](config).validate(splits)
    wanted = splits if objects_for is None else [split for split in splits if split in objects_for]
    if not config.boxes:
        return validated
    return _attach_objects(validated, Path(config.boxes), wanted, may_lack_objects)


def _attach_objects(
    validated: ValidatedSplits, path: Path, splits: Sequence[str], may_lack: Collection[str]
) -> ValidatedSplits:
    """Return the records with the objects that `--boxes` has of the images of these splits."""
    records, problems = dict(validated.records), validated.problems
    # All splits at once: a file that holds several of them is read once.
    image_ids = [record.image_id for split in splits for record in records[split]]
    before = len(problems)
    objects = _read_boxes(path, image_ids, problems) if image_ids else {}
    for split in splits:
        records[split] = tuple(
            dataclasses.replace(record, objects=objects.get(record.image_id))
            for record in records[split]
        )
        are_needed = split not in may_lack or len(splits) == 1
        has_none = records[split] and not any(record.objects for record in records[split])
        if are_needed and has_none and len(problems) == before:
            what = f"has no boxes of the split {split}, as of {records[split][0].image_id!r}"
            problems.add(SourceLocation(path), what)
    return ValidatedSplits(records, problems)


def _read_boxes(path: Path, image_ids: Sequence[str], problems: Problems) -> dict[str, ObjectBoxes]:
    """Return the objects of images by a file or folder in the format that it has."""
    if path.is_file():
        return read_instances(path, image_ids, problems)
    if (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir():
        return read_entities(path, image_ids, problems)
    raise UserError(
        f"--boxes={path}: is neither a file (COCO's instances_*.json) nor a folder with "
        f"{ANNOTATIONS} and {SENTENCES} (Flickr30k Entities)"
    )
