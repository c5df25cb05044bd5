"""Attention with the h of another caption: by hand, and where the score is linear."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.evaluator import swap_states
from sat_tf.model import decoder
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START
from sat_tf.vocabulary import END, PAD

GRIDS = np.random.default_rng(0).normal(size=(3, 2, 3, 4)).astype(np.float32)
BATCH = {"features": tf.constant(GRIDS)}
TOKENS = tf.constant([[3, 4, END], [5, END, PAD], [4, 4, 4]])


def make_model(**changes):
    keras.utils.set_random_seed(0)
    grid = keras.Input((2, 3, 4))
    sizes = DecoderConfig(embedding_size=5, hidden_size=6, attention_size=7, **changes)
    model = CaptionModel(keras.Model(grid, grid), sizes, 8)
    random = np.random.default_rng(1)
    for weight in model.decoder.trainable_variables:
        weight.assign(random.normal(0, 0.7, weight.shape))
    return model


def test_equals_two_steps_by_hand():
    """The second word of each caption, its state taken from the caption before it."""
    model = make_model(lstm_layers=2)
    decoder, moved = model.decoder, swap_states(model, BATCH, TOKENS).numpy()
    assert moved.shape == (3, 3)
    for own, other in ((0, 2), (1, 0), (2, 1)):
        alphas = []
        for source in (own, other):
            memory = decoder.prepare(model.flatten_grid(GRIDS[source : source + 1]))
            _, (states, *_) = decoder.next_token(
                tf.constant([START]), decoder.initial_state(memory), memory
            )
            memory = decoder.prepare(model.flatten_grid(GRIDS[own : own + 1]))
            _, (_, attended, _) = decoder.next_token(TOKENS[own : own + 1, 0], states, memory)
            alphas.append(attended.alpha.numpy()[0])
        expected = np.abs(alphas[0] - alphas[1]).sum() / 2
        assert expected > 0.001
        assert moved[own, 1] == pytest.approx(expected, abs=1e-5)


def test_a_linear_score_does_not_depend_on_h(monkeypatch):
    monkeypatch.setattr(decoder.tf, "tanh", tf.identity)
    assert swap_states(make_model(), BATCH, TOKENS).numpy().max() < 1e-6


def test_the_word_before_is_no_h():
    """A query that reads the word, with a linear score: still nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.tf, "tanh", tf.identity)
        model = make_model(attention_query="hidden_and_word")
        assert swap_states(model, BATCH, TOKENS).numpy().max() < 1e-6
    assert swap_states(model, BATCH, TOKENS).numpy()[:, :2].max() > 0.01
