"""The transcription of arctic-captions' sampler: what must hold of it whatever its weights."""

import arctic_models
import arctic_reference as reference
import numpy as np
import pytest

L, TOKENS = 5, [3, 8, 2, 0]
VARIANTS = pytest.mark.parametrize("variant", arctic_models.VARIANTS.values(), ids=str)


def read(options, weighting=reference.at_expectation, graph="sampler", tokens=TOKENS, **changed):
    weights = {**arctic_models.make_weights(options), **changed}
    return reference.predict(weights, options, features(options), tokens, weighting, graph)


def features(options):
    return np.random.default_rng(1).normal(size=(L, options["ctx_dim"]))


@VARIANTS
def test_it_gives_distributions_that_every_weight_changes(variant):
    options = arctic_models.make_options(**variant)
    out = read(options)
    assert out["probabilities"].shape == (len(TOKENS), options["n_words"])
    assert out["alphas"].shape == (len(TOKENS), L)
    np.testing.assert_allclose(out["probabilities"].sum(axis=1), 1)
    np.testing.assert_allclose(out["alphas"].sum(axis=1), 1)
    assert (out["betas"] < 1).all() == options["selector"]
    assert out["probabilities"].max() < 0.9
    for name, value in arctic_models.make_weights(options).items():
        # What is added to all scores has no effect.
        changed = read(options, **{name: value * 1.5 + 0.1})["probabilities"]
        distance = abs(changed - out["probabilities"]).max()
        assert (distance > 1e-4) != name.endswith("c_tt"), name


@VARIANTS
def test_it_depends_on_the_features_and_the_previous_words(variant):
    options = arctic_models.make_options(**variant)
    weights, a = arctic_models.make_weights(options), features(options)
    out = reference.predict(weights, options, a, TOKENS)
    other = reference.predict(weights, options, a + 0.3, TOKENS)
    assert abs(other["probabilities"] - out["probabilities"]).max() > 1e-5
    later = reference.predict(weights, options, a, [7, *TOKENS[1:]])
    np.testing.assert_array_equal(later["probabilities"][0], out["probabilities"][0])
    assert abs(later["probabilities"][1:] - out["probabilities"][1:]).max() > 1e-5


def test_the_order_of_locations_matters_to_the_lstm_encoder_alone():
    for variant, same in ((arctic_models.PUBLISHED, True), (arctic_models.ENCODER, False)):
        options = arctic_models.make_options(**variant)
        weights, a = arctic_models.make_weights(options), features(options)
        out = reference.predict(weights, options, a, TOKENS)
        turned = reference.predict(weights, options, a[::-1], TOKENS)
        assert np.allclose(out["probabilities"], turned["probabilities"]) == same


def test_the_graphs_differ_in_the_lstm_encoder_alone():
    for variant, same in ((arctic_models.DEEP, True), (arctic_models.ENCODER, False)):
        options = arctic_models.make_options(**variant)
        training = read(options, graph="training")["probabilities"]
        assert np.allclose(read(options)["probabilities"], training) == same


def test_hard_attention_takes_the_given_locations():
    options = arctic_models.make_options(attn_type="stochastic", temperature=1.7)
    soft, first = read(options), read(options, reference.at_locations([[0]] * 4))
    assert abs(first["probabilities"] - soft["probabilities"]).max() > 1e-3
    expected = read(options, reference.at_locations([[None]] * 4))
    np.testing.assert_array_equal(expected["probabilities"], soft["probabilities"])
    best = read(options, reference.at_argmax)
    given = reference.at_locations([[alpha.argmax()] for alpha in best["alphas"]])
    np.testing.assert_array_equal(read(options, given)["probabilities"], best["probabilities"])
    never = read(options, reference.at_samples(np.random.default_rng(0), semi_sampling_p=0.0))
    np.testing.assert_array_equal(never["probabilities"], soft["probabilities"])


def test_soft_attention_ignores_weighting_and_temperature():
    plain = read(arctic_models.make_options())["probabilities"]
    warm = read(arctic_models.make_options(temperature=3.0), reference.at_argmax)["probabilities"]
    np.testing.assert_array_equal(plain, warm)


def test_samples_follow_alpha():
    weighting = reference.at_samples(np.random.default_rng(0), semi_sampling_p=1.0)
    alpha = np.array([0.1, 0.6, 0.3])
    mean = np.mean([weighting(alpha, 0, 0) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, alpha, atol=0.03)


def test_halved_states_are_halved_weights():
    """How dropout that is not inverted folds into the weights that read what it halves."""
    options = arctic_models.make_options(**arctic_models.DEEP)
    folded = arctic_models.make_weights(options)
    gates = 3 * options["dim"]  # i, f, o; the candidate g is whole
    for name, value in folded.items():
        reads_halves = name.startswith(("ff_logit_lstm_W", "ff_logit_h", "ff_logit_W"))
        reads_halves |= name.startswith(("ff_init_2", "ff_state", "ff_memory"))
        if reads_halves and name.endswith("_W"):
            folded[name] = value / 2
        if name.startswith("decoder") and name.endswith(("_W", "_U", "_Wc", "_b")):
            half = value.copy()
            half[..., :gates] /= 2
            folded[name] = half
    off = {**options, "use_dropout": False, "use_dropout_lstm": False}
    expected = read(options)
    out = reference.predict(folded, off, features(options), TOKENS)
    np.testing.assert_allclose(out["probabilities"], expected["probabilities"], rtol=1e-6)
    whole = reference.predict(arctic_models.make_weights(options), off, features(options), TOKENS)
    assert abs(whole["probabilities"] - expected["probabilities"]).max() > 1e-3
