"""Where batches of a split get their features: from the cache, or from the encoder each time."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sat_tf.config import Config
from sat_tf.data.feature_cache import FeatureCache
from sat_tf.data.pipeline import CachedFeatures, ImageReader, ImageSource
from sat_tf.data.records import Record
from sat_tf.model.encoder import encoder_fingerprint

ENCODE_BATCH = 32  # images encoded at a time


def cache_folder(config: Config, fingerprint: str, split: str) -> Path:
    """Return the folder of a split's cache: one for each data set, encoder and image size."""
    name = f"{config.data.dataset}-{fingerprint[:12]}"
    return Path(config.encoder.cache_dir) / name / split


def feature_source(
    encoder: keras.Model, records: Sequence[Record], config: Config, split: str
) -> ImageSource:
    """Fill the feature cache of a split and return it as a source of batches.

    With `--nocache_features` nothing is encoded: batches will hold images.
    """
    if not config.encoder.cache_features:
        return ImageReader(records, config.images)
    fingerprint = encoder_fingerprint(encoder, config.images)
    folder = cache_folder(config, fingerprint, split)
    cache = FeatureCache(folder, records, fingerprint, encoder.output_shape[1:])
    encode = tf.function(
        lambda images: encoder(images, training=False),
        input_signature=[tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)],
        autograph=False,
    )
    cache.fill(encode, config.images, ENCODE_BATCH)
    return CachedFeatures(cache.read, cache.shape)
