"""The written gradient against automatic differentiation and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model import decoder as decoder_module
from sat_tf.model.decoder import AttentionDecoder
from sat_tf.model.hard_attention import training_samples

L, D, V = 5, 7, 11
SIZES = {"embedding_size": 4, "hidden_size": 6, "attention_size": 3, "dropout": 0.0}
TOKENS = tf.constant([[4, 9, 3, 1], [10, 1, 0, 0], [5, 5, 6, 1]], tf.int32)

COVERED = [
    {},
    {"gate": "none"},
    {"gate": "channel"},
    {"attention_query": "hidden_and_word", "attention_layers": 2},
    {"attention_temperature": 2.5, "initial_layers": 2, "output_uses_context": False},
    {"lstm_encoder": True, "null_location": True},
]


def make_decoder(dtype="float32", **changes):
    keras.utils.set_random_seed(3)
    decoder = AttentionDecoder(V, DecoderConfig(**{**SIZES, **changes}), dtype=dtype)
    decoder.build((None, None, D))
    random = np.random.default_rng(5)
    for variable in decoder.trainable_variables:
        variable.assign(random.normal(0, 0.7, variable.shape))
    return decoder


def make_features():
    return tf.constant(np.random.default_rng(1).normal(size=(3, L, D)), tf.float32)


def loss_of(output):
    """A loss that depends on every output with a gradient, on each step in another way."""
    random = np.random.default_rng(7)
    weights = [random.normal(size=x.shape).astype(np.float32) for x in output[:3]]
    return tf.add_n(
        [tf.reduce_sum(w * tf.square(x)) for w, x in zip(weights, output[:3], strict=True)]
    )


def gradients(decoder, features, compiled=False, **options):
    """Return the loss and the gradients by name; without a graph, whose tracing takes longer."""

    def compute():
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = loss_of(decoder(features, TOKENS, **options))
        variables = [variable.value for variable in decoder.trainable_variables]
        return loss, [tf.convert_to_tensor(g) for g in tape.gradient(loss, [features, *variables])]

    loss, values = (tf.function(compute, autograph=False) if compiled else compute)()
    paths = [variable.path.split("/", 1)[1] for variable in decoder.trainable_variables]
    names = ["features", *paths]
    return loss.numpy(), dict(zip(names, [value.numpy() for value in values], strict=True))


@pytest.mark.parametrize("options", COVERED, ids=str)
def test_equals_automatic_differentiation(options, monkeypatch):
    decoder, features = make_decoder(**options), make_features()
    used = []
    written = decoder_module.with_written_gradient
    monkeypatch.setattr(
        decoder_module, "with_written_gradient", lambda *a: used.append(1) or written(*a)
    )
    compiled = not options  # the others without a graph
    loss, found = gradients(decoder, features, compiled)
    assert used
    monkeypatch.setattr(
        decoder_module,
        "with_written_gradient",
        lambda cell, inputs, initial, memory, taken: (taken.states[0].hidden, taken.attended),
    )
    expected_loss, expected = gradients(decoder, features, compiled)
    assert loss == expected_loss
    for name, value in expected.items():
        # The bias of the scores cancels in the softmax: its gradient is rounding alone.
        scale = 1.0 if name.endswith("score/bias") else np.abs(value).max()
        assert scale > 1e-3, name
        np.testing.assert_allclose(found[name], value, atol=1e-5 * scale, err_msg=name)


def test_equals_finite_differences():
    decoder = make_decoder(gate="channel", attention_query="hidden_and_word")
    features = make_features()
    _, found = gradients(decoder, features)
    loss = tf.function(lambda: loss_of(decoder(features, TOKENS)), autograph=False)
    kernels = [v for v in decoder.trainable_variables if v.path.endswith("kernel")]
    random, step = np.random.default_rng(2), 1e-2
    for variable in kernels:
        value = variable.numpy()
        direction = random.normal(size=value.shape)
        direction = (direction / np.linalg.norm(direction)).astype(np.float32)
        losses = []
        for sign in (1, -1):
            variable.assign(value + sign * step * direction)
            losses.append(float(loss()))
        variable.assign(value)
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = np.sum(found[variable.path.split("/", 1)[1]] * direction)
        assert slope == pytest.approx(expected, rel=0.02, abs=0.02), variable.path


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"lstm_layers": 2}, {}),
        ({"lstm_dropout": 0.5}, {"training": True}),
        ({"attention": "hard"}, "samples"),
    ],
    ids=["two layers", "dropout of the gates", "sampled locations"],
)
def test_other_decoders_are_differentiated_automatically(options, call, monkeypatch):
    monkeypatch.setattr(decoder_module, "with_written_gradient", None)
    decoder = make_decoder(**options)
    if call == "samples":
        shape = (TOKENS.shape[1], TOKENS.shape[0], L)
        call = {"samples": training_samples(1.0, "caption", shape, 1, decoder.seed_generator)}
    _, found = gradients(decoder, make_features(), **call)
    assert all(np.isfinite(value).all() for value in found.values())


def test_half_precision_is_close():
    features = make_features()
    _, exact = gradients(make_decoder(), features)
    _, rounded = gradients(make_decoder("mixed_bfloat16"), features)
    for name, value in exact.items():
        if not name.endswith("score/bias"):
            error = np.linalg.norm(rounded[name] - value) / np.linalg.norm(value)
            assert error < 0.2, name
