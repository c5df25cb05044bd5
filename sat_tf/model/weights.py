"""Checkpoints of learned weights, with the fingerprint of the vocabulary they belong to."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel

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
_FINGERPRINT_KEY = "vocabulary/.ATTRIBUTES/VARIABLE_VALUE"


def learned_weights(model: CaptionModel, fingerprint: str) -> dict[str, Any]:
    """Return what a checkpoint of the model tracks.

    The decoder, the scale of the features, an encoder that is trained, and the fingerprint of the
    vocabulary whose ids the weights refer to.
    """
    parts = {
        # By path: TensorFlow does not see layers that Keras keeps in a list.
        "decoder": {weight.path: weight.value for weight in model.decoder.weights},
        "flatten_grid": model.flatten_grid,
        "vocabulary": tf.Variable(fingerprint, trainable=False),
    }
    return {**parts, "encoder": model.encoder} if model.trains_encoder else parts


def restore(checkpoint: tf.train.Checkpoint, prefix: str, fingerprint: str) -> None:
    """Restore everything that `checkpoint` tracks.

    Args:
      checkpoint: tracks `learned_weights`, and possibly more.
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
    """Write the model's weights into a new folder, for `load_weights`."""
    checkpoint = tf.train.Checkpoint(**learned_weights(model, fingerprint))
    tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1).save()


def load_weights(model: CaptionModel, folder: str | os.PathLike[str], fingerprint: str) -> None:
    """Load the newest checkpoint of `folder` into the model.

    Raises:
      UserError: there is none, or see `restore`.
    """
    prefix = tf.train.latest_checkpoint(Path(folder))
    if prefix is None:
        raise UserError(f"{folder}: holds no checkpoint; train the run first")
    restore(tf.train.Checkpoint(**learned_weights(model, fingerprint)), prefix, fingerprint)
