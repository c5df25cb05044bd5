"""The decoder against the equations in NumPy: sizes that all differ, random weights."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.decoder import START, AttentionDecoder
from sat_tf.model.losses import doubly_stochastic_penalty, negative_log_likelihood
from sat_tf.vocabulary import END, PAD

L, D, H, E, A, V = 5, 7, 6, 4, 3, 11
CAPTIONS = [[4, 9, 3, END], [10, END]]
TOKENS = np.array([[4, 9, 3, END], [10, END, PAD, PAD]], np.int32)


def make_decoder(seed=0, **changes):
    sizes = {"embedding_size": E, "hidden_size": H, "attention_size": A, "dropout": 0.0}
    keras.utils.set_random_seed(3)
    decoder = AttentionDecoder(V, DecoderConfig(**{**sizes, **changes}), seed)
    decoder.build((None, None, D))
    random = np.random.default_rng(5)
    for variable in decoder.weights:
        # Constant weights, biases of zero above all, would hide permutations.
        if "seed" not in variable.path:
            variable.assign(random.normal(0, 0.7, variable.shape))
    return decoder


@pytest.fixture
def features():
    return np.random.default_rng(1).normal(size=(2, L, D)).astype(np.float32)


# Each option alone, and then many together: what one does must not depend on the others' defaults.
OPTIONS = [
    {},
    {"gate": "none"},
    {"gate": "channel"},
    {"attention_query": "hidden_and_word"},
    {"attention_layers": 3},
    {"initial_layers": 3},
    {"output_layers": 3},
    {"lstm_layers": 3},
    {"lstm_encoder": True},
    {"output_activation": "relu"},
    {"output_activation": "linear"},
    {"output_uses_embedding": False},
    {"output_uses_context": False},
    {"attention": "hard", "attention_temperature": 2.5},
    {
        "attention_layers": 2,
        "initial_layers": 2,
        "output_layers": 2,
        "lstm_layers": 2,
        "lstm_encoder": True,
        "attention_query": "hidden_and_word",
        "gate": "channel",
        "output_activation": "relu",
    },
]
NAMES = ["-".join(options) or "the paper's" for options in OPTIONS]


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
def test_teacher_forcing_and_steps_equal_the_equations(features, options):
    decoder = make_decoder(**options)
    output = decoder(tf.constant(features), tf.constant(TOKENS))
    weights = reference.weights_of(decoder)
    assert sum(w.size for w in weights.values()) == sum(
        np.prod(v.shape) for v in decoder.trainable_variables
    )
    for b, caption in enumerate(CAPTIONS):
        a = features[b].astype(np.float64)
        expected = reference.teacher_force(weights, a, caption, decoder.config)
        for name in ("logits", "alphas", "betas"):
            found = getattr(output, name)[b, : len(caption)]
            np.testing.assert_allclose(found, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)
    memory = decoder.prepare(tf.constant(features))
    state, previous = decoder.initial_state(memory), tf.constant([START, START])
    for t in range(TOKENS.shape[1]):
        logits, (state, attended, _) = decoder.next_token(previous, state, memory)
        np.testing.assert_allclose(logits, output.logits[:, t], atol=1e-5)
        np.testing.assert_allclose(attended.alpha, output.alphas[:, t], atol=1e-6)
        np.testing.assert_allclose(attended.beta[:, 0], output.betas[:, t], atol=1e-6)
        previous = tf.constant(TOKENS[:, t])


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]], ids=["the paper's", "deep"])
def test_eager_equals_compiled(features, options):
    decoder = make_decoder(**options)
    inputs = tf.constant(features), tf.constant(TOKENS)
    for one, other in zip(decoder(*inputs), tf.function(decoder)(*inputs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]], ids=["the paper's", "deep"])
def test_gradient_equals_finite_differences(features, options):
    decoder, weight, nudge = make_decoder(**options), 0.33, 1e-6
    variables = reference.variables_of(decoder)
    with tf.GradientTape() as tape:
        logits, alphas, *_ = decoder(tf.constant(features), tf.constant(TOKENS))
        nll = negative_log_likelihood(logits, tf.constant(TOKENS))
        penalty = doubly_stochastic_penalty(alphas, tf.constant(TOKENS))
        loss = tf.reduce_sum(nll + weight * penalty)
    taken = tape.gradient(loss, [variable.value for variable in variables.values()])
    gradients = dict(zip(variables, taken, strict=True))
    weights = reference.weights_of(decoder)

    def total() -> float:
        return sum(
            reference.caption_loss(
                weights, features[b].astype(np.float64), caption, decoder.config, weight
            )
            for b, caption in enumerate(CAPTIONS)
        )

    random = np.random.default_rng(8)
    for name in variables:
        gradient = tf.convert_to_tensor(gradients[name]).numpy()
        for _ in range(4):
            at = tuple(random.integers(size) for size in weights[name].shape)
            kept = weights[name][at]
            weights[name][at] = kept + nudge
            above = total()
            weights[name][at] = kept - nudge
            below = total()
            weights[name][at] = kept
            expected = (above - below) / (2 * nudge)
            assert gradient[at] == pytest.approx(expected, rel=1e-3, abs=1e-4), (name, at)


def test_alpha_sums_to_one_and_depends_on_hidden(features):
    decoder = make_decoder()
    features, (projected,) = decoder.prepare(tf.constant(features))
    random = np.random.default_rng(2)
    first, second = (
        decoder.cells[0].attention(
            tf.constant(random.normal(size=(2, H)), tf.float32), features, projected
        )
        for _ in range(2)
    )
    for attended in (first, second):
        np.testing.assert_allclose(tf.reduce_sum(attended.alpha, axis=1), 1.0, atol=1e-6)
    assert np.abs(first.alpha - second.alpha).max() > 0.01


def test_permuting_locations_permutes_alpha_alone(features):
    decoder = make_decoder()
    order = np.random.default_rng(4).permutation(L)
    logits, alphas, betas, *_ = decoder(tf.constant(features), tf.constant(TOKENS))
    permuted = decoder(tf.constant(features[:, order]), tf.constant(TOKENS))
    np.testing.assert_allclose(permuted[0], logits, atol=1e-5)
    np.testing.assert_allclose(permuted[1], tf.gather(alphas, order, axis=2), atol=1e-6)
    np.testing.assert_allclose(permuted[2], betas, atol=1e-6)


def test_more_padding_changes_no_loss(features):
    decoder = make_decoder()
    losses = []
    for tokens in (TOKENS, np.pad(TOKENS, [(0, 0), (0, 3)])):
        tokens = tf.constant(tokens)
        logits, alphas, *_ = decoder(tf.constant(features), tokens)
        losses.append(
            np.stack(
                [
                    negative_log_likelihood(logits, tokens),
                    doubly_stochastic_penalty(alphas, tokens),
                ]
            )
        )
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_dropout_acts_in_training_alone(features):
    decoder = make_decoder(dropout=0.5)
    inputs = tf.constant(features), tf.constant(TOKENS)
    np.testing.assert_array_equal(decoder(*inputs)[0], decoder(*inputs)[0])
    first, second = (decoder(*inputs, training=True)[0] for _ in range(2))
    assert np.abs(first - second).max() > 0.01


def test_lstm_dropout_scales_the_sums_under_i_f_and_o(features):
    """One step, its mask known: against the equations with i, f, o scaled and g left alone."""
    decoder = make_decoder(lstm_dropout=0.5)
    memory = decoder.prepare(tf.constant(features[:1]))
    word = decoder.project_inputs(decoder.embed(tf.constant([4])))
    states = decoder.initial_state(memory)
    mask = np.random.default_rng(0).choice([0.0, 2.0], size=[1, 3 * H]).astype(np.float32)
    ((hidden, carried),), _, _ = decoder.step(word, states, memory, gate_masks=(tf.constant(mask),))

    w = reference.weights_of(decoder)
    a = features[0].astype(np.float64)
    ((h, c),) = reference.initial_states(w, a)
    z, _, _ = reference.attend(w, 0, a, h, w["E"][4], 1.0, None)
    gates = w["E"][4] @ w["G_x/0"] + h @ w["G_h/0"] + z @ w["G_z/0"] + w["b_g/0"]
    i, f, o = np.split(reference.sigmoid(gates[: 3 * H] * mask[0]), 3)
    expected = f * c + i * np.tanh(gates[3 * H :])
    np.testing.assert_allclose(carried[0], expected, atol=1e-5)
    np.testing.assert_allclose(hidden[0], o * np.tanh(expected), atol=1e-5)


def test_lstm_dropout_has_a_mask_for_each_step(features):
    decoder = make_decoder(lstm_dropout=0.25)
    (mask,) = (m.numpy() for m in decoder._gate_masks(400, 2))
    assert set(np.unique(mask)) == {0.0, np.float32(1 / 0.75)}
    assert mask.mean() == pytest.approx(1.0, abs=0.05)
    assert (mask[0] != mask[1]).any()
    inputs = tf.constant(features), tf.constant(TOKENS)
    first, second = (decoder(*inputs, training=True).logits for _ in range(2))
    assert np.abs(first - second).max() > 0.01


def test_scheduled_sampling_reads_sampled_tokens(features):
    """With probability 1 every token but the first is sampled from the prediction before it."""
    decoder = make_decoder()
    features = tf.constant(np.repeat(features[:1], 3_000, axis=0))
    tokens = tf.fill([3_000, 2], 4)
    memory = decoder.prepare(features)
    previous = tf.concat([tf.fill([3_000, 1], START), tokens[:, :-1]], axis=1)
    states = decoder.initial_state(memory)
    read = decoder._scheduled_inputs(previous, states, memory, (), tf.constant(1.0)).numpy()
    assert (read[:, 0] == START).all()
    logits, *_ = decoder.next_token(previous[:1, 0], decoder.initial_state(memory), memory)
    expected = tf.nn.softmax(logits)[0].numpy()
    shares = np.bincount(read[:, 1], minlength=V) / 3_000
    np.testing.assert_allclose(shares, expected, atol=0.04)
    none = decoder._scheduled_inputs(previous, states, memory, (), tf.constant(0.0))
    np.testing.assert_array_equal(none, previous)
    mixed = decoder._scheduled_inputs(previous, states, memory, (), tf.constant(0.3)).numpy()
    assert (mixed[:, 1] == 4).mean() == pytest.approx(0.7 + 0.3 * expected[4], abs=0.04)


def test_scheduled_sampling_is_teacher_forcing_on_other_words(features, monkeypatch):
    decoder = make_decoder()
    mixed = tf.constant([[START, 2, 7, 5], [START, 3, 3, 3]])
    monkeypatch.setattr(decoder, "_scheduled_inputs", lambda *_: mixed)
    inputs = tf.constant(features), tf.constant(TOKENS)
    read = decoder(*inputs, scheduled_sampling=tf.constant(0.5))
    shifted = tf.concat([mixed[:, 1:], [[END], [END]]], axis=1)
    np.testing.assert_allclose(read.logits, decoder(inputs[0], shifted).logits, atol=1e-5)


def test_where_dropout_acts(features, monkeypatch):
    """On m after each initial layer, on h_t, after the tanh and after each ReLU layer."""
    decoder = make_decoder(dropout=0.5, initial_layers=3, output_layers=3)
    shapes = []

    def note(inputs, training=False):
        shapes.append(tuple(inputs.shape) if training else None)
        return inputs

    for layer, names in (
        (decoder.initial_states, ["drop"]),
        (decoder.deep_output, ["drop_hidden", "drop"]),
    ):
        for name in names:
            monkeypatch.setattr(layer, name, note)
    decoder(tf.constant(features), tf.constant(TOKENS), training=True)
    steps = TOKENS.shape[1]
    assert shapes == [(2, D), (2, D), (2, steps, H), *[(2, steps, E)] * 3]
