"""The losses against sums written out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.losses import (
    CaptionLoss,
    attention_supervision,
    doubly_stochastic_penalty,
    negative_log_likelihood,
    uniform_cross_entropy,
)

B, T, L, V = 2, 3, 4, 5
TOKENS = np.array([[3, 4, 1], [2, 1, 0]], np.int32)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def test_negative_log_likelihood_sums_over_real_steps(random):
    logits = random.normal(size=(B, T, V)).astype(np.float32)
    p = softmax(logits)
    expected = [
        -np.log(p[0, 0, 3]) - np.log(p[0, 1, 4]) - np.log(p[0, 2, 1]),
        -np.log(p[1, 0, 2]) - np.log(p[1, 1, 1]),
    ]
    actual = negative_log_likelihood(tf.constant(logits), tf.constant(TOKENS))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_penalty_sums_over_locations_and_real_steps(random):
    alphas = softmax(random.normal(size=(B, T, L))).astype(np.float32)
    expected = [
        sum((1 - sum(alphas[b, t, i] for t in range(steps))) ** 2 for i in range(L))
        for b, steps in enumerate((3, 2))
    ]
    actual = doubly_stochastic_penalty(tf.constant(alphas), tf.constant(TOKENS))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_attention_that_covers_all_evenly_is_not_penalised():
    alphas = tf.one_hot([[0, 1, 2, 3]], L)
    assert doubly_stochastic_penalty(alphas, tf.constant([[3, 3, 3, 1]]))[0] == 0.0


def test_uniform_attention_costs_a_short_caption_least(random):
    """The sum over locations is T, so that the 1 of equation (14) does not matter."""
    steps, locations = 3, 9
    alphas = softmax(random.normal(size=(5, steps, locations))).astype(np.float32)
    tokens = tf.constant([[3, 3, 1]] * 5)
    coverage = alphas.sum(axis=1)
    expected = locations - 2 * steps + (coverage**2).sum(axis=1)
    penalty = doubly_stochastic_penalty(tf.constant(alphas), tokens)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)
    uniform = tf.fill([5, steps, locations], 1 / locations)
    assert (doubly_stochastic_penalty(uniform, tokens) < penalty).numpy().all()


def test_supervision_counts_the_words_that_name_an_object(random):
    alphas = softmax(random.normal(size=(B, T, L))).astype(np.float32)
    regions = np.zeros((B, T, L), bool)
    regions[0, 1, [0, 2]] = True
    regions[0, 2, 3] = True
    expected = [-np.log(alphas[0, 1, 0] + alphas[0, 1, 2]) - np.log(alphas[0, 2, 3]), 0.0]
    actual = attention_supervision(tf.constant(alphas), tf.constant(regions))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_label_smoothing_pulls_towards_all_words_alike(random):
    logits = random.normal(size=(B, T, V)).astype(np.float32)
    p = softmax(logits)
    expected = [
        -sum(np.log(p[b, t]).mean() for t in range(steps)) for b, steps in enumerate((3, 2))
    ]
    actual = uniform_cross_entropy(tf.constant(logits), tf.constant(TOKENS))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "sums", "total", "gradient"),
    [
        ({}, {"nll": 3.0, "penalty": 4.0}, 5.0, 0.0),
        ({"attention_supervision": 0.25}, {"nll": 3.0, "supervision": 8.0}, 5.0, 0.0),
        ({"label_smoothing": 0.1}, {"nll": 3.0, "smoothing": 10.0}, 4.0, 0.0),
        ({"entropy_weight": 0.5}, {"nll": 3.0, "entropy": 2.0, "reinforce": 7.0}, 2.0, 7.0),
    ],
)
def test_the_terms_are_weighted(config, sums, total, gradient):
    loss = CaptionLoss(doubly_stochastic_weight=0.5, **config)
    assert loss.total(sums) == pytest.approx(total)
    assert loss.surrogate(sums) == pytest.approx(total - gradient)


def test_the_fields_are_those_of_the_training_configuration():
    config = TrainingConfig(label_smoothing=0.1, reward="mean", sampling_by="batch")
    assert CaptionLoss.from_training(config) == CaptionLoss(
        label_smoothing=0.1, reward="mean", sampling_by="batch"
    )
    assert CaptionLoss.from_training(TrainingConfig()) == CaptionLoss()
