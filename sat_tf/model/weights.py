"""What a run has learned: saved with the vocabulary's fingerprint, checked when read."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel

# What TensorFlow raises on files that are damaged, cut short or another model's.
_UNREADABLE = (
    tf.errors.OpError,
    AssertionError,
    IndexError,
    KeyError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)
_FINGERPRINT_KEY = "vocabulary/.ATTRIBUTES/VARIABLE_VALUE"


def learned_parts(model: CaptionModel, fingerprint: str) -> dict[str, Any]:
    """What a checkpoint of the model tracks.

    The decoder, the annotations' scale, an encoder that is trained, and the fingerprint of the
    vocabulary whose ids the weights speak of.
    """
    parts = {
        # By path: TensorFlow does not see layers that Keras keeps in a list.
        "decoder": {weight.path: weight.value for weight in model.decoder.weights},
        "flatten_grid": model.flatten_grid,
        "vocabulary": tf.Variable(fingerprint, trainable=False),
    }
    return {**parts, "encoder": model.encoder} if model.trains_encoder else parts


def restore(checkpoint: tf.train.Checkpoint, prefix: str, fingerprint: str) -> None:
    """Reads a checkpoint into all that `checkpoint` tracks.

    Args:
      checkpoint: tracks `learned_parts`, and maybe more.
      prefix: of the checkpoint's files.
      fingerprint: of the run's vocabulary.

    Raises:
      UserError: it can't be read, does not fit, or was made with another vocabulary.
    """
    try:
        stored = tf.train.load_checkpoint(prefix).get_tensor(_FINGERPRINT_KEY).decode()
    except _UNREADABLE as error:
        raise UserError(f"{prefix}: can't be read as a checkpoint of sat_tf: {error}") from None
    if stored != fingerprint:
        raise UserError(
            f"{prefix}: was trained with another vocabulary (fingerprint {stored[:12]}, the run's "
            f"vocabulary.json has {fingerprint[:12]}); put the file back that belongs to the run"
        )
    try:
        checkpoint.restore(prefix).assert_existing_objects_matched().expect_partial()
    except _UNREADABLE as error:
        raise UserError(
            f"{prefix}: is damaged or does not fit the run's config.json: {error}"
        ) from None


def save_weights(model: CaptionModel, folder: str | os.PathLike[str], fingerprint: str) -> None:
    """Writes the model's weights into a new folder, as `load_weights` reads them."""
    checkpoint = tf.train.Checkpoint(**learned_parts(model, fingerprint))
    tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1).save()


def load_weights(model: CaptionModel, folder: str | os.PathLike[str], fingerprint: str) -> None:
    """Reads the newest checkpoint of `folder` into the model.

    Raises:
      UserError: there is none, or see `restore`.
    """
    prefix = tf.train.latest_checkpoint(Path(folder))
    if prefix is None:
        raise UserError(f"{folder}: holds no checkpoint; train the run first")
    restore(tf.train.Checkpoint(**learned_parts(model, fingerprint)), prefix, fingerprint)
