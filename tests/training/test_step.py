"""Optimizers and terms of a training step; for several devices see the Keras contract."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_models import captions_dataset, compile_model, make_model, run_loop

from sat_tf.config import DecoderConfig, TrainingConfig, from_flat
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.losses import CaptionLoss
from sat_tf.training import initialize
from sat_tf.training.optimizers import make_optimizer
from sat_tf.training.train import prepare
from sat_tf.vocabulary import END, PAD, Vocabulary

GRID = (1, 3, 4)
BATCH = {
    "features": tf.constant(np.random.default_rng(1).normal(size=(2, *GRID)).astype(np.float32)),
    "image_index": tf.constant([0, 1]),
    "tokens": tf.constant([[4, 3, END], [5, END, PAD]]),
    "captions": tf.constant(2.0),
}


def identity():
    grid = keras.Input(GRID)
    return keras.Model(grid, grid)


def compiled_model(optimizer, loss=None, **changes):
    keras.utils.set_random_seed(0)
    decoder = DecoderConfig(embedding_size=3, hidden_size=5, attention_size=2, dropout=0.0)
    model = CaptionModel(identity(), decoder, 7)
    model.compile(optimizer, loss, clip_norm=0.0, **changes)
    return model


def after_a_step(rate, loss=None, **changes):
    """The weights before and after one step of gradient descent."""
    model = compiled_model(keras.optimizers.SGD(rate), loss, **changes)
    before = [v.numpy() for v in model.trainable_variables]
    sums = model.update(BATCH)
    return before, [v.numpy() for v in model.trainable_variables], sums


def test_weight_decay_is_the_gradient_of_the_sum_of_squares():
    rate, decay = 0.1, 0.05
    before, plain, _ = after_a_step(rate)
    _, decayed, _ = after_a_step(rate, weight_decay=decay)
    for weight, without, with_it in zip(before, plain, decayed, strict=True):
        np.testing.assert_allclose(with_it - without, -rate * 2 * decay * weight, atol=1e-6)


def test_label_smoothing_interpolates_between_two_losses():
    """Its step lies between that of the true tokens and that of the uniform distribution."""
    before, half, sums = after_a_step(0.1, CaptionLoss(0.0, label_smoothing=0.4))
    assert {"nll", "smoothing"} <= set(sums)
    _, none, _ = after_a_step(0.1, CaptionLoss(0.0))
    _, more, _ = after_a_step(0.1, CaptionLoss(0.0, label_smoothing=0.8))
    for first, a, b, c in zip(before, none, half, more, strict=True):
        np.testing.assert_allclose(b - first, ((a - first) + (c - first)) / 2, atol=1e-6)


def sums_of_a_step(jit_compile=False, repeats_shapes=True, **changes):
    model = make_model(dropout=0.0, **changes)
    compile_model(model, jit_compile=jit_compile)
    return run_loop(model, 2, captions_dataset(repeats_shapes=repeats_shapes).take(1))


def test_padding_to_repeated_shapes_changes_no_step():
    for padded, plain in zip(sums_of_a_step(), sums_of_a_step(repeats_shapes=False), strict=True):
        assert padded[0] == pytest.approx(plain[0], rel=1e-5, abs=1e-5)


# One layer has a gradient of our own.
@pytest.mark.parametrize("lstm_layers", [1, 2])
def test_steps_compiled_by_xla_are_the_plain_ones(lstm_layers):
    plain = sums_of_a_step(lstm_layers=lstm_layers)
    by_xla = sums_of_a_step(jit_compile=True, lstm_layers=lstm_layers)
    for compiled, expected in zip(by_xla, plain, strict=True):
        assert compiled[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-5)


def test_compiled_steps_are_for_one_device(tmp_path):
    config = from_flat({"dataset": "shapes", "jit_compile": True})
    workers = SimpleNamespace(strategy=SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(UserError, match="--jit_compile: does not work on 2 devices"):
        prepare(config, tmp_path, workers=workers)


@pytest.mark.parametrize("bias", ["frequencies", "zero"])
def test_initial_output_bias(bias, monkeypatch):
    monkeypatch.setattr(initialize, "build_encoder", lambda *_: identity())
    vocabulary = Vocabulary.build([["red", "red", "star"]])
    config = from_flat({"dataset": "shapes", "output_bias": bias})
    model = initialize.new_model(config, vocabulary)
    expected = np.log([1, 2, 1, 3, 2]) - np.log(9) if bias == "frequencies" else np.zeros(5)
    found = model.decoder.deep_output.output_projection.bias
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adadelta"])
def test_every_optimizer_lowers_the_loss(name):
    rate = 1.0 if name == "adadelta" else 0.01
    model = compiled_model(make_optimizer(TrainingConfig(optimizer=name, learning_rate=rate)))
    losses = [float(model.update(BATCH)["nll"]) for _ in range(3)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_rmsprop_has_the_authors_constants():
    """Centred, decay 0.95, momentum 0.9, 1e-4 beside the variance: two steps by hand."""
    optimizer = make_optimizer(TrainingConfig(optimizer="rmsprop", learning_rate=1e-4))
    weight = tf.Variable([1.0, -2.0])
    optimizer.build([weight])
    gradients = [np.array([0.3, -0.01]), np.array([-0.2, 0.05])]
    expected, square, mean, velocity = np.array([1.0, -2.0]), 0.0, 0.0, 0.0
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [weight])
        square = 0.95 * square + 0.05 * gradient**2
        mean = 0.95 * mean + 0.05 * gradient
        velocity = 0.9 * velocity - 1e-4 * gradient / np.sqrt(square - mean**2 + 1e-4)
        expected = expected + velocity
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
