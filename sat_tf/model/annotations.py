"""The annotations of a split: from the cache, or encoded whenever they are needed."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sat_tf.config import Settings
from sat_tf.data.batches import CachedAnnotations, EncodedImages, ImageSource
from sat_tf.data.captions import Record
from sat_tf.data.features import prepare_cache
from sat_tf.model.encoder import encoder_fingerprint

# Images encoded at a time: enough to fill the processor, little enough for its memory.
ENCODE_BATCH = 32


def cache_folder(settings: Settings, fingerprint: str, split: str) -> Path:
    """Folder of a split's cache: one for each data set, encoder and way of resizing."""
    name = f"{settings.data.dataset}-{fingerprint[:12]}"
    return Path(settings.encoder.cache_dir) / name / split


def annotation_source(
    encoder: keras.Model, records: Sequence[Record], settings: Settings, split: str
) -> ImageSource:
    """Where batches of `records` get their annotations; fills the cache if one is wanted."""
    if not settings.encoder.cache_features:
        return EncodedImages(records, settings.images)
    fingerprint = encoder_fingerprint(encoder, settings.images)
    encode = tf.function(
        lambda images: encoder(images, training=False),
        input_signature=[tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)],
        autograph=False,
    )
    cache = prepare_cache(
        cache_folder(settings, fingerprint, split),
        records,
        encode,
        settings.images,
        fingerprint,
        batch_size=ENCODE_BATCH,
    )
    return CachedAnnotations(cache.read, encoder.output_shape[1:])
