"""The decoder against the equations in NumPy: sizes that all differ, random weights."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from sat_tf.config import DecoderSettings
from sat_tf.model.decoder import START, AttentionDecoderCell
from sat_tf.model.losses import doubly_stochastic_penalty, negative_log_likelihood
from sat_tf.vocabulary import END, PAD

L, D, H, E, A, V = 5, 7, 6, 4, 3, 11
CAPTIONS = [[4, 9, 3, END], [10, END]]
TOKENS = np.array([[4, 9, 3, END], [10, END, PAD, PAD]], np.int32)


def make_cell(seed=0, **changes):
    sizes = {"embedding_size": E, "hidden_size": H, "attention_size": A, "dropout": 0.0}
    keras.utils.set_random_seed(3)
    cell = AttentionDecoderCell(V, DecoderSettings(**{**sizes, **changes}), seed)
    cell.build((None, None, D))
    random = np.random.default_rng(5)
    for variable in cell.weights:
        # Constant weights, biases of zero above all, would hide permutations.
        if "seed" not in variable.path:
            variable.assign(random.normal(0, 0.7, variable.shape))
    return cell


@pytest.fixture
def annotations():
    return np.random.default_rng(1).normal(size=(2, L, D)).astype(np.float32)


# Each option alone, and then many together: what one does must not depend on the others' defaults.
OPTIONS = [
    {},
    {"gate": "none"},
    {"gate": "channel"},
    {"query": "hidden_and_word"},
    {"attention_layers": 3},
    {"initial_layers": 3},
    {"output_layers": 3},
    {"lstm_layers": 3},
    {"annotation_lstm": True},
    {"output_activation": "relu"},
    {"output_activation": "linear"},
    {"output_of_word": False},
    {"output_of_context": False},
    {"attention": "hard", "attention_temperature": 2.5},
    {
        "attention_layers": 2,
        "initial_layers": 2,
        "output_layers": 2,
        "lstm_layers": 2,
        "annotation_lstm": True,
        "query": "hidden_and_word",
        "gate": "channel",
        "output_activation": "relu",
    },
]
NAMES = ["-".join(options) or "the paper's" for options in OPTIONS]


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
@pytest.mark.parametrize("compiled", [False, True])
def test_teacher_forcing_equals_the_equations(annotations, options, compiled):
    cell = make_cell(**options)
    call = tf.function(cell) if compiled else cell
    read = call(tf.constant(annotations), tf.constant(TOKENS))
    weights = reference.weights_of(cell)
    assert sum(w.size for w in weights.values()) == sum(
        np.prod(v.shape) for v in cell.trainable_variables
    )
    for b, caption in enumerate(CAPTIONS):
        a = annotations[b].astype(np.float64)
        expected = reference.teacher_force(weights, a, caption, cell.settings)
        steps = len(caption)
        np.testing.assert_allclose(read.logits[b, :steps], expected["logits"], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(read.alphas[b, :steps], expected["alphas"], atol=1e-5)
        np.testing.assert_allclose(read.betas[b, :steps], expected["betas"], atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
def test_search_steps_equal_teacher_forcing(annotations, options):
    cell = make_cell(**options)
    logits, alphas, betas, *_ = cell(tf.constant(annotations), tf.constant(TOKENS))
    memory = cell.prepare(tf.constant(annotations))
    state = cell.initial_state(memory)
    previous = tf.constant([START, START])
    for t in range(TOKENS.shape[1]):
        step_logits, state, look = cell.next_word(previous, state, memory)
        np.testing.assert_allclose(step_logits, logits[:, t], atol=1e-5)
        np.testing.assert_allclose(look.alpha, alphas[:, t], atol=1e-6)
        np.testing.assert_allclose(look.beta[:, 0], betas[:, t], atol=1e-6)
        previous = tf.constant(TOKENS[:, t])


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]], ids=["the paper's", "deep"])
def test_gradient_equals_finite_differences(annotations, options):
    cell, weight, nudge = make_cell(**options), 0.33, 1e-6
    variables = reference.variables_of(cell)
    with tf.GradientTape() as tape:
        logits, alphas, *_ = cell(tf.constant(annotations), tf.constant(TOKENS))
        nll = negative_log_likelihood(logits, tf.constant(TOKENS))
        penalty = doubly_stochastic_penalty(alphas, tf.constant(TOKENS))
        loss = tf.reduce_sum(nll + weight * penalty)
    taken = tape.gradient(loss, [variable.value for variable in variables.values()])
    gradients = dict(zip(variables, taken, strict=True))
    weights = reference.weights_of(cell)

    def total() -> float:
        return sum(
            reference.caption_loss(
                weights, annotations[b].astype(np.float64), caption, cell.settings, weight
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


def test_alpha_sums_to_one_and_depends_on_hidden(annotations):
    cell = make_cell()
    annotations, (projected,) = cell.prepare(tf.constant(annotations))
    random = np.random.default_rng(2)
    none = tf.zeros([2, 0])
    first, second = (
        cell.lstms[0].attention(
            tf.constant(random.normal(size=(2, H)), tf.float32), annotations, projected, none
        )
        for _ in range(2)
    )
    for look in (first, second):
        np.testing.assert_allclose(tf.reduce_sum(look.alpha, axis=1), 1.0, atol=1e-6)
    assert np.abs(first.alpha - second.alpha).max() > 0.01


def test_permuting_locations_permutes_alpha_alone(annotations):
    cell = make_cell()
    order = np.random.default_rng(4).permutation(L)
    logits, alphas, betas, *_ = cell(tf.constant(annotations), tf.constant(TOKENS))
    permuted = cell(tf.constant(annotations[:, order]), tf.constant(TOKENS))
    np.testing.assert_allclose(permuted[0], logits, atol=1e-5)
    np.testing.assert_allclose(permuted[1], tf.gather(alphas, order, axis=2), atol=1e-6)
    np.testing.assert_allclose(permuted[2], betas, atol=1e-6)


def test_more_padding_changes_no_loss(annotations):
    cell = make_cell()
    losses = []
    for tokens in (TOKENS, np.pad(TOKENS, [(0, 0), (0, 3)])):
        tokens = tf.constant(tokens)
        logits, alphas, *_ = cell(tf.constant(annotations), tokens)
        losses.append(
            np.stack(
                [
                    negative_log_likelihood(logits, tokens),
                    doubly_stochastic_penalty(alphas, tokens),
                ]
            )
        )
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_dropout_acts_in_training_alone(annotations):
    cell = make_cell(dropout=0.5)
    inputs = tf.constant(annotations), tf.constant(TOKENS)
    np.testing.assert_array_equal(cell(*inputs)[0], cell(*inputs)[0])
    first, second = (cell(*inputs, training=True)[0] for _ in range(2))
    assert np.abs(first - second).max() > 0.01


def test_the_layer_can_be_rebuilt_from_its_config(annotations):
    cell = make_cell()
    twin = AttentionDecoderCell.from_config(cell.get_config())
    twin.build((None, None, D))
    twin.set_weights(cell.get_weights())
    inputs = tf.constant(annotations), tf.constant(TOKENS)
    np.testing.assert_array_equal(twin(*inputs)[0], cell(*inputs)[0])
