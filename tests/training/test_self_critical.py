"""Self-critical training: sampled captions against greedy ones, and that their score rises."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import DecoderConfig, from_flat
from sat_tf.data.pipeline import TokenizedCaptions
from sat_tf.data.records import Record
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START, AttentionDecoder
from sat_tf.model.generation import make_captions
from sat_tf.search.hypotheses import Decoded
from sat_tf.training import self_critical
from sat_tf.training.self_critical import SelfCriticalLoss, one_per_image
from sat_tf.training.train import make_train_step
from sat_tf.vocabulary import END, PAD, UNK, Vocabulary

VOCABULARY = Vocabulary.build([["star", "red", "dog", "cat"]])
RECORDS = [Record("one", "", ("a red star", "a star")), Record("two", "", ("a dog and a cat",))]
CONFIG = from_flat(
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


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    grid = keras.Input((1, 2, 3))
    sizes = DecoderConfig(embedding_size=4, hidden_size=5, attention_size=3)
    made = CaptionModel(keras.Model(grid, grid), sizes, len(VOCABULARY))
    # Words that differ in probability: where all are equal, no temperature changes anything.
    made.decoder.deep_output.output_projection.bias.assign(np.linspace(-1.0, 1.0, len(VOCABULARY)))
    return made


def batch(count=2):
    grids = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype(np.float32)
    return {
        "features": tf.constant(grids[np.arange(count) % 2]),
        "rows": tf.constant(np.arange(count) % 2),
    }


def with_training(**changes):
    training = dataclasses.replace(CONFIG.training, **changes)
    return dataclasses.replace(CONFIG, training=training)


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
def test_the_advantage_multiplies_the_log_probability_of_the_sample(
    model, monkeypatch, temperature
):
    make_reward, asked = reward_by(lambda words: len(words) + 10 * words.count("star"))
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    star, dog = VOCABULARY.encode(["star", "dog"])[:2]
    greedy = np.array([[dog, END, PAD], [dog, END, PAD]], np.int32)
    sampled = np.array([[star, dog, END], [dog, END, PAD]], np.int32)
    tokens = tf.constant(np.stack([greedy, sampled], axis=1))

    def decoded(_, decoder, state, memory, uniform):
        # The steps of these tokens, by teacher forcing without the written gradient.
        state, memory = tf.nest.map_structure(lambda x: tf.repeat(x, 2, axis=0), (state, memory))
        steps = []
        for t in range(3):
            previous = tf.reshape(tokens[:, :, t - 1], [-1]) if t else tf.fill([4], START)
            inputs = decoder.project_inputs(decoder.embed(previous))
            steps.append(decoder.step(inputs, state, memory))
            state = steps[-1].states
        return Decoded(
            tokens,
            None,
            None,
            None,
            tf.nest.map_structure(
                lambda *x: tf.reshape(tf.stack(x, axis=1), [2, 2, 3, *x[0].shape[1:]]), *steps
            ),
        )

    monkeypatch.setattr(SelfCriticalLoss, "_decode", decoded)
    config = with_training(self_critical_temperature=temperature)
    sums = SelfCriticalLoss(VOCABULARY, RECORDS, config)(model, batch())
    assert asked[0] == ("bleu_4", [["a red star", "a star"], ["a dog and a cat"]])
    assert asked[1:] == [([0, 0, 1, 1], ["dog", "star dog", "dog", "dog"])]
    assert float(sums["score"]) == 12 + 1
    assert float(sums["greedy_score"]) == 1 + 1
    assert float(sums["words"]) == 5
    # Suppressed tokens have no probability, and dropout is off.
    inputs = {**batch(), "tokens": tf.constant(sampled)}
    logits = model(inputs).logits.numpy()[0].astype(float)
    logits[:, [PAD, UNK]] = -np.inf
    p = np.exp(logits / temperature)
    p /= p.sum(axis=1, keepdims=True)
    expected = (12 - 1) * sum(np.log(p[t, word]) for t, word in enumerate(sampled[0]))
    assert float(sums["reinforce"]) == pytest.approx(expected, rel=1e-4)


@AT_ANY_TEMPERATURE
def test_captions_are_sampled_from_the_model(model, temperature):
    """Their shares are its probabilities; samples of a batch are independent."""
    bias = model.decoder.deep_output.output_projection.bias
    bias.assign(tf.tensor_scatter_nd_add(bias, [[END]], [2.0]))  # a caption could end at once
    greedy = dataclasses.replace(CONFIG.decoding, min_length=3)
    config = with_training(self_critical_temperature=temperature, self_critical_samples=4_000)
    loss = SelfCriticalLoss(VOCABULARY, RECORDS, dataclasses.replace(config, decoding=greedy))
    decoder = model.decoder
    memory = decoder.prepare(model.flatten_grid(batch()["features"][:1]))
    state = decoder.initial_state(memory)
    uniform = tf.random.stateless_uniform([3, 1, 4_000], [1, 2])
    sampled = loss._decode(decoder, state, memory, uniform)
    logits, _ = model.decoder.next_token(tf.constant([-1]), state, memory)
    p = np.exp(logits[0].numpy().astype(float) / temperature)
    p[[PAD, UNK]] = 0.0
    shares = np.bincount(sampled.tokens[0, 1:, 0].numpy(), minlength=len(p)) / 4_000
    np.testing.assert_allclose(shares, p / p.sum(), atol=0.04)
    # The first caption is that of greedy search, under its own constraints.
    found = model.generate({"features": batch()["features"][:1]}, greedy).tokens
    np.testing.assert_array_equal(sampled.tokens[:, 0], found[:, 0])
    assert END not in sampled.tokens[:, 0].numpy()


@AT_ANY_TEMPERATURE
def test_the_gradient_is_of_the_distribution_that_is_sampled(model, monkeypatch, temperature):
    """The mean of d log q(y) over samples y of q is zero, so a constant reward has no effect."""
    make_reward, _ = reward_by(lambda words: 1.0)
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    # The greedy caption scores 0, so that every sample has an advantage of 1.
    monkeypatch.setattr(SelfCriticalLoss, "_score", lambda *_: tf.tile([[0.0, 1.0]], [4_000, 1]))
    config = with_training(self_critical_temperature=temperature)
    loss = SelfCriticalLoss(VOCABULARY, RECORDS, config)
    bias = model.decoder.deep_output.output_projection.bias
    with tf.GradientTape() as tape:
        mean = loss(model, batch(4_000))["reinforce"] / 4_000
    np.testing.assert_allclose(tape.gradient(mean, bias.value), 0.0, atol=0.06)


def test_the_score_rises(model, monkeypatch):
    """Of the captions that greedy search finds, in an untrained model."""
    make_reward, _ = reward_by(lambda words: words.count("cat") - words.count("dog"))
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    loss = SelfCriticalLoss(VOCABULARY, RECORDS, CONFIG)
    model.compile(keras.optimizers.Adam(0.03), loss, clip_norm=0.0)

    whole = {**batch(16), "captions": tf.constant(16.0)}
    spec = {
        "features": tf.TensorSpec([None, 1, 2, 3]),
        "rows": tf.TensorSpec([None], whole["rows"].dtype),
        "captions": tf.TensorSpec([]),
    }
    train_step = make_train_step(model, tf.distribute.get_strategy(), spec)

    def step():
        sums = train_step(whole)
        return [float(sums[name]) / 16 for name in ("score", "greedy_score")]

    first = step()
    for _ in range(60):
        last = step()
    assert first[0] < 1.0
    assert min(last) > 2.5
    found = make_captions(model.generate(batch(), CONFIG.decoding), VOCABULARY, [(1, 2)])
    assert {captions[0].text for captions in found} == {"cat cat cat"}


def test_several_samples_of_an_image_are_averaged(model, monkeypatch):
    make_reward, asked = reward_by(len)
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    config = with_training(self_critical_samples=3)
    sums = SelfCriticalLoss(VOCABULARY, RECORDS, config)(model, batch())
    ((rows, captions),) = asked[1:]
    assert rows == [0, 0, 0, 0, 1, 1, 1, 1]
    greedy, sampled = captions[::4], captions[1:4] + captions[5:]
    assert len(set(sampled)) > 1
    words = [len(caption.split()) for caption in sampled]
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


@pytest.mark.parametrize("lstm_layers", [1, 2])
def test_the_steps_of_the_samples_are_those_of_teacher_forcing(lstm_layers, monkeypatch):
    """The gradient through the steps that the search took equals that of taking them again."""
    make_reward, _ = reward_by(lambda words: len(words) + words.count("star"))
    monkeypatch.setattr(self_critical, "make_reward", make_reward)
    config = with_training(self_critical_samples=3, doubly_stochastic_weight=0.5)
    found = []
    for has_written in (lstm_layers == 1, False):
        monkeypatch.setattr(AttentionDecoder, "has_written_gradient", has_written)
        keras.utils.set_random_seed(0)
        grid = keras.Input((1, 2, 3))
        sizes = DecoderConfig(
            embedding_size=4, hidden_size=5, attention_size=3, lstm_layers=lstm_layers
        )
        model = CaptionModel(keras.Model(grid, grid), sizes, len(VOCABULARY))
        loss = SelfCriticalLoss(VOCABULARY, RECORDS, config)
        with tf.GradientTape() as tape:
            sums = loss(model, batch())
            value = loss.surrogate(sums)
        variables = [variable.value for variable in model.trainable_variables]
        found.append([sums["words"], *tape.gradient(value, variables)])
    for taken, again in zip(*found, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(taken), tf.convert_to_tensor(again), atol=1e-5
        )
