"""Options of arctic-captions as config: what they mean here, in this package's normalisation."""

import dataclasses

import arctic_models
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import Config, TrainingConfig
from sat_tf.errors import UserError
from sat_tf.importers.arctic_options import ArcticOptions
from sat_tf.importers.arctic_settings import decoder_settings, longest_caption, training_settings
from sat_tf.model.losses import doubly_stochastic_penalty

HARD = {"attn_type": "stochastic"}


def options(**changes):
    told = arctic_models.make_options(**changes)
    told["rl_sum_cost"] = told.pop("RL_sumCost")
    return ArcticOptions(**{name: told[name] for name in ArcticOptions.__dataclass_fields__})


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
        # What was not told is this package's.
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


def test_what_is_not_told_is_this_packages():
    told = dict.fromkeys(["alpha_c", "decay_c", "optimizer", "lrate", "patience", "batch_size"])
    made, default = training_settings(options(**told), locations=196), TrainingConfig()
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
        ({"optimizer": "eval"}, "options of arctic-captions.*--optimizer=eval"),
    ],
)
def test_what_has_no_place_here_is_named(changes, named):
    with pytest.raises(UserError, match=named):
        decoder_settings(options(**changes), null_location=False)
        training_settings(options(**changes), locations=196)
