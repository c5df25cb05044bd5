"""The annotations of a split: from the cache, or encoded whenever they are needed."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sat_tf.config import Config
from sat_tf.data.feature_cache import prepare_cache
from sat_tf.data.pipeline import CachedFeatures, ImageReader, ImageSource
from sat_tf.data.records import Record
from sat_tf.model.encoder import encoder_fingerprint

# Images encoded at a time: enough to fill the processor, little enough for its memory.
ENCODE_BATCH = 32


def cache_folder(config: Config, fingerprint: str, split: str) -> Path:
    """Folder of a split's cache: one for each data set, encoder and way of resizing."""
    name = f"{config.data.dataset}-{fingerprint[:12]}"
    return Path(config.encoder.cache_dir) / name / split


def feature_source(
    encoder: keras.Model, records: Sequence[Record], config: Config, split: str
) -> ImageSource:
    """Where batches of `records` get their annotations; fills the cache if one is wanted."""
    if not config.encoder.cache_features:
        return ImageReader(records, config.images)
    fingerprint = encoder_fingerprint(encoder, config.images)
    encode = tf.function(
        lambda images: encoder(images, training=False),
        input_signature=[tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)],
        autograph=False,
    )
    cache = prepare_cache(
        cache_folder(config, fingerprint, split),
        records,
        encode,
        config.images,
        fingerprint,
        batch_size=ENCODE_BATCH,
    )
    return CachedFeatures(cache.read, encoder.output_shape[1:])
