"""The network as a whole, over an encoder that does nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderSettings
from sat_tf.model.caption_model import CaptionModel, Locations

SETTINGS = DecoderSettings(embedding_size=4, hidden_size=5, attention_size=3, dropout=0.0)


def make_model(**changes):
    grid = keras.Input((2, 3, 6))
    keras.utils.set_random_seed(1)
    return CaptionModel(keras.Model(grid, grid), SETTINGS, vocabulary_size=9, **changes)


@pytest.fixture
def grids():
    return np.random.default_rng(0).normal(size=(2, 2, 3, 6)).astype(np.float32)


def test_locations_are_read_row_by_row(grids):
    locations = Locations()(tf.constant(grids))
    np.testing.assert_array_equal(locations[1, 4], grids[1, 1, 1])


def test_coordinates_tell_column_and_row(grids):
    locations = Locations("coordinates")(tf.constant(grids)).numpy()
    np.testing.assert_array_equal(locations[..., :6], Locations()(tf.constant(grids)))
    assert locations[0, :, 6].tolist() == [-1, 0, 1, -1, 0, 1]
    assert locations[0, :, 7].tolist() == [-1, -1, -1, 1, 1, 1]


def test_annotations_are_brought_to_unit_size(grids):
    model = make_model()
    model.scale_annotations(tf.constant(300 * grids))
    scaled = model.locations(tf.constant(300 * grids))
    assert float(tf.reduce_mean(tf.square(scaled))) == pytest.approx(1.0, rel=1e-4)


def test_a_caption_is_read_with_its_own_image(grids):
    model = make_model()
    tokens = tf.constant([[3, 1], [4, 1], [3, 1]])
    logits, alphas, _ = model(tf.constant(grids), tokens, tf.constant([1, 0, 0]))
    alone = model(tf.constant(grids[1:]), tokens[:1], tf.constant([0]))
    np.testing.assert_allclose(logits[:1], alone[0], atol=1e-6)
    np.testing.assert_allclose(alphas[:1], alone[1], atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 1e-4


def test_the_output_starts_at_the_words_frequencies():
    model = make_model()
    frequencies = np.log(np.arange(1, 10) / 45)
    model.start_output_bias(frequencies.tolist())
    np.testing.assert_allclose(model.cell.output_words.bias, frequencies, rtol=1e-6)


def test_a_batch_brings_annotations_or_images(grids):
    model = make_model()
    for name in ("annotations", "images"):
        np.testing.assert_array_equal(model.annotate({name: tf.constant(grids)}), grids)
