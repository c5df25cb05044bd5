"""Self-critical training: drawn captions against greedy ones, and that their score rises."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.captioning import make_search, read_captions
from sat_tf.config import DecoderConfig, from_flat
from sat_tf.data.pipeline import TokenizedCaptions
from sat_tf.data.records import Record
from sat_tf.model.caption_model import CaptionModel
from sat_tf.training import self_critical
from sat_tf.training.objective import surrogate_loss
from sat_tf.training.self_critical import make_self_critical, one_per_image
from sat_tf.vocabulary import END, PAD, UNK, Vocabulary

VOCABULARY = Vocabulary.build([["star", "red", "dog", "cat"]])
RECORDS = [Record("one", "", ("a red star", "a star")), Record("two", "", ("a dog and a cat",))]
SETTINGS = from_flat(
    {
        "dataset": "shapes",
        "max_length": 3,
        "self_critical": "bleu_4",
        "self_critical_samples": 1,
        "start_from": "RUN",
        "doubly_stochastic_weight": 0.0,
        "dropout": 0.5,
    }
)
AT_ANY_TEMPERATURE = pytest.mark.parametrize("temperature", [1.0, 0.5])
CONTROLS = {"baseline": tf.constant(0.0), "sampled_inputs": tf.constant(0.0)}


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    grid = keras.Input((1, 2, 3))
    sizes = DecoderConfig(embedding_size=4, hidden_size=5, attention_size=3)
    made = CaptionModel(keras.Model(grid, grid), sizes, len(VOCABULARY))
    # Words that differ in probability: where all are alike, no temperature changes anything.
    made.cell.deep_output.words.bias.assign(np.linspace(-1.0, 1.0, len(VOCABULARY)))
    return made


def batch(count=2):
    grids = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype(np.float32)
    return {
        "features": tf.constant(grids[np.arange(count) % 2]),
        "rows": tf.constant(np.arange(count) % 2),
    }


def with_training(**changes):
    training = dataclasses.replace(SETTINGS.training, **changes)
    return dataclasses.replace(SETTINGS, training=training)


def reward_by(score):
    """In place of `make_reward`: the captions' words decide, and what was asked is noted."""
    asked = []

    def make_reward(name, references):
        asked.append((name, references))

        def reward(rows, captions):
            asked.append((rows.tolist(), list(captions)))
            return np.array([score(caption.split()) for caption in captions], np.float32)

        return reward

    return make_reward, asked


@AT_ANY_TEMPERATURE
def test_the_difference_weighs_the_drawn_captions_log_probability(model, monkeypatch, temperature):
    make_reward, asked = reward_by(lambda words: len(words) + 10 * words.count("star"))
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    star, dog = VOCABULARY.encode(["star", "dog"])[:2]
    drawn = np.array([[star, dog, END], [dog, END, PAD]], np.int32)
    found = np.array([[dog, END], [dog, END]], np.int32)
    kinds = {"sample_captions": drawn, "search_captions": found}
    for name, tokens in kinds.items():

        def given(*_, tokens=tokens):
            class Decoded:
                pass

            Decoded.tokens = tf.constant(tokens[:, np.newaxis])
            return Decoded

        monkeypatch.setattr(self_critical, name, given)
    config = with_training(self_critical_temperature=temperature)
    sums = make_self_critical(model, VOCABULARY, RECORDS, config)(batch(), CONTROLS)
    assert asked[0] == ("bleu_4", [["a red star", "a star"], ["a dog and a cat"]])
    assert asked[1:] == [([0, 1], ["star dog", "dog"]), ([0, 1], ["dog", "dog"])]
    assert float(sums["score"]) == 12 + 1
    assert float(sums["greedy_score"]) == 1 + 1
    assert float(sums["words"]) == 5
    # What may not be said has no share of the probability, and nothing is dropped out.
    annotations = batch()["features"]
    logits = model(annotations, tf.constant(drawn), tf.range(2)).logits.numpy()[0].astype(float)
    logits[:, [PAD, UNK]] = -np.inf
    p = np.exp(logits / temperature)
    p /= p.sum(axis=1, keepdims=True)
    expected = (12 - 1) * sum(np.log(p[t, word]) for t, word in enumerate(drawn[0]))
    assert float(sums["reinforce"]) == pytest.approx(expected, rel=1e-4)


@AT_ANY_TEMPERATURE
def test_captions_are_drawn_from_the_model(model, temperature):
    """Their shares are its probabilities; draws of a batch are not each other's."""
    annotations = tf.repeat(batch()["features"][:1], 4_000, axis=0)
    free = dataclasses.replace(
        SETTINGS.decoding, search="sample", min_length=0, temperature=temperature
    )
    drawn = self_critical.sample_captions(model, annotations, free, tf.constant([1, 2]))
    memory = model.cell.prepare(model.locations(annotations[:1]))
    logits, _, _ = model.cell.next_word(tf.constant([-1]), model.cell.initial_state(memory), memory)
    p = np.exp(logits[0].numpy().astype(float) / temperature)
    p[[PAD, UNK]] = 0.0
    shares = np.bincount(drawn.tokens[:, 0, 0].numpy(), minlength=len(p)) / 4_000
    np.testing.assert_allclose(shares, p / p.sum(), atol=0.04)


@AT_ANY_TEMPERATURE
def test_what_is_drawn_is_what_is_learned(model, monkeypatch, temperature):
    """The mean of d log p(y) over draws of y is zero: else a reward of 1 for all would teach."""
    make_reward, _ = reward_by(lambda words: 1.0)
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    # The greedy caption gains nothing, so that every draw gains 1.
    scores = iter([1.0, 0.0] * 100)
    monkeypatch.setattr(self_critical, "_scores", lambda *_: tf.fill([4_000], next(scores)))
    config = with_training(self_critical_temperature=temperature)
    objective = make_self_critical(model, VOCABULARY, RECORDS, config)
    bias = model.cell.deep_output.words.bias
    with tf.GradientTape() as tape:
        gained = objective(batch(4_000), CONTROLS)["reinforce"] / 4_000
    np.testing.assert_allclose(tape.gradient(gained, bias.value), 0.0, atol=0.06)


def test_the_score_rises(model, monkeypatch):
    """Of the captions that greedy search finds, in a model that knew nothing."""
    make_reward, _ = reward_by(lambda words: words.count("cat") - words.count("dog"))
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    objective = make_self_critical(model, VOCABULARY, RECORDS, SETTINGS)
    optimizer = keras.optimizers.Adam(0.03)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            sums = objective(batch(16), CONTROLS)
            loss = surrogate_loss(sums, SETTINGS.training) / 16
        variables = model.cell.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return sums["score"] / 16, sums["greedy_score"] / 16

    first = [float(value) for value in step()]
    for _ in range(60):
        last = [float(value) for value in step()]
    assert first[0] < 1.0
    assert min(last) > 2.5
    found = read_captions(make_search([model], SETTINGS.decoding)([batch()]), VOCABULARY, [(1, 2)])
    assert {captions[0].text for captions in found} == {"cat cat cat"}


def test_several_draws_of_an_image_are_averaged(model, monkeypatch):
    make_reward, asked = reward_by(len)
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    config = with_training(self_critical_samples=3)
    sums = make_self_critical(model, VOCABULARY, RECORDS, config)(batch(), CONTROLS)
    (rows, drawn), (own, greedy) = asked[1:]
    assert (rows, own) == ([0, 0, 0, 1, 1, 1], [0, 1])
    assert len(set(drawn)) > 1
    words = [len(caption.split()) for caption in drawn]
    assert float(sums["score"]) == pytest.approx(sum(words) / 3)
    assert float(sums["greedy_score"]) == sum(len(caption.split()) for caption in greedy)
    assert float(sums["captions"]) == 2


def test_each_image_comes_once():
    captions = TokenizedCaptions(
        [np.array([3, END]), np.array([4, END]), np.array([5, END])], np.array([0, 0, 1])
    )
    once = one_per_image(captions)
    assert once.image.tolist() == [0, 1]
    assert [ids.tolist() for ids in once.tokens] == [[3, END], [5, END]]
