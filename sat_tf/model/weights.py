"""What a run has learned: saved with the vocabulary's fingerprint, checked when read."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel

_FINGERPRINT_KEY = "vocabulary/.ATTRIBUTES/VARIABLE_VALUE"


def learned_parts(model: CaptionModel, fingerprint: str) -> dict[str, Any]:
    """What a checkpoint of the model tracks.

    The decoder, the annotations' scale, an encoder that is trained, and the fingerprint of the
    vocabulary whose ids the weights speak of.
    """
    parts = {
        "decoder": model.cell,
        "locations": model.locations,
        "vocabulary": tf.Variable(fingerprint, trainable=False),
    }
    return {**parts, "encoder": model.encoder} if model.trains_encoder else parts


def check_fingerprint(prefix: str, fingerprint: str) -> None:
    """Raises `UserError` unless the checkpoint was made with this vocabulary."""
    try:
        stored = tf.train.load_checkpoint(prefix).get_tensor(_FINGERPRINT_KEY).decode()
    except (tf.errors.OpError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{prefix}: can't be read as a checkpoint of sat_tf: {error}") from None
    if stored != fingerprint:
        raise UserError(
            f"{prefix}: was trained with another vocabulary (fingerprint {stored[:12]}, the run's "
            f"vocabulary.json has {fingerprint[:12]}); put the file back that belongs to the run"
        )


def load_weights(model: CaptionModel, folder: str | os.PathLike[str], fingerprint: str) -> None:
    """Reads the newest checkpoint of `folder` into the model.

    Raises:
      UserError: there is none, it can't be read, or its vocabulary is another one.
    """
    prefix = tf.train.latest_checkpoint(Path(folder))
    if prefix is None:
        raise UserError(f"{folder}: holds no checkpoint; train the run first")
    check_fingerprint(prefix, fingerprint)
    try:
        checkpoint = tf.train.Checkpoint(**learned_parts(model, fingerprint))
        status = checkpoint.restore(prefix)
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise UserError(f"{prefix}: does not fit the run's config.json: {error}") from None
