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
from sat_tf.datasets.files import find_files
from sat_tf.datasets.flickr import ANNOTATIONS, SENTENCES, find_flickr, read_entities
from sat_tf.datasets.source import Source, missing_path
from sat_tf.datasets.statistics import describe_notes
from sat_tf.errors import UserError, printable
from sat_tf.storage import split_paths

# Beside `shapes`, which needs no files.
DATA_SETS: dict[str, Callable[[DataConfig], Source]] = {
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
    return SPLITS if config.dataset == "shapes" else DATA_SETS[config.dataset](config).available()


def load_splits(
    config: DataConfig,
    splits: Sequence[str],
    objects_for: Collection[str] | None = None,
    may_lack_objects: bool = False,
    with_notes: bool = False,
) -> dict[str, tuple[Record, ...]]:
    """Return the records of splits; what only concerns other splits is not validated.

    Args:
      config: of the data set.
      splits: of train, dev and test.
      objects_for: those of the splits whose objects are wanted from `--boxes`; None: all.
      may_lack_objects: whether `--boxes` may have no image of these splits.
      with_notes: whether to print what is worth knowing of the data set, see `describe_notes`.

    Raises:
      UserError: a split is missing or empty, something is wrong in a caption file, a list or the
        boxes, or `--boxes` has no image of the splits; the problems are named, up to a limit.
    """
    validated = check_splits(config, splits, objects_for, may_lack_objects)
    raise_if_problems(validated.problems)
    for note in describe_notes(validated, config) if with_notes else ():
        print(note, flush=True)
    return validated.records


def check_splits(
    config: DataConfig,
    splits: Sequence[str],
    objects_for: Collection[str] | None = None,
    may_lack_objects: bool = False,
) -> ValidatedSplits:
    """Return what `load_splits` does, and every problem instead of raising an error for them.

    Raises:
      UserError: the data set does not exist, a split is missing, or a file can't be read.
    """
    if config.dataset == "shapes":
        # Imported late: it imports TensorFlow, which other data sets do not need.
        from sat_tf.shapes.builder import load_shapes

        records = {split: load_shapes(config, split) for split in splits}
        return ValidatedSplits(records, Problems())
    validated = DATA_SETS[config.dataset](config).validate(splits)
    if config.boxes:
        wanted = [split for split in splits if objects_for is None or split in objects_for]
        _attach_objects(validated, config, wanted, may_lack_objects)
    return validated


def _attach_objects(
    validated: ValidatedSplits, config: DataConfig, splits: Sequence[str], may_lack: bool
) -> None:
    """Give the records of these splits the objects that `--boxes` has of their images."""
    records, problems = validated
    # All splits at once: a file that holds several of them is read once. By their files, whose
    # names may be spelled otherwise in the caption files.
    images = [str(record.image) for split in splits for record in records[split]]
    before = len(problems)
    objects: dict[str, ObjectBoxes] = {}
    for path, read in _box_files(config) if images else ():
        if missing := [image for image in images if image not in objects]:
            objects |= read(path, missing, problems)
    is_damaged = len(problems) > before
    for split in splits:
        records[split] = tuple(
            dataclasses.replace(record, objects=objects.get(str(record.image)))
            for record in records[split]
        )
        if records[split] and not is_damaged and not any(one.objects for one in records[split]):
            report = problems.note if objects or may_lack else problems.add
            what = f"has no boxes of the split {split}, as of {records[split][0].image_id!r}"
            report(SourceLocation(Path(config.boxes)), what)


_ReadBoxes = Callable[[Path, Sequence[str], Problems], dict[str, ObjectBoxes]]


def _box_files(config: DataConfig) -> list[tuple[Path, _ReadBoxes]]:
    """Return the files of COCO's instances and the folders of Entities that `--boxes` names."""
    found: list[tuple[Path, _ReadBoxes]] = []
    for path in map(Path, split_paths(config.boxes)):
        if (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir():
            found.append((path, read_entities))
        elif files := [path] if path.is_file() else sorted(path.glob("instances_*.json")):
            found += [(file, read_instances) for file in files]
        elif path.exists():
            raise UserError(
                f"--boxes={printable(path)}: is neither a file (COCO's instances_*.json) nor a "
                f"folder with such files, or with {ANNOTATIONS} and {SENTENCES} (Flickr30k "
                "Entities)"
            )
        else:
            raise missing_path("boxes", path, config, "file or folder")
    return found
