"""Searches on the caption model itself: what they return is what teacher forcing gives."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf import captioning
from sat_tf.captioning import _rules, make_reader, make_search, read_captions
from sat_tf.config import DecoderConfig, DecodingConfig
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.search.constraints import DecodingConstraints
from sat_tf.search.sampling import sample
from sat_tf.vocabulary import END, PAD, SPECIAL, UNK, Vocabulary

IMAGES, V = 3, 11
GRIDS = [(2, 3), (3, 3)]
SETTINGS = DecodingConfig(beam_size=4, max_length=6)
VARIANTS = {
    "greedy": dataclasses.replace(SETTINGS, beam_size=1),
    "beam": SETTINGS,
    "normalised": dataclasses.replace(SETTINGS, length_normalization="length"),
    "no repeats": dataclasses.replace(SETTINGS, no_repeat_ngram=2, min_length=3),
    "sample": dataclasses.replace(SETTINGS, search="sample", num_samples=4, temperature=2.0),
}


@pytest.fixture(scope="module")
def models():
    """Two of one vocabulary, with grids, sizes and options of their own, and large weights."""
    keras.utils.set_random_seed(3)
    made = []
    for grid, changes in zip(
        GRIDS, ({}, {"attention_query": "hidden_and_word", "position": "coordinates"}), strict=True
    ):
        pixels = keras.Input((*grid, 5))
        config = DecoderConfig(
            embedding_size=6, hidden_size=7, attention_size=4, **changes, dropout=0.5
        )
        model = CaptionModel(keras.Model(pixels, pixels), config, V)
        for weight in model.cell.weights:
            if "seed" not in weight.path:
                weight.assign(weight + tf.random.normal(weight.shape, stddev=0.7))
        made.append(model)
    return made


@pytest.fixture(scope="module")
def batches():
    random = np.random.default_rng(0)
    return [
        {"features": tf.constant(random.normal(size=(IMAGES, *grid, 5)), tf.float32)}
        for grid in GRIDS
    ]


def vocabulary():
    return Vocabulary((*SPECIAL, *(f"w{i}" for i in range(V - len(SPECIAL)))), (1,) * V)


@pytest.mark.parametrize("members", [1, 2], ids=["alone", "ensemble"])
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_looks_and_scores_equal_those_of_teacher_forcing(models, batches, config, members):
    models, batches = models[:members], batches[:members]
    decoded = make_search(models, config)(batches)
    beams, steps = decoded.tokens.shape[1:]
    assert beams == config.num_captions
    tokens = tf.reshape(decoded.tokens, [IMAGES * beams, steps])
    index = tf.repeat(tf.range(IMAGES), beams)
    read = make_reader(models, SETTINGS)(
        [{**b, "tokens": tokens, "image_index": index} for b in batches]
    )
    real = (tokens.numpy() != 0)[..., None]
    flat = decoded.log_probabilities.numpy().reshape(IMAGES * beams, steps)
    np.testing.assert_allclose(flat, read.log_probabilities, atol=1e-5)
    assert len(decoded.looks) == members
    moved = 0
    for (alphas, betas), (read_alphas, read_betas) in zip(decoded.looks, read.looks, strict=True):
        alphas = alphas.numpy().reshape(IMAGES * beams, steps, -1)
        np.testing.assert_allclose(alphas, read_alphas * real, atol=1e-5)
        betas = betas.numpy().reshape(IMAGES * beams, steps)
        np.testing.assert_allclose(betas, read_betas * real[..., 0], atol=1e-5)
        moved += np.ptp(alphas[:, 0], axis=0).max()
    assert moved > 0.01, "all alphas are alike: the test shows nothing"


def test_an_ensemble_averages_probabilities(models, batches):
    tokens = tf.constant([[5, 4, END]] * IMAGES)
    batches = [{**b, "tokens": tokens, "image_index": tf.range(IMAGES)} for b in batches]
    each = [
        np.exp(make_reader([model], SETTINGS)([batch]).log_probabilities)
        for model, batch in zip(models, batches, strict=True)
    ]
    together = np.exp(make_reader(models, SETTINGS)(batches).log_probabilities)
    np.testing.assert_allclose(together, (each[0] + each[1]) / 2, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.05


def test_two_equal_models_are_as_one(models, batches):
    alone = make_search(models[:1], SETTINGS)(batches[:1])
    twice = make_search(models[:1] * 2, SETTINGS)(batches[:1] * 2)
    np.testing.assert_array_equal(alone.tokens, twice.tokens)
    np.testing.assert_allclose(alone.scores, twice.scores, atol=1e-5)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_batch_equals_one_by_one(models, batches, config):
    search = make_search(models, config)
    together = search(batches)
    for i in range(IMAGES):
        alone = search([{"features": b["features"][i : i + 1]} for b in batches])
        steps = alone.tokens.shape[2]
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i, :, :steps])
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)


def test_eager_equals_compiled(models, batches):
    search = make_search(models, SETTINGS)
    compiled, eager = search(batches), search.python_function(batches)
    for one, other in zip(tf.nest.flatten(compiled), tf.nest.flatten(eager), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_unknown_words_come_only_where_they_may(models, batches):
    for model in models:
        bias = model.cell.deep_output.words.bias
        bias.assign(tf.tensor_scatter_nd_add(bias, [[UNK]], [20.0]))
    try:
        for may in (True, False):
            config = dataclasses.replace(SETTINGS, allow_unk=may)
            assert (UNK in make_search(models, config)(batches).tokens.numpy()) == may
    finally:
        for model in models:
            bias = model.cell.deep_output.words.bias
            bias.assign(tf.tensor_scatter_nd_sub(bias, [[UNK]], [20.0]))


def test_captions_are_read_best_first(models, batches):
    decoded = make_search(models, SETTINGS)(batches)
    words = vocabulary()
    captions = read_captions(decoded, words, GRIDS)
    assert [len(found) for found in captions] == [4] * IMAGES
    for i, found in enumerate(captions):
        # Those that have ended first, each by score.
        order = [(len(c.log_probabilities) == len(c.words), -c.score) for c in found]
        assert order == sorted(order)
        for k, caption in enumerate(found):
            assert caption.text == words.decode(decoded.tokens[i, k].numpy().tolist())
            assert caption.log_probability == pytest.approx(caption.score, abs=1e-4)
            for attention, grid in zip(caption.attention, GRIDS, strict=True):
                assert attention.alphas.shape == (len(caption.words), *grid)
                assert attention.betas.shape == (len(caption.words),)
            assert caption.alphas is caption.attention[0].alphas


def test_settings_reach_the_draws(models, batches, monkeypatch):
    asked = {}

    def note(*walk, **options):
        asked.update(options)
        return sample(*walk, **options)

    monkeypatch.setattr(captioning, "sample", note)
    config = DecodingConfig(
        search="sample", num_samples=2, temperature=0.5, top_k=4, top_p=0.9, sampling_seed=7
    )
    make_search(models, config)(batches)
    assert asked == {"draws": 2, "temperature": 0.5, "top_k": 4, "top_p": 0.9, "seed": 7}


def test_weights_that_are_no_numbers_are_told(models, batches):
    decoded = make_search(models, SETTINGS)(batches)
    nothing = decoded._replace(lengths=tf.zeros_like(decoded.lengths))
    with pytest.raises(UserError, match="damaged"):
        read_captions(nothing, vocabulary(), GRIDS)


def test_settings_reach_the_rules():
    config = DecodingConfig(
        max_length=9,
        min_length=2,
        no_repeat_ngram=3,
        length_normalization="gnmt",
        gnmt_exponent=0.9,
    )
    expected = DecodingConstraints(END, 9, 2, (PAD, UNK), 3, "gnmt", 0.9)
    assert _rules(config) == expected
    assert _rules(dataclasses.replace(config, allow_unk=True)).barred == (PAD,)
