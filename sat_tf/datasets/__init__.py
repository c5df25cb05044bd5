"""Data sets by name -> records of their splits."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from sat_tf.config import DataConfig
from sat_tf.data.records import (
    SPLITS,
    GroupedRows,
    Problem,
    Record,
    Rows,
    SourceLocation,
    ValidatedObjects,
    ValidatedSplits,
    group_rows,
    make_records,
    raise_if_problems,
)
from sat_tf.datasets.coco_instances import read_instances
from sat_tf.datasets.entities import ANNOTATIONS, SENTENCES, read_entities
from sat_tf.datasets.json_formats import read_coco, read_karpathy
from sat_tf.datasets.splits import Lists, find_lists, read_lists
from sat_tf.datasets.text_formats import read_csv, read_flickr_tokens, read_json_lines
from sat_tf.errors import UserError

Records = tuple[Record, ...]
_CAPTION_READERS = {".csv": read_csv, ".jsonl": read_json_lines}
# Shares of images that go to dev and test where the file does not say: a tenth each.
_DEV_BELOW, _TEST_BELOW = 0.1, 0.2
# Both have the same images; results are published on the parts of 2014.
_COCO_YEARS = ("2014", "2017")


def available_splits(config: DataConfig) -> tuple[str, ...]:
    """Which of train, dev and test the data set has.

    Raises:
      UserError: the data set is not there.
    """
    return DATA_SETS[config.dataset].available(config)


def load_splits(
    config: DataConfig, splits: Sequence[str], objects_for: Collection[str] | None = None
) -> dict[str, Records]:
    """Return the records of splits; what only concerns other splits is not checked.

    Args:
      config: of the data set.
      splits: of train, dev and test.
      objects_for: those of the splits whose objects are wanted from `--boxes`; None: all.

    Raises:
      UserError: a split is missing or empty, something is wrong in a caption file, a list or the
        boxes, or `--boxes` has no image of a split; the problems are named, up to a limit.
    """
    checked = check_splits(config, splits, objects_for)
    raise_if_problems(checked.problems)
    return checked.records


def check_splits(
    config: DataConfig, splits: Sequence[str], objects_for: Collection[str] | None = None
) -> ValidatedSplits:
    """Return what `load_splits` does, and every problem instead of raising an error for them.

    Raises:
      UserError: the data set is not there, a split is missing, or a file can't be read.
    """
    checked = DATA_SETS[config.dataset].check(config, splits)
    wanted = splits if objects_for is None else [split for split in splits if split in objects_for]
    return (
        _attach_boxes(checked, Path(config.boxes), wanted) if config.boxes and wanted else checked
    )


def _attach_boxes(checked: ValidatedSplits, path: Path, splits: Sequence[str]) -> ValidatedSplits:
    """Give the records of these splits the objects that a file or folder of boxes has of them."""
    # All splits at once: a file that holds several of them is read once.
    found = _read_boxes(
        path, [record.image_id for split in splits for record in checked.records[split]]
    )
    records, problems = dict(checked.records), [*checked.problems, *found.problems]
    for split in splits:
        records[split] = tuple(
            dataclasses.replace(record, objects=found.objects.get(record.image_id))
            for record in records[split]
        )
        # A file of COCO's has the boxes of one split: training images may have none if it is
        # another one that is scored.
        are_needed = split != "train" or len(splits) == 1
        has_none = records[split] and not any(record.objects for record in records[split])
        if are_needed and has_none and not found.problems:
            what = f"has no boxes of the split {split}, as of {records[split][0].image_id!r}"
            problems.append(Problem(SourceLocation(path), what))
    return ValidatedSplits(records, problems)


def _read_boxes(path: Path, image_ids: Sequence[str]) -> ValidatedObjects:
    if path.is_file():
        return read_instances(path, image_ids)
    if (path / ANNOTATIONS).is_dir() and (path / SENTENCES).is_dir():
        return read_entities(path, image_ids)
    raise UserError(
        f"--boxes={path}: is neither a file (COCO's instances_*.json) nor a folder with "
        f"{ANNOTATIONS} and {SENTENCES} (Flickr30k Entities)"
    )


class CaptionFile(NamedTuple):
    """A file with captions, and how it is read; `split` is that of all its images, or ""."""

    path: Path
    read: Callable[[Path], Rows]
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """What a data set is read from.

    Attributes:
      files: that hold its captions.
      image_dir: what image names are relative to.
      lists: that say which image is in which split; where there are none, the files do.
      split_of: the split of an image when nothing else says.
      without_split: what to do where a split has no image; {split} stands for its name.
    """

    files: tuple[CaptionFile, ...]
    image_dir: Path
    lists: Lists = dataclasses.field(default_factory=dict)
    split_of: Callable[[str], str] = lambda image: ""
    without_split: str = ""

    def read(self, splits: Sequence[str]) -> GroupedRows:
        """The rows of these splits at least, not yet checked for their images."""
        files = [
            file for file in self.files if self.lists or not file.split or file.split in splits
        ]
        rows = itertools.chain.from_iterable(file.read(file.path) for file in files)
        if not self.lists:
            return group_rows(rows, self.split_of)
        lists = read_lists(self.lists, splits)
        grouped = group_rows(rows, lists.split_of, use_row_splits=False)
        return lists.arrange(grouped, ", ".join(file.path.name for file in files))

    def available(self) -> tuple[str, ...]:
        """The splits that have an image, as far as is seen without checking."""
        there = set(self.lists) or {file.split for file in self.files}
        if "" in there:
            # What is wrong in a line is told when splits are loaded, with all else that is.
            there = set(self.read(SPLITS).images)
        return tuple(split for split in SPLITS if split in there)

    def check(self, splits: Sequence[str]) -> ValidatedSplits:
        """The records of the splits, and every problem.

        Raises:
          UserError: a split has no image, and that nothing is wrong does not explain it.
        """
        checked = make_records(self.read(splits), self.image_dir, splits)
        for split, records in checked.records.items():
            if not records and not checked.problems:
                there = ", ".join(self.available()) or "none"
                names = ", ".join(str(file.path) for file in self.files)
                advice = self.without_split.format(split=split)
                raise UserError(
                    f"{names}: no image in the split {split} (splits there: {there})"
                    + (f": {advice}" if advice else "")
                )
        return checked


def _find_flickr(config: DataConfig, images: str, tokens: str, lists: Sequence[str]) -> Source:
    """Flickr8k or Flickr30k in its official layout, or with a document of Karpathy's."""
    folder = _folder(config)
    if not (folder / images).is_dir():
        raise UserError(f"--data_dir={folder}: holds no {images}")
    document, found = _find_splits(config, lists)
    if document:
        return Source((CaptionFile(document, read_karpathy),), folder / images)
    if not found:
        names = ", ".join(lists[0].format(name) for name in ("train", "val", "test"))
        raise UserError(
            f"--dataset={config.dataset}: which image is in which split? Put "
            f"dataset_{config.dataset}.json (Karpathy's) or lists of image names ({names}) into "
            "--data_dir, or name the file or their folder with --splits"
        )
    if not (folder / tokens).is_file():
        raise UserError(f"--data_dir={folder}: holds no {tokens}")
    advice = f"its list would be {lists[0].format('{split}')}"
    files = (CaptionFile(folder / tokens, read_flickr_tokens),)
    return Source(files, folder / images, found, without_split=advice)


def _find_coco(config: DataConfig) -> Source:
    """COCO: official annotations, a document of Karpathy's, or what tensorflow-datasets made."""
    folder = _folder(config)
    document, lists = _find_splits(config, ("coco_{}.txt",))
    if document:
        return Source((CaptionFile(document, read_karpathy),), folder)
    advice = (
        "the official annotations have train and dev alone; dataset_coco.json (Karpathy's) in "
        "--data_dir, or lists of image names, divide them as the field does (see --splits)"
    )
    for year in _COCO_YEARS:
        parts = {"train": f"train{year}", "dev": f"val{year}"}
        files = tuple(
            CaptionFile(path, functools.partial(read_coco, folder=images, split=split), split)
            for split, images in parts.items()
            if (path := folder / "annotations" / f"captions_{images}.json").is_file()
        )
        if files:
            return Source(files, folder, lists, without_split=advice)
    from sat_tf.datasets.coco_tfds import CAPTIONS, IMAGES, unpacked_folder

    unpacked = unpacked_folder(folder)
    return Source((CaptionFile(unpacked / CAPTIONS, read_json_lines),), unpacked / IMAGES, lists)


def _find_files(config: DataConfig) -> Source:
    """Images of the user's own."""
    folder = _folder(config)
    document, lists = _find_splits(config, ())
    if document and config.captions_file:
        raise UserError(
            f"--splits={document} holds captions too: leave --captions_file out, or give lists"
        )
    if document:
        return Source((CaptionFile(document, read_karpathy),), folder)
    path = _captions_file(config)
    advice = (
        "a column split says where each is, and without one a tenth of the images goes to dev and "
        "to test: add images or the column"
    )
    file = CaptionFile(path, _CAPTION_READERS[path.suffix.lower()])
    return Source((file,), folder, lists, _split_of, "" if lists else advice)


def _folder(config: DataConfig) -> Path:
    if not Path(config.data_dir).is_dir():
        raise UserError(f"--data_dir={config.data_dir}: no such folder")
    return Path(config.data_dir)


def _find_splits(config: DataConfig, patterns: Sequence[str]) -> tuple[Path | None, Lists]:
    """A document of Karpathy's, or lists: those that `--splits` names, or those in `--data_dir`.

    Args:
      config: of the data set.
      patterns: names of its lists, {} in place of a split's name.
    """
    if not config.splits:
        lists = find_lists(Path(config.data_dir), patterns)
        document = Path(config.data_dir) / f"dataset_{config.dataset}.json"
        is_used = not lists and config.dataset != "files" and document.is_file()
        return (document if is_used else None), lists
    path = Path(config.splits)
    if path.is_file():
        return path, {}
    if not path.is_dir():
        raise UserError(f"--splits={path}: no such file or folder")
    lists = find_lists(path, (*patterns, "{}.txt"))
    if not lists:
        names = " or ".join(pattern.format("train") for pattern in (*patterns, "{}.txt"))
        raise UserError(f"--splits={path}: holds no list of image names ({names}, and so on)")
    return None, lists


def _captions_file(config: DataConfig) -> Path:
    if config.captions_file:
        path = Path(config.captions_file)
        if path.suffix.lower() not in _CAPTION_READERS:
            raise UserError(f"--captions_file={path}: must end in {' or '.join(_CAPTION_READERS)}")
        if not path.is_file():
            raise UserError(f"--captions_file={path}: no such file")
        return path
    names = [f"captions{suffix}" for suffix in _CAPTION_READERS]
    for name in names:
        if (Path(config.data_dir) / name).is_file():
            return Path(config.data_dir) / name
    raise UserError(
        f"--data_dir={config.data_dir}: holds neither {' nor '.join(names)}; name the "
        "file with --captions_file"
    )


def _split_of(image_id: str) -> str:
    """Train for four images of five, else dev or test; the same whatever else is in the file."""
    digest = hashlib.sha256(image_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return "dev" if share < _DEV_BELOW else "test" if share < _TEST_BELOW else "train"


def _check_shapes(config: DataConfig, splits: Sequence[str]) -> ValidatedSplits:
    # Here, not above: it imports TensorFlow, which the other data sets do not need.
    from sat_tf.shapes.builder import load_shapes

    return ValidatedSplits({split: load_shapes(config, split) for split in splits}, [])


class DataSet(NamedTuple):
    """How to see which splits there are, and how to check and load some of them."""

    available: Callable[[DataConfig], tuple[str, ...]]
    check: Callable[[DataConfig, Sequence[str]], ValidatedSplits]


def _on_disk(find: Callable[[DataConfig], Source]) -> DataSet:
    return DataSet(
        lambda config: find(config).available(),
        lambda config, splits: find(config).check(splits),
    )


DATA_SETS = {
    "shapes": DataSet(lambda config: SPLITS, _check_shapes),
    "flickr8k": _on_disk(
        functools.partial(
            _find_flickr,
            images="Flicker8k_Dataset",
            tokens="Flickr8k.token.txt",
            lists=("Flickr_8k.{}Images.txt", "flickr8k_{}.txt"),
        )
    ),
    "flickr30k": _on_disk(
        functools.partial(
            _find_flickr,
            images="flickr30k-images",
            tokens="results_20130124.token",
            lists=("flickr30k_{}.txt",),
        )
    ),
    "coco": _on_disk(_find_coco),
    "files": _on_disk(_find_files),
}
