"""A model of arctic-captions as a run: the words, alpha and beta of the authors' equations."""

import dataclasses
import functools

import arctic_models
import arctic_reference as reference
import arctic_runs
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.captioner import Captioner
from sat_tf.config import Config, TrainingConfig
from sat_tf.errors import UserError
from sat_tf.importers.arctic_files import read_arctic_model
from sat_tf.importers.arctic_model import (
    decoder_settings,
    longest_caption,
    training_settings,
    write_run,
)
from sat_tf.model.hard_attention import LocationSample, inference_samples
from sat_tf.model.losses import doubly_stochastic_penalty
from sat_tf.vocabulary import END, PAD, UNK

HARD = {"attn_type": "stochastic"}
TOKENS = [3, 1, 10, 0]  # theirs; each is one more here
STEPS, L = len(TOKENS), 6
VARIANTS = {
    **arctic_models.VARIANTS,
    "deep but for dropout": {**arctic_models.DEEP, "use_dropout": False},
    "deep but for dropout in the LSTM": {**arctic_models.DEEP, "use_dropout_lstm": False},
    "dropout and the least of layers": {"use_dropout": True, "use_dropout_lstm": True},
    "the encoder's states added": {"lstm_encoder": True, "prev2out": True},
}
WITH_NULL_LOCATION = ("plain", "deep encoder")


@functools.cache
def caption_model(null_location, **changes):
    model = arctic_runs.make_arctic_model(arctic_models.make_options(**changes))
    return arctic_runs.make_caption_model(model, null_location)


def make_features(size, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *arctic_runs.GRID, size)).astype(np.float32)


def predict(model, features, samples=(), tokens=TOKENS):
    tokens = tf.constant([[token + 1 for token in tokens]])
    output = model({"features": features, "tokens": tokens}, samples=samples)
    return {
        "probabilities": tf.nn.softmax(output.logits)[0].numpy(),
        "alphas": output.alphas[0].numpy(),
        "betas": output.betas[0].numpy(),
    }


def expect(options, features, weighting=reference.at_expectation, zeros=0, tokens=TOKENS):
    locations = np.pad(features.reshape(L, -1), [(0, zeros), (0, 0)])
    weights = arctic_models.make_weights(options)
    return reference.predict(weights, options, locations, tokens, weighting)


def assert_same(found, expected):
    assert found["probabilities"][:, PAD].max() == 0
    found = {**found, "probabilities": found["probabilities"][:, 1:]}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("variant", "null_location"),
    [*((name, False) for name in VARIANTS), *((name, True) for name in WITH_NULL_LOCATION)],
)
def test_probabilities_alpha_and_beta_are_theirs(variant, null_location):
    options = arctic_models.make_options(**VARIANTS[variant])
    features = make_features(options["ctx_dim"])
    expected = expect(options, features, zeros=int(null_location))
    assert expected["alphas"].shape == (STEPS, L + null_location)
    model = caption_model(null_location, **VARIANTS[variant])
    assert_same(predict(model, features), expected)


@pytest.mark.parametrize("layers", [1, 2])
def test_hard_attention_at_the_most_probable_location_is_theirs(layers):
    changes = {**arctic_models.DEEP, "n_layers_lstm": layers}
    options, model = arctic_models.make_options(**changes), caption_model(False, **changes)
    features, shape = make_features(options["ctx_dim"]), [STEPS, 1, L]
    samples = inference_samples("argmax", tf.constant(shape), layers, tf.constant([0, 0]))
    expected = expect(options, features, reference.at_argmax)
    assert_same(predict(model, features, samples), expected)
    soft = expect(options, features)["probabilities"]
    assert abs(expected["probabilities"] - soft).max() > 1e-3


def test_hard_attention_at_given_locations_is_theirs():
    """Some steps of some layers take alpha itself."""
    options = arctic_models.make_options(**arctic_models.DEEP_ENCODER)
    model = caption_model(False, **arctic_models.DEEP_ENCODER)
    features = make_features(options["ctx_dim"])
    locations = [[0, 5], [None, 2], [3, None], [None, None]]
    samples = tuple(
        LocationSample(
            tf.stack([1e6 * tf.one_hot([location or 0], L) for location in of_layer]),
            tf.constant([[[location is not None]] for location in of_layer]),
        )
        for of_layer in zip(*locations, strict=True)
    )
    expected = expect(options, features, reference.at_locations(locations))
    assert_same(predict(model, features, samples), expected)


def test_dropout_is_that_of_their_training():
    """In training both drop half of the states; what is left is as large here as it was there."""
    changes = {"use_dropout": True, "use_dropout_lstm": True}
    options, model = arctic_models.make_options(**changes), caption_model(False, **changes)
    assert (model.config.dropout, model.config.lstm_dropout) == (0.5, 0.5)
    weights = arctic_models.make_weights(options)
    h = tf.random.normal([2000, options["dim"]], seed=1)
    layer = model.decoder.deep_output
    dropped = layer.drop_hidden(h, training=True)
    kept = tf.where(dropped == 0, 0.0, h)
    assert 0.4 < tf.math.count_nonzero(kept) / tf.size(kept, tf.int64) < 0.6
    np.testing.assert_allclose(
        layer.hidden_projection(dropped),
        kept.numpy() @ weights["ff_logit_lstm_W"] + weights["ff_logit_lstm_b"],
        atol=1e-5,
    )


def test_tokens_without_words_are_left_out():
    """Their probability goes to the others in proportion."""
    options = arctic_models.make_options(**arctic_models.PUBLISHED)
    model = arctic_runs.make_arctic_model(options, arctic_models.WORDS[:-3])
    features, tokens = make_features(options["ctx_dim"]), [3, 7, 1, 0]
    expected = expect(options, features, tokens=tokens)
    left = expected["probabilities"][:, :-3]
    assert left.sum(axis=1).max() < 0.95
    expected["probabilities"] = left / left.sum(axis=1, keepdims=True)
    found = predict(arctic_runs.make_caption_model(model), features, tokens=tokens)
    assert found["probabilities"].shape == (len(tokens), 9)
    assert_same(found, expected)


def test_a_run_has_the_weights_and_the_vocabulary_of_the_files(tmp_path):
    options = arctic_models.make_options(**arctic_models.PUBLISHED)
    model = read_arctic_model(**arctic_models.write_model(tmp_path, options))
    encoder = arctic_runs.write_encoder(tmp_path / "encoder.keras", options["ctx_dim"])
    write_run(model, arctic_runs.given_settings(encoder), tmp_path / "run")
    (run,) = Captioner.load(tmp_path / "run").runs
    assert run.vocabulary.words == ("<pad>", "<end>", "<unk>", *arctic_models.WORDS)
    assert run.vocabulary.encode(["café", "cat"]) == [6, UNK, END]
    assert run.model.flatten_grid.scale.numpy() == 1
    vectors = run.model.decoder.embedding.embeddings.numpy()
    np.testing.assert_array_equal(vectors[1:], arctic_models.make_weights(options)["Wemb"])
    assert not vectors[PAD].any()
    features = make_features(options["ctx_dim"])
    assert_same(predict(run.model, features), expect(options, features))


def test_another_encoder_is_refused_with_both_sizes(tmp_path):
    model = arctic_runs.make_arctic_model(arctic_models.make_options())
    encoder = arctic_runs.write_encoder(tmp_path / "encoder.keras", 5)
    with pytest.raises(UserError, match=r"features of size 7.*encoder\.keras.*have size 5"):
        write_run(model, arctic_runs.given_settings(encoder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(config, folder):
        raise OSError("the disk is full")

    model = arctic_runs.make_arctic_model(arctic_models.make_options())
    encoder = arctic_runs.write_encoder(tmp_path / "encoder.keras", 7)
    monkeypatch.setattr(Config, "save", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_run(model, arctic_runs.given_settings(encoder), tmp_path / "run")
    assert list(tmp_path.iterdir()) == [encoder]


# --- options as settings


def options(**changes):
    return arctic_runs.make_arctic_model(arctic_models.make_options(**changes)).options


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dim_word": 9}, {"embedding_size": 9}),
        ({"dim": 9}, {"hidden_size": 9, "attention_size": 7}),
        ({"dim": 9, "lstm_encoder": True}, {"lstm_encoder": True, "attention_size": 18}),
        ({"n_layers_att": 2}, {"attention_layers": 2}),
        ({"n_layers_lstm": 2}, {"lstm_layers": 2}),
        ({"n_layers_init": 2}, {"initial_layers": 2}),
        ({"n_layers_out": 2}, {"output_layers": 2}),
        ({"prev2out": True}, {"output_uses_embedding": True, "output_uses_context": False}),
        ({"ctx2out": True}, {"output_uses_embedding": False, "output_uses_context": True}),
        ({}, {"gate": "none", "dropout": 0.0, "lstm_dropout": 0.0, "attention": "soft"}),
        ({"selector": True}, {"gate": "scalar"}),
        ({"use_dropout": True}, {"dropout": 0.5, "lstm_dropout": 0.0}),
        ({"use_dropout_lstm": True}, {"dropout": 0.0, "lstm_dropout": 0.5}),
        ({"temperature": 3.0}, {"attention_temperature": 1.0}),
        ({"temperature": 3.0, **HARD}, {"attention_temperature": 3.0, "attention": "hard"}),
    ],
)
def test_the_decoder_is_theirs(changes, expected):
    made = dataclasses.asdict(decoder_settings(options(**changes), null_location=False))
    assert expected.items() <= made.items()
    assert made["output_activation"] == "tanh"
    assert made["initializer"] == "authors"
    assert not made["null_location"]
    assert decoder_settings(options(**changes), null_location=True).null_location


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"decay_c": 0.25, "batch_size": 16, "patience": 3}, {"weight_decay": 0.25, "patience": 3}),
        ({"optimizer": "adam"}, {"optimizer": "adam", "learning_rate": 2e-4}),
        ({"optimizer": "rmsprop"}, {"optimizer": "rmsprop", "learning_rate": 1e-4}),
        ({"optimizer": "adadelta"}, {"optimizer": "adadelta", "learning_rate": 1.0}),
        ({"optimizer": "sgd", "lrate": 0.5}, {"optimizer": "sgd", "learning_rate": 0.5}),
        ({"alpha_c": 1.0, "batch_size": 64}, {"doubly_stochastic_weight": 64 / 196}),
        ({"alpha_c": 0.0}, {"doubly_stochastic_weight": 0.0}),
        ({"alpha_c": 1.0, **HARD}, {"doubly_stochastic_weight": 0.0, "reward": "mean"}),
        ({"RL_sumCost": False, **HARD}, {"reward": "step"}),
        ({"batch_size": 50, **HARD}, {"reinforce_weight": 5.0, "sampling_by": "batch"}),
        ({"batch_size": 50, "alpha_entropy_c": 0.01, **HARD}, {"entropy_weight": 0.5}),
        ({"semi_sampling_p": 0.25, **HARD}, {"sampling_probability": 0.25}),
        ({"semi_sampling_p": 0.0, "RL_sumCost": False, **HARD}, {"reward": "sum"}),
        # What was not known is this package's.
        (dict.fromkeys(["alpha_c", "decay_c", "optimizer", "lrate", "patience", "batch_size"]), {}),
        (dict.fromkeys(["alpha_c", "alpha_entropy_c", "RL_sumCost"]) | HARD, {"reward": "mean"}),
    ],
)
def test_the_training_is_theirs_and_no_contradiction(changes, expected):
    given = options(**changes)
    made = training_settings(given, locations=196)
    for name, value in expected.items():
        assert getattr(made, name) == pytest.approx(value), name
    assert (made.batch_by, made.clip_norm) == ("length", 0.0)
    Config(decoder=decoder_settings(given, null_location=False), training=made)


def test_lambda_weighs_what_their_alpha_c_weighed():
    """Theirs: over the minibatch the sum, over locations the mean; the cost is a mean."""
    random = np.random.default_rng(0)
    alphas = random.dirichlet(np.ones(5), size=(8, 3)).astype(np.float32)  # [B, T, L]
    theirs = 1.7 * np.square(1 - alphas.sum(axis=1)).sum(axis=0).mean()
    made = training_settings(options(alpha_c=1.7, batch_size=8), locations=5)
    penalty = tf.reduce_mean(doubly_stochastic_penalty(alphas, tf.ones([8, 3], tf.int32)))
    assert made.doubly_stochastic_weight * penalty.numpy() == pytest.approx(theirs, rel=1e-5)


def test_what_is_not_known_is_this_packages():
    known = dict.fromkeys(["alpha_c", "decay_c", "optimizer", "lrate", "patience", "batch_size"])
    made, default = training_settings(options(**known), locations=196), TrainingConfig()
    for name in ("doubly_stochastic_weight", "weight_decay", "optimizer", "learning_rate"):
        assert getattr(made, name) == getattr(default, name)
    assert (made.batch_size, made.patience) == (default.batch_size, default.patience)


@pytest.mark.parametrize(("maxlen", "words"), [(None, 0), (100, 99), (1, 1)])
def test_captions_were_shorter_than_maxlen(maxlen, words):
    assert longest_caption(options(maxlen=maxlen)) == words


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temperature": 0.0, **HARD}, "options of arctic-captions.*--attention_temperature=0.0"),
        ({"optimizer": "eval"}, "options of arctic-captions.*--optimizer='eval'"),
    ],
)
def test_an_option_without_counterpart_is_named(changes, named):
    with pytest.raises(UserError, match=named):
        decoder_settings(options(**changes), null_location=False)
        training_settings(options(**changes), locations=196)
