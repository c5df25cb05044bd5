"""Checkpoints of learned weights, which know the run that they belong to.

A folder of checkpoints holds `NAME.index` and its data for each, in TensorFlow's format. Both
appear complete or not at all, and the newest is found by its name.
"""

import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.config import Config, settings
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.storage import ENCODER_FILE, LAST, path_for_tensorflow, temporary_folder, writing
from sat_tf.vocabulary import Vocabulary

# What TensorFlow raises for files that are damaged, truncated or of another model.
_UNREADABLE = (
    tf.errors.OpError,
    AssertionError,
    IndexError,
    KeyError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)
_PROVENANCE_KEY = "provenance/.ATTRIBUTES/VARIABLE_VALUE"
_NAME = re.compile(r"ckpt-(\d+(?:-\d+)*)\.index")
_DATA = ".data-00000-of-00001"
_RESTORE = "put the files of the run back, or train it again"
# A training in the same folder may replace the newest checkpoint while it is read.
_TRIES, _PAUSE = 10, 0.1  # seconds

Provenance = Mapping[str, Any]


def provenance(workdir: Path, config: Config, vocabulary: Vocabulary) -> Provenance:
    """Return what the weights of a run belong to.

    Its vocabulary (the fingerprint), its encoder (the SHA-256 of `encoder.keras`, with
    architecture, weights and preprocessing), and the settings of images and decoder.
    """
    values = dataclasses.asdict(config.images) | dataclasses.asdict(config.decoder)
    fixed = [name for name in values if not settings()[name].mutable]
    return {
        "vocabulary": vocabulary.fingerprint,
        "encoder": hashlib.sha256((workdir / ENCODER_FILE).read_bytes()).hexdigest(),
        "settings": {name: values[name] for name in fixed},
    }


def learned_weights(model: CaptionModel, belongs_to: Provenance) -> dict[str, Any]:
    """Return what a checkpoint tracks: what of the model is trained, and what it belongs to."""
    parts = {
        # By path: TensorFlow does not see layers that Keras keeps in a list.
        "decoder": {weight.path: weight.value for weight in model.decoder.weights},
        "flatten_grid": model.flatten_grid,
        "provenance": tf.Variable(json.dumps(belongs_to), trainable=False),
    }
    return {**parts, "encoder": model.encoder} if model.trains_encoder else parts


def has_state(workdir: str | os.PathLike[str]) -> bool:
    """Return whether a run has a state to resume its training from."""
    return newest_checkpoint(Path(workdir) / LAST) is not None


def checkpoint_prefix(folder: Path, *number: int) -> Path:
    """Return the prefix of the checkpoint with that number."""
    return folder / f"ckpt-{'-'.join(map(str, number))}"


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the prefix of the newest checkpoint of a folder, the last by number; None without."""
    numbers = {
        tuple(map(int, found[1].split("-"))): path.with_suffix("")
        for path in Path(folder).glob("ckpt-*.index")
        if (found := _NAME.fullmatch(path.name)) and path.with_suffix(_DATA).exists()
    }
    return numbers[max(numbers)] if numbers else None


def write_checkpoint(
    checkpoint: tf.train.Checkpoint, folder: Path, *number: int, keep: bool = False
) -> None:
    """Write a checkpoint with a larger number than those before it, which are removed or kept.

    Raises:
      OSError: it can't be written; names it.
    """
    prefix = checkpoint_prefix(folder, *number)
    index, data = prefix.with_suffix(".index"), prefix.with_suffix(_DATA)
    with writing(prefix), temporary_folder(folder) as temporary:
        checkpoint.write(str(temporary / prefix.name))
        # One of this name, if there is one, is not complete until both files are replaced.
        index.unlink(missing_ok=True)
        for path in (data, index):
            os.replace(temporary / path.name, path)
    if not keep:
        # Indices first: data without an index are no checkpoint.
        for path in sorted(folder.glob("ckpt-*"), key=lambda path: path.suffix != ".index"):
            if path not in (index, data):
                path.unlink(missing_ok=True)


def restore(checkpoint: tf.train.Checkpoint, folder: Path, belongs_to: Provenance) -> None:
    """Restore all that the newest checkpoint of a folder holds, which is all that is tracked.

    Args:
      checkpoint: tracks `learned_weights`, and possibly more.
      folder: of checkpoints.
      belongs_to: what the run has now.

    Raises:
      UserError: no checkpoint that can be read, fits, and belongs to these files and settings.
    """
    for remaining in reversed(range(_TRIES)):
        prefix = newest_checkpoint(folder)
        try:
            if prefix is None:
                raise UserError(f"{folder}: holds no checkpoint; train the run first")
            with path_for_tensorflow(prefix) as path:
                _restore(checkpoint, path, prefix, belongs_to)
            return
        except UserError:
            is_stable = newest_checkpoint(folder) == prefix
            if not remaining or (is_stable and prefix) or not folder.exists():
                raise
            time.sleep(_PAUSE)


def _restore(
    checkpoint: tf.train.Checkpoint, path: str, prefix: Path, belongs_to: Provenance
) -> None:
    try:
        reader = tf.train.load_checkpoint(path)
        if not reader.has_tensor(_PROVENANCE_KEY):
            raise UserError(f"{prefix}: is not of this version of sat_tf; train the run again")
        stored = json.loads(reader.get_tensor(_PROVENANCE_KEY).decode())
    except _UNREADABLE:
        raise UserError(f"{prefix}: can't be read as a checkpoint of sat_tf: {_RESTORE}") from None
    _check_provenance(prefix, stored, belongs_to)
    try:
        checkpoint.read(path).assert_consumed()
    except _UNREADABLE:
        raise UserError(
            f"{prefix}: is damaged or does not fit the run's config.json: {_RESTORE}"
        ) from None


def _check_provenance(prefix: Path, stored: Provenance, own: Provenance) -> None:
    for part, file in (("vocabulary", "vocabulary.json"), ("encoder", ENCODER_FILE)):
        if stored[part] != own[part]:
            raise UserError(
                f"{prefix}: was trained with another {part} (fingerprint {stored[part][:12]}, the "
                f"run's {file} has {own[part][:12]}); put the file back that belongs to the run"
            )
    defaults = {name: settings()[name].default for name in own["settings"]}  # of those added since
    trained = defaults | stored["settings"]
    differing = [
        f"--{name}={trained[name]} (config.json has {value})"
        for name, value in own["settings"].items()
        if value != trained[name]
    ]
    if differing:
        raise UserError(
            f"{prefix}: was trained with {', '.join(differing)}; put the config.json back that "
            "belongs to the run"
        )


def save_weights(
    model: CaptionModel, folder: str | os.PathLike[str], belongs_to: Provenance
) -> None:
    """Write the model's weights into a folder, for `load_weights`."""
    checkpoint = tf.train.Checkpoint(**learned_weights(model, belongs_to))
    write_checkpoint(checkpoint, Path(folder), 1)


def load_weights(
    model: CaptionModel, folder: str | os.PathLike[str], belongs_to: Provenance
) -> None:
    """Load the newest checkpoint of `folder` into the model.

    Raises:
      UserError: see `restore`.
    """
    restore(tf.train.Checkpoint(**learned_weights(model, belongs_to)), Path(folder), belongs_to)
