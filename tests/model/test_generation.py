"""Searches on the caption model: what they return equals teacher forcing."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderConfig, DecodingConfig
from sat_tf.errors import UserError
from sat_tf.model import generation
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.generation import (
    Generator,
    decoding_constraints,
    generate,
    make_captions,
    score,
)
from sat_tf.search.hypotheses import DecodingConstraints
from sat_tf.search.sampling import sample
from sat_tf.vocabulary import END, PAD, SPECIAL, UNK, Vocabulary

IMAGES, V = 3, 11
GRIDS = [(2, 3), (3, 3)]
BEAM = DecodingConfig(beam_size=4, max_length=6)
VARIANTS = {
    "greedy": dataclasses.replace(BEAM, beam_size=1),
    "beam": BEAM,
    "normalised": dataclasses.replace(BEAM, length_normalization="length"),
    "no repeats": dataclasses.replace(BEAM, no_repeat_ngram=2, min_length=3),
    "sample": dataclasses.replace(BEAM, search="sample", num_samples=4, temperature=2.0),
}
EVERY_VARIANT = pytest.mark.parametrize("decoding", VARIANTS.values(), ids=VARIANTS.keys())


@pytest.fixture(scope="module")
def models():
    """Two of one vocabulary, with different grids, sizes and options, and large weights."""
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
        for weight in model.decoder.weights:
            if "seed" not in weight.path:
                weight.assign(weight + tf.random.normal(weight.shape, stddev=0.7))
        made.append(model)
    return made


@pytest.fixture(scope="module")
def generators(models):
    """By number of models; shared, so that each search is traced once."""
    return {count: Generator(models[:count]) for count in (1, 2)}


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
@EVERY_VARIANT
def test_attention_and_scores_equal_teacher_forcing(generators, batches, decoding, members):
    generator, batches = generators[members], batches[:members]
    decoded = generator.generate(batches, decoding)
    beams, steps = decoded.tokens.shape[1:]
    assert beams == decoding.num_captions
    tokens = tf.reshape(decoded.tokens, [IMAGES * beams, steps])
    index = tf.repeat(tf.range(IMAGES), beams)
    scores = generator.score([{**b, "tokens": tokens, "image_index": index} for b in batches], BEAM)
    mask = (tokens.numpy() != 0)[..., None]
    flat = decoded.log_probs.numpy().reshape(IMAGES * beams, steps)
    np.testing.assert_allclose(flat, scores.log_probs, atol=1e-5)
    assert len(decoded.step_outputs) == members
    moved = 0
    for found, expected in zip(decoded.step_outputs, scores.attention, strict=True):
        alphas, betas = (value.numpy() for value in found)
        alphas = alphas.reshape(IMAGES * beams, steps, -1)
        np.testing.assert_allclose(alphas, expected[0] * mask, atol=1e-5)
        betas = betas.reshape(IMAGES * beams, steps)
        np.testing.assert_allclose(betas, expected[1] * mask[..., 0], atol=1e-5)
        moved += np.ptp(alphas[:, 0], axis=0).max()
    assert moved > 0.01, "all alphas are equal: the test shows nothing"


def test_an_ensemble_averages_probabilities(models, batches):
    tokens = tf.constant([[5, 4, END]] * IMAGES)
    batches = [{**b, "tokens": tokens, "image_index": tf.range(IMAGES)} for b in batches]
    each = [
        np.exp(score([model], [batch], BEAM).log_probs)
        for model, batch in zip(models, batches, strict=True)
    ]
    together = np.exp(score(models, batches, BEAM).log_probs)
    np.testing.assert_allclose(together, (each[0] + each[1]) / 2, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.05


def test_two_equal_models_are_as_one(models, generators, batches):
    alone = generators[1].generate(batches[:1], BEAM)
    twice = generate(models[:1] * 2, batches[:1] * 2, BEAM)
    np.testing.assert_array_equal(alone.tokens, twice.tokens)
    np.testing.assert_allclose(alone.scores, twice.scores, atol=1e-5)


@EVERY_VARIANT
def test_a_batch_equals_single_images(generators, batches, decoding):
    together = generators[2].generate(batches, decoding)
    for i in range(IMAGES):
        one = [{"features": b["features"][i : i + 1]} for b in batches]
        alone = generators[2].generate(one, decoding)
        steps = alone.tokens.shape[2]
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i, :, :steps])
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)


def test_eager_equals_compiled(models, generators, batches):
    compiled = generators[2].generate(batches, BEAM)
    eager = generate(models, batches, BEAM)
    for one, other in zip(tf.nest.flatten(compiled), tf.nest.flatten(eager), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_unknown_words_are_generated_only_if_allowed(models, batches):
    bias = models[0].decoder.deep_output.output_projection.bias
    kept = bias.numpy()
    bias.assign(tf.tensor_scatter_nd_add(bias, [[UNK]], [20.0]))
    try:
        for allow_unk in (True, False):
            decoding = dataclasses.replace(BEAM, allow_unk=allow_unk)
            tokens = generate(models[:1], batches[:1], decoding).tokens.numpy()
            assert (UNK in tokens) == allow_unk
    finally:
        bias.assign(kept)


def test_captions_are_read_best_first(generators, batches):
    decoded = generators[2].generate(batches, BEAM)
    words = vocabulary()
    captions = make_captions(decoded, words, GRIDS)
    assert [len(found) for found in captions] == [4] * IMAGES
    for i, found in enumerate(captions):
        # Finished ones first, each by score.
        order = [(len(c.log_probs) == len(c.words), -c.score) for c in found]
        assert order == sorted(order)
        for k, caption in enumerate(found):
            assert caption.text == words.decode(decoded.tokens[i, k].numpy().tolist())
            assert caption.log_prob == pytest.approx(caption.score, abs=1e-4)
            for attention, grid in zip(caption.attention, GRIDS, strict=True):
                assert attention.alphas.shape == (len(caption.words), *grid)
                assert attention.betas.shape == (len(caption.words),)
            assert caption.alphas is caption.attention[0].alphas


def test_the_configuration_reaches_the_samples(models, batches, monkeypatch):
    asked = {}

    def note(*arguments, **options):
        asked.update(options)
        return sample(*arguments, **options)

    monkeypatch.setattr(generation, "sample", note)
    decoding = DecodingConfig(
        search="sample", num_samples=2, temperature=0.5, top_k=4, top_p=0.9, sampling_seed=7
    )
    generate(models[:1], batches[:1], decoding)
    assert asked == {"num_samples": 2, "temperature": 0.5, "top_k": 4, "top_p": 0.9, "seed": 7}


def test_weights_that_are_not_numbers_are_reported(generators, batches):
    decoded = generators[2].generate(batches, BEAM)
    nothing = decoded._replace(lengths=tf.zeros_like(decoded.lengths))
    with pytest.raises(UserError, match="damaged"):
        make_captions(nothing, vocabulary(), GRIDS)


def test_the_configuration_reaches_the_constraints():
    decoding = DecodingConfig(
        max_length=9,
        min_length=2,
        no_repeat_ngram=3,
        length_normalization="gnmt",
        gnmt_exponent=0.9,
    )
    expected = DecodingConstraints(END, 9, 2, (PAD, UNK), 3, "gnmt", 0.9)
    assert decoding_constraints(decoding) == expected
    allowed = dataclasses.replace(decoding, allow_unk=True)
    assert decoding_constraints(allowed).suppressed_ids == (PAD,)
