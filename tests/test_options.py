"""Every pair of options, through a tiny model: it works, or it is rejected naming both."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import from_flat, settings
from sat_tf.config.setting import Not
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model import generation
from sat_tf.model.generation import make_captions
from sat_tf.model.losses import CaptionLoss
from sat_tf.model.networks import precision
from sat_tf.training import initialize
from sat_tf.training.self_critical import SelfCriticalLoss
from sat_tf.vocabulary import END, PAD, Vocabulary

# The first value of each option is its default.
OPTIONS = {
    "attention": ["soft", "hard"],
    "attention_temperature": [1.0, 2.0],
    "attention_layers": [1, 2],
    "lstm_layers": [1, 2],
    "initial_layers": [1, 2],
    "output_layers": [1, 2],
    "output_activation": ["tanh", "relu", "linear"],
    "output_uses_embedding": [True, False],
    "output_uses_context": [True, False],
    "output_bias": ["frequencies", "zero"],
    "gate": ["scalar", "none", "channel"],
    "attention_query": ["hidden", "hidden_and_word"],
    "lstm_encoder": [False, True],
    "null_location": [False, True],
    "position": ["none", "coordinates"],
    "dropout": [0.5, 0.0],
    "lstm_dropout": [0.0, 0.3],
    "initializer": ["keras", "authors", "port"],
    "pretrained_embeddings": ["", "FILE"],
    "freeze_embeddings": [False, True],
    "sampling_probability": [0.5, 1.0, 0.0],
    "sampling_by": ["caption", "batch"],
    "reward": ["sum", "mean", "step"],
    "reinforce_weight": [0.1, 1.0],
    "entropy_weight": [0.1, 0.0],
    "baseline_decay": [0.9, 1.0],
    "attention_inference": ["expectation", "argmax", "sample"],
    "label_smoothing": [0.0, 0.1],
    "scheduled_sampling": [0.0, 0.5],
    "weight_decay": [0.0, 0.01],
    "attention_supervision": [0.0, 0.3],
    "self_critical": ["none", "cider", "bleu_4"],
    "self_critical_samples": [5, 2],
    "self_critical_temperature": [1.0, 0.5],
    "precision": ["float32", "bfloat16", "float16"],
    "search": ["beam", "sample"],
    "beam_size": [3, 1],
    "num_samples": [1, 2],
}
# What an option needs beside the settings that it is `only_for`.
NEEDS = {
    "self_critical": {"start_from": "RUN"},
    "freeze_embeddings": {"pretrained_embeddings": "FILE"},
}
BASE = {
    "dataset": "shapes",
    "resize": "stretch",
    "embedding_size": 3,
    "hidden_size": 5,
    "attention_size": 4,
    "max_length": 4,
}
WORDS = ["a", "red", "star", "circle", "left"]
GRID = (2, 3, 6)


def needed(name):
    """What an option needs beside it, unless the other one of a pair is a part of that."""
    values = dict(NEEDS.get(name, {}))
    for other, wanted in settings()[name].only_for.items():
        if not isinstance(wanted, Not):
            values[other] = wanted
        elif OPTIONS[other][0] in wanted.values:
            values |= {other: OPTIONS[other][1], **NEEDS.get(other, {})}
    return values


NEEDED = {name: needed(name) for name in OPTIONS}


@functools.cache
def try_pair(*pair):
    return try_config(dict(pair))


def try_config(chosen):
    """Config of some options with what these need; None and the reason if they are rejected."""
    values = dict(BASE)
    for name, value in chosen.items():
        if value != OPTIONS[name][0]:
            values |= NEEDED[name]
    try:
        return from_flat(values | chosen), ""
    except UserError as error:
        return None, str(error)


def pairs():
    for (one, values), (other, others) in itertools.combinations(OPTIONS.items(), 2):
        for value, second in itertools.product(values, others):
            yield (one, value), (other, second)


def test_first_values_are_the_defaults_and_all_values_are_valid():
    for name, values in OPTIONS.items():
        assert values[0] == settings()[name].default
        for value in values:
            config, reason = try_config({name: value})
            assert config is not None, reason


def test_a_rejected_pair_is_named_by_both():
    rejected = 0
    for pair in pairs():
        config, reason = try_pair(*pair)
        if config is None:
            rejected += 1
            for name, _ in pair:
                # Or by what the option is for: --reward by --attention=hard.
                named = (name, *NEEDED[name])
                assert any(f"--{each}" in reason for each in named), (pair, reason)
    assert rejected > 20


@pytest.mark.parametrize(
    "pair",
    [
        {"attention": "soft", "reward": "mean"},
        {"attention": "hard", "self_critical": "cider"},
        {"self_critical": "bleu_4", "scheduled_sampling": 0.5},
        {"self_critical": "cider", "label_smoothing": 0.1},
        {"self_critical": "none", "self_critical_temperature": 0.5},
        {"reward": "step", "baseline_decay": 1.0},
        {"pretrained_embeddings": "", "freeze_embeddings": True},
    ],
)
def test_a_conflicting_pair_is_rejected(pair):
    assert try_config(pair)[0] is None


def covering():
    """Choose few rows of all options that hold every pair that is not rejected, greedily.

    The field's generators of pairs (allpairspy) leave pairs out where options exclude each other.
    """
    wanted = {frozenset(pair) for pair in pairs() if try_pair(*pair)[0] is not None}
    random = np.random.default_rng(103)  # a seed with few rows
    choices = []
    while wanted:
        chosen = dict(sorted(max(wanted, key=sorted_names)))
        for name in random.permutation([name for name in OPTIONS if name not in chosen]):
            ranked = sorted(
                OPTIONS[name],
                key=lambda value, name=name: (
                    -sum(frozenset({(name, value), other}) in wanted for other in chosen.items())
                ),
            )
            chosen[name] = next(
                each for each in ranked if try_config({**chosen, str(name): each})[0]
            )
        held = {frozenset(pair) for pair in itertools.combinations(chosen.items(), 2)}
        assert held & wanted, chosen
        wanted -= held
        choices.append(chosen)
    return choices


def sorted_names(pair):
    return sorted(map(repr, pair))


ROWS = 27  # known before `covering` has run, which takes seconds in each of pytest's processes
TRACED_ROWS = 8


@pytest.fixture(scope="module")
def choices():
    found = covering()
    assert len(found) == ROWS, f"set ROWS to {len(found)}"
    return found


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.build([WORDS])


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    path.write_text("red 0.1 0.2 0.3\nstar 1 2 3\nother 7 8 9\n")
    return str(path)


def make_batch(vocabulary, config):
    random = np.random.default_rng(1)
    captions = [vocabulary.encode(words) for words in (["a", "red", "star"], ["a", "circle"])]
    tokens = np.full((2, 4), PAD, np.int32)
    for row, ids in enumerate(captions):
        tokens[row, : len(ids)] = ids
    batch = {
        "features": tf.constant(random.normal(size=(2, *GRID)), tf.float16),
        "rows": tf.constant([0, 1], tf.int64),
        "image_index": tf.constant([0, 1]),
        "tokens": tf.constant(tokens),
        "captions": tf.constant(2.0),
    }
    if config.training.attention_supervision:
        regions = np.zeros((2, 4, 6), bool)
        regions[0, 2, 4] = True
        batch["regions"] = tf.constant(regions)
    return batch


@pytest.mark.parametrize("number", range(ROWS))
def test_every_pair_works(number, choices, vocabulary, vectors, monkeypatch):
    """The gradient is finite and reaches all trainable weights, and captions are found."""
    chosen = choices[number]
    if chosen["pretrained_embeddings"]:
        chosen = {**chosen, "pretrained_embeddings": vectors}
    config, reason = try_config(chosen)
    assert config is not None, reason
    grid = keras.Input(GRID)
    monkeypatch.setattr(initialize, "build_encoder", lambda *_: keras.Model(grid, grid))
    keras.utils.set_random_seed(0)
    with precision(config.training.precision):
        model = initialize.new_model(config, vocabulary)
    batch = make_batch(vocabulary, config)
    if config.training.self_critical == "none":
        caption_loss = CaptionLoss.from_training(config.training)
    else:
        records = [Record("one", "", ("a red star",)), Record("two", "", ("a circle", "a star"))]
        caption_loss = SelfCriticalLoss(vocabulary, records, config)
    model.reward_baseline.assign(-3.0)
    model.scheduled_sampling.assign(0.5)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = caption_loss.surrogate(caption_loss(model, batch))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    moved = 0
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all(), variable.path
        moved += bool(gradient.any())
    # The bias of attention scores cancels in the softmax and a dead ReLU has no gradient; two
    # samples of the same score have none at all.
    assert moved > 0.7 * len(variables) or config.training.self_critical != "none"
    # The first rows hold most pairs; for the others, tracing would take longer than four steps.
    if number >= TRACED_ROWS:
        monkeypatch.setattr(generation, "compile_for_any_size", lambda function: function)
    found = make_captions(model.generate(batch, config.decoding), vocabulary, [GRID[:2]])
    for captions in found:
        assert captions[0].alphas.shape == (len(captions[0].words), 2, 3)
        masses = captions[0].alphas.sum(axis=(1, 2))
        assert (masses < 1.0 + 1e-3).all()
        assert config.decoder.null_location or (masses > 1.0 - 1e-3).all()
        assert END not in captions[0].words
