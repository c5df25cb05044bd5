"""Data sets by name -> records of their splits."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sat_tf.config import DataSettings
from sat_tf.data.captions import (
    SPLITS,
    CaptionFile,
    Problem,
    Record,
    group_rows,
    make_records,
    read_csv,
    read_flickr_tokens,
    read_json_lines,
    read_lines,
    refuse,
)
from sat_tf.errors import UserError

Records = tuple[Record, ...]
_CAPTION_READERS = {".csv": read_csv, ".jsonl": read_json_lines}
# Shares of images that go to dev and test where the file does not say: a tenth each.
_DEV_BELOW, _TEST_BELOW = 0.1, 0.2


def available_splits(settings: DataSettings) -> tuple[str, ...]:
    """Which of train, dev and test the data set has.

    Raises:
      UserError: the data set is not there.
    """
    return _open(settings).available(settings)


def load_splits(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    """The records of the splits asked for; what only concerns other splits is not checked.

    Args:
      settings: of the data set.
      splits: of train, dev and test.

    Raises:
      UserError: a split is missing or empty, or something is wrong in the caption file; every
        problem of it is named.
    """
    return _open(settings).load(settings, splits)


def _open(settings: DataSettings) -> "DataSet":
    if settings.dataset != "shapes" and not Path(settings.data_dir).is_dir():
        raise UserError(f"--data_dir={settings.data_dir}: no such folder")
    return DATA_SETS[settings.dataset]


def _shapes_splits(settings: DataSettings) -> tuple[str, ...]:
    return SPLITS


def _load_shapes(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    # Here, not above: it imports TensorFlow, which the other data sets do not need.
    from sat_tf.data.shapes_captions import load_shapes

    return {split: load_shapes(settings, split) for split in splits}


def _flickr8k_list(settings: DataSettings, split: str) -> Path:
    return Path(settings.data_dir) / f"Flickr_8k.{split}Images.txt"


def _flickr8k_splits(settings: DataSettings) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if _flickr8k_list(settings, split).is_file())


def _load_flickr8k(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    tokens = Path(settings.data_dir) / "Flickr8k.token.txt"
    images = Path(settings.data_dir) / "Flicker8k_Dataset"
    for path, is_there in ((tokens, tokens.is_file()), (images, images.is_dir())):
        if not is_there:
            raise UserError(f"--data_dir={settings.data_dir}: holds no {path.name}")
    lists = _read_flickr8k_lists(settings, splits)
    split_of = {name: split for split, names in lists.items() for name in names}
    file = group_rows(tokens, read_flickr_tokens(tokens), lambda image: split_of.get(image, ""))
    loaded = make_records(file, images, splits)
    for split, names in lists.items():
        found = {record.image_id: record for record in loaded[split]}
        without = [
            Problem(line, f"{name!r} has no caption in {tokens.name}")
            for name, line in names.items()
            if name not in found
        ]
        refuse(_flickr8k_list(settings, split), without)
        loaded[split] = tuple(found[name] for name in names)
    return loaded


def _read_flickr8k_lists(
    settings: DataSettings, splits: Sequence[str]
) -> dict[str, dict[str, int]]:
    """The names of each split's images, with their lines."""
    split_of: dict[str, str] = {}
    lists: dict[str, dict[str, int]] = {split: {} for split in splits}
    for split, names in lists.items():
        path = _flickr8k_list(settings, split)
        if not path.is_file():
            there = ", ".join(_flickr8k_splits(settings)) or "none"
            raise UserError(
                f"--data_dir={settings.data_dir}: no split {split}, for {path.name} is missing; "
                f"splits there: {there}"
            )
        problems = []
        for number, line in read_lines(path):
            if isinstance(line, Problem):
                problems.append(line)
            elif name := line.strip():
                names[name] = number
                if split_of.setdefault(name, split) != split:
                    what = f"{name!r} is in the split {split_of[name]} already"
                    problems.append(Problem(number, what))
        refuse(path, problems)
        if not names:
            raise UserError(f"{path}: lists no image")
    return lists


def _files_splits(settings: DataSettings) -> tuple[str, ...]:
    # Whatever is wrong in a line is reported when splits are loaded, with all else that is.
    images = _read_files(settings).images
    return tuple(split for split in SPLITS if split in images)


def _load_files(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    file = _read_files(settings)
    loaded = make_records(file, Path(settings.data_dir), splits)
    for split, records in loaded.items():
        if not records:
            raise UserError(
                f"{file.path}: no image in the split {split}; a column split says where each is, "
                "and without one a tenth of the images goes to dev and to test: add images or "
                "the column"
            )
    return loaded


def _read_files(settings: DataSettings) -> CaptionFile:
    path = _captions_file(settings)
    return group_rows(path, _CAPTION_READERS[path.suffix.lower()](path), _split_of)


def _captions_file(settings: DataSettings) -> Path:
    if settings.captions_file:
        path = Path(settings.captions_file)
        if path.suffix.lower() not in _CAPTION_READERS:
            raise UserError(f"--captions_file={path}: must end in {' or '.join(_CAPTION_READERS)}")
        if not path.is_file():
            raise UserError(f"--captions_file={path}: no such file")
        return path
    names = [f"captions{suffix}" for suffix in _CAPTION_READERS]
    for name in names:
        if (Path(settings.data_dir) / name).is_file():
            return Path(settings.data_dir) / name
    raise UserError(
        f"--data_dir={settings.data_dir}: holds neither {' nor '.join(names)}; name the "
        "file with --captions_file"
    )


def _split_of(image_id: str) -> str:
    """Train for four images of five, else dev or test; the same whatever else is in the file."""
    digest = hashlib.sha256(image_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return "dev" if share < _DEV_BELOW else "test" if share < _TEST_BELOW else "train"


class DataSet(NamedTuple):
    """How to see which splits there are, and how to load some of them."""

    available: Callable[[DataSettings], tuple[str, ...]]
    load: Callable[[DataSettings, Sequence[str]], dict[str, Records]]


DATA_SETS = {
    "shapes": DataSet(_shapes_splits, _load_shapes),
    "flickr8k": DataSet(_flickr8k_splits, _load_flickr8k),
    "files": DataSet(_files_splits, _load_files),
}
