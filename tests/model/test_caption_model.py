"""The network as a whole, over an encoder that does nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.caption_model import CaptionModel, FlattenGrid

SIZES = {"embedding_size": 4, "hidden_size": 5, "attention_size": 3, "dropout": 0.0}


def make_model(seed=1, **changes):
    grid = keras.Input((2, 3, 6))
    keras.utils.set_random_seed(seed)
    config = DecoderConfig(**{**SIZES, **changes})
    return CaptionModel(keras.Model(grid, grid), config, vocabulary_size=9)


@pytest.fixture
def grids():
    return np.random.default_rng(0).normal(size=(2, 2, 3, 6)).astype(np.float32)


def test_locations_are_read_row_by_row(grids):
    locations = FlattenGrid()(tf.constant(grids))
    np.testing.assert_array_equal(locations[1, 4], grids[1, 1, 1])


def test_coordinates_tell_column_and_row(grids):
    locations = FlattenGrid("coordinates")(tf.constant(grids)).numpy()
    np.testing.assert_array_equal(locations[..., :6], FlattenGrid()(tf.constant(grids)))
    assert locations[0, :, 6].tolist() == [-1, 0, 1, -1, 0, 1]
    assert locations[0, :, 7].tolist() == [-1, -1, -1, 1, 1, 1]


def test_an_annotation_of_zeros_comes_last(grids):
    locations = FlattenGrid("coordinates", null_location=True)(tf.constant(grids)).numpy()
    assert locations.shape == (2, 7, 8)
    assert not locations[:, 6].any()
    np.testing.assert_array_equal(locations[:, :6], FlattenGrid("coordinates")(tf.constant(grids)))


def test_annotations_are_brought_to_unit_size(grids):
    model = make_model()
    model.scale_features(tf.constant(300 * grids))
    scaled = model.flatten_grid(tf.constant(300 * grids))
    assert float(tf.reduce_mean(tf.square(scaled))) == pytest.approx(1.0, rel=1e-4)


def test_annotations_of_zeros_stay_zeros(grids):
    model = make_model()
    model.scale_features(tf.constant(0 * grids))
    assert not np.any(model.flatten_grid(tf.constant(0 * grids)))


def test_a_caption_is_read_with_its_own_image(grids):
    model = make_model()
    tokens = tf.constant([[3, 1], [4, 1], [3, 1]])
    logits, alphas, *_ = model(
        {"features": tf.constant(grids), "tokens": tokens, "image_index": tf.constant([1, 0, 0])}
    )
    alone = model({"features": tf.constant(grids[1:]), "tokens": tokens[:1]})
    np.testing.assert_allclose(logits[:1], alone[0], atol=1e-6)
    np.testing.assert_allclose(alphas[:1], alone[1], atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 1e-4


def test_the_output_starts_at_the_words_frequencies():
    model = make_model()
    frequencies = np.log(np.arange(1, 10) / 45)
    model.set_output_bias(frequencies.tolist())
    np.testing.assert_allclose(
        model.decoder.deep_output.output_projection.bias, frequencies, rtol=1e-6
    )


def test_a_batch_brings_annotations_or_images(grids):
    model = make_model()
    for name in ("features", "images"):
        np.testing.assert_array_equal(model.encode_images({name: tf.constant(grids)}), grids)
