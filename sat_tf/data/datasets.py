"""Data sets by name -> records of their splits."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from sat_tf.config import DataSettings
from sat_tf.data.captions import (
    SPLITS,
    Record,
    make_records,
    read_csv,
    read_flickr_tokens,
    read_json_lines,
)
from sat_tf.errors import UserError

Records = tuple[Record, ...]
_CAPTION_FILES = ("captions.csv", "captions.jsonl")
# Shares of images that go to dev and test where the file does not say: a tenth each.
_DEV_BELOW, _TEST_BELOW = 0.1, 0.2


def available_splits(settings: DataSettings) -> tuple[str, ...]:
    """Which of train, dev and test the data set has.

    Raises:
      UserError: the data set can't be read at all.
    """
    _check_folder(settings)
    if settings.dataset == "flickr8k":
        return tuple(split for split in SPLITS if _flickr8k_list(settings, split).is_file())
    if settings.dataset == "files":
        return tuple(split for split in SPLITS if _read_files(settings)[split])
    return SPLITS


def load_splits(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    """The records of the splits asked for.

    Args:
      settings: of the data set.
      splits: of train, dev and test.

    Raises:
      UserError: a split is missing or empty, or something is wrong in the caption file; every
        problem of it is named.
    """
    _check_folder(settings)
    loaded = _LOADERS[settings.dataset](settings, splits)
    for split in splits:
        if not loaded[split]:
            raise UserError(
                f"--dataset={settings.dataset} --data_dir={settings.data_dir}: has no image in "
                f"the split {split}"
            )
    return loaded


def _check_folder(settings: DataSettings) -> None:
    if settings.dataset != "shapes" and not Path(settings.data_dir).is_dir():
        raise UserError(f"--data_dir={settings.data_dir}: no such folder")


def _load_shapes(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    # Here, not above: it imports TensorFlow, which the other data sets do not need.
    from sat_tf.data.shapes_captions import load_shapes

    return {split: load_shapes(settings, split) for split in splits}


def _load_flickr8k(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    folder = Path(settings.data_dir)
    names = {split: _read_list(_flickr8k_list(settings, split), split) for split in splits}
    wanted = [name for split in splits for name in names[split]]
    tokens = folder / "Flickr8k.token.txt"
    rows = read_flickr_tokens(tokens)
    found = make_records(tokens, rows, folder / "Flicker8k_Dataset", wanted).get("", [])
    by_name = {record.image_id: record for record in found}
    without = [name for name in wanted if name not in by_name]
    if without:
        raise UserError(
            f"{tokens}: no caption of {len(without)} images of the lists, "
            f"{', '.join(without[:5])} among them"
        )
    return {split: tuple(by_name[name] for name in names[split]) for split in splits}


def _flickr8k_list(settings: DataSettings, split: str) -> Path:
    return Path(settings.data_dir) / f"Flickr_8k.{split}Images.txt"


def _read_list(path: Path, split: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, so there is no split {split}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from None
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _load_files(settings: DataSettings, splits: Sequence[str]) -> dict[str, Records]:
    found = _read_files(settings)
    return {split: found[split] for split in splits}


def _read_files(settings: DataSettings) -> dict[str, Records]:
    path = _captions_file(settings)
    read = read_csv if path.suffix.lower() == ".csv" else read_json_lines
    found = make_records(path, read(path), Path(settings.data_dir))
    splits: dict[str, list[Record]] = {split: found.get(split, []) for split in SPLITS}
    for record in found.get("", []):
        splits[_split_of(record.image_id)].append(record)
    return {split: tuple(records) for split, records in splits.items()}


def _captions_file(settings: DataSettings) -> Path:
    if settings.captions_file:
        path = Path(settings.captions_file)
        if path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserError(f"--captions_file={path}: must end in .csv or .jsonl")
        if not path.is_file():
            raise UserError(f"--captions_file={path}: no such file")
        return path
    for name in _CAPTION_FILES:
        if (Path(settings.data_dir) / name).is_file():
            return Path(settings.data_dir) / name
    raise UserError(
        f"--data_dir={settings.data_dir}: holds neither {' nor '.join(_CAPTION_FILES)}; name the "
        "file with --captions_file"
    )


def _split_of(image_id: str) -> str:
    """Train for four images of five, else dev or test; the same whatever else is in the file."""
    digest = hashlib.sha256(image_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return "dev" if share < _DEV_BELOW else "test" if share < _TEST_BELOW else "train"


_LOADERS: dict[str, Callable[[DataSettings, Sequence[str]], dict[str, Records]]] = {
    "shapes": _load_shapes,
    "flickr8k": _load_flickr8k,
    "files": _load_files,
}
