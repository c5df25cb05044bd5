"""Hard attention: draws from alpha, and the gradient that they give it."""

import itertools

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from sat_tf.config import DecoderConfig, TrainingConfig
from sat_tf.model.attention import Chance
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import AttentionDecoderCell
from sat_tf.model.hard_attention import (
    given_places,
    gumbel_noise,
    reinforce,
    rewards,
    training_places,
)
from sat_tf.training.objective import likelihood, surrogate_loss
from sat_tf.vocabulary import END, PAD

L, D, V = 3, 4, 6
CAPTION = [4, 3, END]
T = len(CAPTION)
# Equation (12) without entropy, its reward whole, its baseline fixed, and nothing but draws.
PLAIN = {
    "doubly_stochastic_weight": 0.0,
    "reinforce_weight": 1.0,
    "entropy_weight": 0.0,
    "baseline_decay": 1.0,
    "sampling_probability": 1.0,
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    grid = keras.Input((1, L, D))
    config = DecoderConfig(
        attention="hard", embedding_size=3, hidden_size=5, attention_size=2, dropout=0.0
    )
    model = CaptionModel(keras.Model(grid, grid), config, V)
    random = np.random.default_rng(1)
    for variable in model.cell.trainable_variables:
        variable.assign(random.normal(0, 1.0, variable.shape))
    return model


@pytest.fixture(scope="module")
def batch():
    grids = np.random.default_rng(2).normal(size=(1, 1, L, D)).astype(np.float32)
    return {
        "features": tf.constant(grids),
        "tokens": tf.constant([CAPTION]),
        "image_index": tf.constant([0]),
    }


def along(path):
    """The chance that makes one LSTM layer look at the locations of `path`."""
    noise = 1e4 * tf.one_hot(path, L)[:, tf.newaxis]  # [T, 1, L]
    return (Chance(noise, tf.ones([T, 1, 1], tf.bool)),)


def sums_and_gradient(model, batch, config, places, baseline=0.0):
    controls = {"baseline": tf.constant(baseline, tf.float32), "sampled_inputs": tf.constant(0.0)}
    with tf.GradientTape() as tape:
        sums = likelihood(model, batch, controls, config, places)
        loss = surrogate_loss(sums, config)
    gradient = tape.gradient(loss, [v.value for v in model.cell.trainable_variables])
    return sums, np.concatenate([tf.convert_to_tensor(g).numpy().ravel() for g in gradient])


def paths():
    return list(itertools.product(range(L), repeat=T))


@pytest.mark.parametrize("reward", [{}, {"reward": "mean", "reinforce_weight": float(T)}])
def test_the_estimator_is_the_gradient_of_the_expected_loss(model, batch, reward):
    """Averaged over all L^T paths, weighted by their probability; for any fixed baseline."""
    config = TrainingConfig(**{**PLAIN, **reward})
    a = batch["features"].numpy()[0, 0].astype(np.float64)
    names = {v.path: name for name, v in reference.variables_of(model.cell).items()}
    weights = reference.weights_of(model.cell)
    estimates = {0.0: 0.0, -3.0: 0.0}
    for path in paths():
        for baseline in estimates:
            sums, gradient = sums_and_gradient(model, batch, config, along(path), baseline)
            read = reference.teacher_force(
                weights, a, CAPTION, model.config, [(place,) for place in path]
            )
            estimates[baseline] += np.exp(read["choices"].sum()) * gradient
            log_p = reference.log_likelihood(read, CAPTION).sum()
            assert float(sums["nll"]) == pytest.approx(-log_p, rel=1e-5)
    np.testing.assert_allclose(estimates[0.0], estimates[-3.0], atol=1e-5)

    def expected_loss() -> float:
        total = 0.0
        for path in paths():
            read = reference.teacher_force(
                weights, a, CAPTION, model.config, [(place,) for place in path]
            )
            probability = np.exp(read["choices"].sum())
            total -= probability * reference.log_likelihood(read, CAPTION).sum()
        return total

    start, nudge = 0, 1e-5
    random = np.random.default_rng(3)
    for variable in model.cell.trainable_variables:
        name, size = names[variable.path], int(np.prod(variable.shape))
        flat = weights[name].reshape(-1)
        for position in random.choice(size, min(size, 3), replace=False):
            kept = flat[position]
            flat[position] = kept + nudge
            above = expected_loss()
            flat[position] = kept - nudge
            below = expected_loss()
            flat[position] = kept
            true = (above - below) / (2 * nudge)
            assert estimates[0.0][start + position] == pytest.approx(true, abs=1e-5), name
        start += size


def test_the_baseline_lowers_the_variance(model, batch):
    """The exact variance over all paths, summed over the weights."""
    config = TrainingConfig(**PLAIN)

    def variance(baseline: float) -> float:
        first = second = 0.0
        for path in paths():
            sums, gradient = sums_and_gradient(model, batch, config, along(path), baseline)
            del sums
            probability = probabilities[path]
            first = first + probability * gradient
            second += probability * float(gradient @ gradient)
        return second - float(first @ first)

    weights = reference.weights_of(model.cell)
    a = batch["features"].numpy()[0, 0].astype(np.float64)
    probabilities, mean = {}, 0.0
    for path in paths():
        read = reference.teacher_force(
            weights, a, CAPTION, model.config, [(place,) for place in path]
        )
        probabilities[path] = np.exp(read["choices"].sum())
        mean += probabilities[path] * reference.log_likelihood(read, CAPTION).sum()
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert variance(mean) < 0.5 * variance(0.0)


def test_rewards_and_reinforce_equal_sums_by_hand():
    random = np.random.default_rng(0)
    log_p, choices = random.normal(size=(2, 2, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 1, 0]], np.float32)
    totals = [log_p[0].sum(), log_p[1, :2].sum()]
    expected = {
        "sum": [[totals[0]] * 3, [totals[1]] * 3],
        "mean": [[totals[0] / 3] * 3, [totals[1] / 2] * 3],
        "step": log_p * mask,
    }
    for name, values in expected.items():
        found = rewards(tf.constant(log_p), tf.constant(mask), name)
        np.testing.assert_allclose(found, values, rtol=1e-5)
        gained = reinforce(tf.constant(choices), found, tf.constant(-0.5), tf.constant(mask))
        by_hand = [
            sum((values[b][t] + 0.5) * choices[b, t] for t in range(steps))
            for b, steps in enumerate((3, 2))
        ]
        np.testing.assert_allclose(gained, by_hand, rtol=1e-5)


@pytest.mark.parametrize("reward", ["sum", "mean", "step"])
def test_variants_agree_with_numpy(model, batch, reward):
    """The whole loss of one path, its baseline and its entropy included."""
    config = TrainingConfig(
        **{
            **PLAIN,
            "reward": reward,
            "reinforce_weight": 0.7,
            "entropy_weight": 0.3,
            "baseline_decay": 0.9 if reward == "step" else 1.0,
        }
    )
    path, baseline = (2, 0, 1), -1.5
    sums, _ = sums_and_gradient(model, batch, config, along(path), baseline)
    a = batch["features"].numpy()[0, 0].astype(np.float64)
    read = reference.teacher_force(
        reference.weights_of(model.cell), a, CAPTION, model.config, [(i,) for i in path]
    )
    log_p = reference.log_likelihood(read, CAPTION)
    gained = {
        "sum": np.full(T, log_p.sum() - baseline),
        "mean": np.full(T, log_p.mean() - baseline),
        "step": log_p,
    }[reward]
    assert float(sums["reinforce"]) == pytest.approx(0.7 * (gained * read["choices"]).sum(), 1e-4)
    assert float(sums["entropy"]) == pytest.approx(read["entropies"].sum(), 1e-4)
    total = -log_p.sum() - 0.3 * read["entropies"].sum()
    surrogate = float(sums["reinforce"])
    assert float(surrogate_loss(sums, config)) == pytest.approx(total - surrogate, 1e-4)


@pytest.mark.parametrize("reward", ["sum", "mean", "step"])
def test_padded_steps_count_for_nothing(model, batch, reward):
    decay = {"baseline_decay": 0.9} if reward == "step" else {}
    config = TrainingConfig(**{**PLAIN, "entropy_weight": 0.3, "reward": reward, **decay})
    padded = {**batch, "tokens": tf.constant([[*CAPTION, PAD, PAD]])}
    (chance,) = along((2, 0, 1))
    longer = (
        Chance(tf.pad(chance.noise, [[0, 2], [0, 0], [0, 0]]), tf.ones([T + 2, 1, 1], tf.bool)),
    )
    sums, short = sums_and_gradient(model, batch, config, along((2, 0, 1)), -2.0)
    padded_sums, long = sums_and_gradient(model, padded, config, longer, -2.0)
    np.testing.assert_allclose(long, short, atol=1e-5)
    assert {name: pytest.approx(float(value)) for name, value in sums.items()} == {
        name: float(value) for name, value in padded_sums.items()
    }


def test_the_expectation_in_the_samples_place_is_soft_attention(model, batch):
    config = TrainingConfig(**PLAIN)
    expected = (Chance(tf.zeros([T, 1, L]), tf.zeros([T, 1, 1], tf.bool)),)
    sums, gradient = sums_and_gradient(model, batch, config, expected, -2.0)
    assert float(sums["reinforce"]) == 0.0
    soft, soft_gradient = sums_and_gradient(model, batch, config, ())
    assert float(sums["nll"]) == pytest.approx(float(soft["nll"]))
    np.testing.assert_allclose(gradient, soft_gradient, atol=1e-5)


def test_noise_draws_from_alpha():
    alpha = np.array([0.5, 0.3, 0.15, 0.05])
    uniform = tf.random.stateless_uniform([20_000, 4], [1, 2])
    drawn = tf.argmax(np.log(alpha).astype(np.float32) + gumbel_noise(uniform), axis=1)
    shares = np.bincount(drawn.numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(shares, alpha, atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("by", ["caption", "batch"])
def test_who_decides_whether_to_draw(by):
    """Captions of a minibatch differ, or minibatches do; the steps of a caption never do."""
    config = TrainingConfig(sampling_by=by, sampling_probability=0.25)
    generator = keras.random.SeedGenerator(4)
    shares = []
    for _ in range(200):
        first, second = training_places(config, (5, 8, 3), 2, generator)
        drawn = first.drawn.numpy()  # [T, B, 1]
        assert (drawn == drawn[:1]).all()
        np.testing.assert_array_equal(second.drawn, drawn)
        assert (first.noise.numpy() != second.noise.numpy()).any()
        shares.append(drawn[0].mean())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.1)
    assert (set(shares) == {0.0, 1.0}) == (by == "batch")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_none_are_drawn(share):
    config = TrainingConfig(sampling_probability=share)
    (chance,) = training_places(config, (2, 50, 3), 1, keras.random.SeedGenerator(0))
    assert np.unique(chance.drawn.numpy()).tolist() == [bool(share)]


def test_contexts_of_a_finished_model(model, batch):
    """The expectation, the likeliest place, or a place drawn from alpha."""
    annotations = batch["features"].numpy()[0]  # [1, L, D]
    memory = model.cell.prepare(tf.constant(annotations))
    attention = model.cell.lstms[0].attention
    count = 4_000
    hidden = tf.ones([count, 5])

    def look(name):
        places = given_places(name, tf.constant([count, L]), 1, tf.constant([7, 0]))
        chance = places[0] if places else None
        return attention(
            hidden, memory.annotations, memory.projected[0], tf.zeros([count, 0]), chance
        )

    expectation, argmax, drawn = (look(name) for name in ("expectation", "argmax", "sample"))
    alpha, beta = expectation.alpha[0].numpy(), float(expectation.beta[0, 0])
    np.testing.assert_allclose(expectation.context[0], beta * alpha @ annotations[0], atol=1e-5)
    likeliest = annotations[0, int(alpha.argmax())]
    np.testing.assert_allclose(argmax.context[0], beta * likeliest, atol=1e-5)
    close = np.isclose(drawn.context.numpy()[:, np.newaxis], beta * annotations, atol=1e-5).all(-1)
    np.testing.assert_allclose(close.mean(axis=0), alpha, atol=0.04)


def test_two_layers_that_draw_equal_the_equations():
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
    cell = AttentionDecoderCell(V, config)
    cell.build((None, None, D))
    random = np.random.default_rng(4)
    for variable in cell.trainable_variables:
        variable.assign(random.normal(0, 0.8, variable.shape))
    a = random.normal(size=(L, D)).astype(np.float32)
    path = [(2, 0), (1, 1), (0, 2)]
    places = tuple(along([step[layer] for step in path])[0] for layer in (0, 1))
    read = tf.function(cell)(tf.constant(a[np.newaxis]), tf.constant([CAPTION]), places=places)
    expected = reference.teacher_force(
        reference.weights_of(cell), a.astype(np.float64), CAPTION, config, path
    )
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(read, name)[0], values, atol=1e-5, err_msg=name)
