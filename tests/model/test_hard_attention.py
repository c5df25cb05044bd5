"""Hard attention: samples from alpha, and the gradient that they give it."""

import functools
import itertools

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import AttentionDecoder
from sat_tf.model.hard_attention import (
    LocationSample,
    gumbel_noise,
    inference_samples,
    reinforce,
    step_rewards,
    training_samples,
)
from sat_tf.model.losses import CaptionLoss
from sat_tf.vocabulary import END, PAD

L, D, V = 3, 4, 6
CAPTION = [4, 3, END]
T = len(CAPTION)
PATHS = list(itertools.product(range(L), repeat=T))
# Equation (12) without entropy, nothing but samples.
PLAIN = {"doubly_stochastic_weight": 0.0, "reinforce_weight": 1.0, "entropy_weight": 0.0}
EVERY_REWARD = pytest.mark.parametrize("reward", ["sum", "mean", "step"])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    grid = keras.Input((1, L, D))
    config = DecoderConfig(
        attention="hard", embedding_size=3, hidden_size=5, attention_size=2, dropout=0.0
    )
    model = CaptionModel(keras.Model(grid, grid), config, V)
    random = np.random.default_rng(1)
    for variable in model.decoder.trainable_variables:
        variable.assign(random.normal(0, 1.0, variable.shape))
    return model


FEATURES = np.random.default_rng(2).normal(size=(1, 1, L, D)).astype(np.float32)
BATCH = {"features": tf.constant(FEATURES), "tokens": tf.constant([CAPTION])}


def along(path):
    """The samples that make one LSTM layer attend to the locations of `path`."""
    noise = 1e4 * tf.one_hot(path, L)[:, tf.newaxis]  # [T, 1, L]
    return (LocationSample(noise, tf.ones([T, 1, 1], tf.bool)),)


@pytest.fixture(scope="module")
def sums_and_gradient(model):
    """Function from a loss, samples and a baseline to sums and gradient.

    `is_compiled` is for the losses that are computed many times: a graph is traced once a loss.
    """

    @functools.cache
    def make(is_compiled, **changes):
        loss = CaptionLoss(**{**PLAIN, **changes})

        def run(batch, samples, baseline):
            with tf.GradientTape() as tape:
                output = model(batch, training=True, samples=samples)
                sums = loss.sums(output, batch, baseline if samples else None)
                surrogate = loss.surrogate(sums)
            taken = tape.gradient(surrogate, [v.value for v in model.decoder.trainable_variables])
            return sums, tf.concat([tf.reshape(g, [-1]) for g in taken], 0), surrogate

        return tf.function(run, autograph=False) if is_compiled else run

    def run(samples, baseline=0.0, batch=BATCH, is_compiled=False, **changes):
        found = make(is_compiled, **changes)(batch, samples, tf.constant(baseline, tf.float32))
        return tf.nest.map_structure(lambda x: x.numpy(), found)

    return run


def read(model, path):
    """The path's caption by the equations."""
    weights, a = reference.weights_of(model.decoder), FEATURES[0, 0].astype(np.float64)
    return reference.teacher_force(weights, a, CAPTION, model.config, [(i,) for i in path])


@pytest.fixture(scope="module")
def true_gradient(model):
    """Some derivatives of the expected loss by central differences: (name, index, value) of each.

    The index is that in the gradient of all trainable variables, flat.
    """
    names = {v.path: name for name, v in reference.variables_of(model.decoder).items()}
    weights, a = reference.weights_of(model.decoder), FEATURES[0, 0].astype(np.float64)

    def expected_loss() -> float:
        total = 0.0
        for path in PATHS:
            chosen = [(i,) for i in path]
            output = reference.teacher_force(weights, a, CAPTION, model.config, chosen)
            probability = np.exp(output["log_probs"].sum())
            total -= probability * reference.log_likelihood(output, CAPTION).sum()
        return total

    found, start, nudge = [], 0, 1e-5
    random = np.random.default_rng(3)
    for variable in model.decoder.trainable_variables:
        name, size = names[variable.path], int(np.prod(variable.shape))
        flat = weights[name].reshape(-1)
        for position in random.choice(size, min(size, 3), replace=False):
            kept = flat[position]
            flat[position] = kept + nudge
            above = expected_loss()
            flat[position] = kept - nudge
            below = expected_loss()
            flat[position] = kept
            found.append((name, start + position, (above - below) / (2 * nudge)))
        start += size
    return found


@pytest.mark.parametrize("changes", [{}, {"reward": "mean", "reinforce_weight": float(T)}])
def test_the_estimator_is_the_gradient_of_the_expected_loss(
    model, sums_and_gradient, true_gradient, changes
):
    """Averaged over all L^T paths, weighted by their probability; for any fixed baseline."""
    estimates = {0.0: 0.0, -3.0: 0.0}
    for path in PATHS:
        output = read(model, path)
        for baseline in estimates:
            sums, gradient, _ = sums_and_gradient(
                along(path), baseline, is_compiled=True, **changes
            )
            estimates[baseline] += np.exp(output["log_probs"].sum()) * gradient
            log_p = reference.log_likelihood(output, CAPTION).sum()
            assert sums["nll"] == pytest.approx(-log_p, rel=1e-5)
    np.testing.assert_allclose(estimates[0.0], estimates[-3.0], atol=1e-5)
    for name, index, value in true_gradient:
        assert estimates[0.0][index] == pytest.approx(value, abs=1e-5), name


def test_the_baseline_lowers_the_variance(model, sums_and_gradient):
    """The exact variance over all paths, summed over the weights."""
    outputs = [read(model, path) for path in PATHS]
    probabilities = np.array([np.exp(output["log_probs"].sum()) for output in outputs])
    assert probabilities.sum() == pytest.approx(1.0)

    def variance(baseline: float) -> float:
        gradients = np.array(
            [sums_and_gradient(along(path), baseline, is_compiled=True)[1] for path in PATHS]
        )
        mean = probabilities @ gradients
        return probabilities @ (gradients**2).sum(axis=1) - mean @ mean

    log_p = [reference.log_likelihood(output, CAPTION).sum() for output in outputs]
    assert variance(probabilities @ log_p) < 0.5 * variance(0.0)


def test_rewards_and_reinforce_equal_sums_by_hand():
    random = np.random.default_rng(0)
    log_p, location_log_p = random.normal(size=(2, 2, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 1, 0]], np.float32)
    totals = [log_p[0].sum(), log_p[1, :2].sum()]
    expected = {
        "sum": [[totals[0]] * 3, [totals[1]] * 3],
        "mean": [[totals[0] / 3] * 3, [totals[1] / 2] * 3],
        "step": log_p * mask,
    }
    for name, values in expected.items():
        rewards = step_rewards(tf.constant(log_p), tf.constant(mask), name)
        np.testing.assert_allclose(rewards, values, rtol=1e-5)
        found = reinforce(
            tf.constant(location_log_p), rewards, tf.constant(-0.5), tf.constant(mask)
        )
        by_hand = [
            sum((values[b][t] + 0.5) * location_log_p[b, t] for t in range(steps))
            for b, steps in enumerate((3, 2))
        ]
        np.testing.assert_allclose(found, by_hand, rtol=1e-5)


@EVERY_REWARD
def test_the_whole_loss_of_one_path_agrees_with_numpy(model, sums_and_gradient, reward):
    path, baseline = (2, 0, 1), -1.5
    changes = {"reward": reward, "reinforce_weight": 0.7, "entropy_weight": 0.3}
    sums, _, surrogate = sums_and_gradient(along(path), baseline, **changes)
    output = read(model, path)
    log_p = reference.log_likelihood(output, CAPTION)
    advantage = {
        "sum": np.full(T, log_p.sum() - baseline),
        "mean": np.full(T, log_p.mean() - baseline),
        "step": log_p,
    }[reward]
    expected = 0.7 * (advantage * output["log_probs"]).sum()
    assert sums["reinforce"] == pytest.approx(expected, 1e-4)
    assert sums["entropy"] == pytest.approx(output["entropies"].sum(), 1e-4)
    total = -log_p.sum() - 0.3 * output["entropies"].sum()
    assert surrogate == pytest.approx(total - expected, 1e-4)


@EVERY_REWARD
def test_padded_steps_contribute_nothing(sums_and_gradient, reward):
    changes = {"reward": reward, "reinforce_weight": 0.7, "entropy_weight": 0.3}
    padded = {**BATCH, "tokens": tf.constant([[*CAPTION, PAD, PAD]])}
    (sample,) = along((2, 0, 1))
    noise = tf.pad(sample.noise, [[0, 2], [0, 0], [0, 0]])
    longer = (LocationSample(noise, tf.ones([T + 2, 1, 1], tf.bool)),)
    sums, gradient, _ = sums_and_gradient(along((2, 0, 1)), -2.0, **changes)
    padded_sums, padded_gradient, _ = sums_and_gradient(longer, -2.0, padded, **changes)
    np.testing.assert_allclose(padded_gradient, gradient, atol=1e-5)
    assert padded_sums == pytest.approx(sums)


def test_without_sampling_it_is_soft_attention(sums_and_gradient):
    expectation = (LocationSample(tf.zeros([T, 1, L]), tf.zeros([T, 1, 1], tf.bool)),)
    sums, gradient, _ = sums_and_gradient(expectation, -2.0)
    assert sums["reinforce"] == 0.0
    soft, soft_gradient, _ = sums_and_gradient(())
    assert sums["nll"] == pytest.approx(soft["nll"])
    np.testing.assert_allclose(gradient, soft_gradient, atol=1e-5)


def test_gumbel_noise_samples_alpha():
    alpha = np.array([0.5, 0.3, 0.15, 0.05])
    uniform = tf.random.stateless_uniform([20_000, 4], [1, 2])
    sampled = tf.argmax(np.log(alpha).astype(np.float32) + gumbel_noise(uniform), axis=1)
    shares = np.bincount(sampled.numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(shares, alpha, atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("unit", ["caption", "batch"])
def test_whether_to_sample_is_decided_by_caption_or_by_batch(unit):
    """Captions of a minibatch differ, or minibatches do; the steps of a caption never do."""
    generator = keras.random.SeedGenerator(4)
    shares = []
    for _ in range(200):
        first, second = training_samples(0.25, unit, (5, 8, 3), 2, generator)
        is_sampled = first.is_sampled.numpy()  # [T, B, 1]
        assert (is_sampled == is_sampled[:1]).all()
        np.testing.assert_array_equal(second.is_sampled, is_sampled)
        assert (first.noise.numpy() != second.noise.numpy()).any()
        shares.append(is_sampled[0].mean())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.1)
    assert (set(shares) == {0.0, 1.0}) == (unit == "batch")


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_none_or_all_are_sampled(probability):
    generator = keras.random.SeedGenerator(0)
    (sample,) = training_samples(probability, "caption", (2, 50, 3), 1, generator)
    assert np.unique(sample.is_sampled.numpy()).tolist() == [bool(probability)]


def test_contexts_of_a_trained_model(model):
    """The expectation, the most probable location, or one sampled from alpha."""
    features = FEATURES[0]  # [1, L, D]
    attention, count = model.decoder.cells[0].attention, 4_000
    hidden = tf.ones([count, 5])

    def attend(name):
        samples = inference_samples(name, tf.constant([count, L]), 1, tf.constant([7, 0]))
        return attention(hidden, tf.constant(features), sample=samples[0] if samples else None)

    expectation, argmax, sampled = (attend(name) for name in ("expectation", "argmax", "sample"))
    alpha, beta = expectation.alpha[0].numpy(), float(expectation.beta[0, 0])
    np.testing.assert_allclose(expectation.context[0], beta * alpha @ features[0], atol=1e-5)
    most_probable = features[0, int(alpha.argmax())]
    np.testing.assert_allclose(argmax.context[0], beta * most_probable, atol=1e-5)
    close = np.isclose(sampled.context.numpy()[:, np.newaxis], beta * features, atol=1e-5).all(-1)
    np.testing.assert_allclose(close.mean(axis=0), alpha, atol=0.04)


def test_two_layers_that_sample_equal_the_equations():
    """With temperature, gate by channel and a recurrent encoder; compiled."""
    keras.utils.set_random_seed(0)
    config = DecoderConfig(
        attention="hard",
        attention_temperature=2.5,
        embedding_size=3,
        hidden_size=5,
        attention_size=2,
        lstm_layers=2,
        gate="channel",
        lstm_encoder=True,
        dropout=0.0,
    )
    decoder = AttentionDecoder(V, config)
    decoder.build((None, None, D))
    random = np.random.default_rng(4)
    for variable in decoder.trainable_variables:
        variable.assign(random.normal(0, 0.8, variable.shape))
    a = random.normal(size=(L, D)).astype(np.float32)
    path = [(2, 0), (1, 1), (0, 2)]
    samples = tuple(along([step[layer] for step in path])[0] for layer in (0, 1))
    output = tf.function(decoder, autograph=False)(
        tf.constant(a[np.newaxis]), tf.constant([CAPTION]), samples=samples
    )
    expected = reference.teacher_force(
        reference.weights_of(decoder), a.astype(np.float64), CAPTION, config, path
    )
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(output, name)[0], values, atol=1e-5, err_msg=name)
