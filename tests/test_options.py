"""Every pair of options, through a tiny model: it works, or it is refused by both names."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import Config, from_flat, to_flat
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model.generation import make_captions
from sat_tf.model.losses import CaptionLoss
from sat_tf.model.precision import precision
from sat_tf.training import initialize
from sat_tf.training.self_critical import SelfCriticalLoss
from sat_tf.vocabulary import END, PAD, Vocabulary

# Of each option its default first. Numbers stand for "off" and "on".
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
    "precision": ["float32", "bfloat16"],
    "search": ["beam", "sample"],
    "beam_size": [3, 1],
    "num_samples": [1, 2],
}
HARD = {"attention": "hard"}
DRAWN = {"self_critical": "cider", "start_from": "RUN"}
# What an option needs beside it, unless the other one of a pair says otherwise.
NEEDS = {
    **dict.fromkeys(
        (
            "attention_temperature",
            "sampling_probability",
            "sampling_by",
            "reward",
            "reinforce_weight",
            "entropy_weight",
            "baseline_decay",
            "attention_inference",
        ),
        HARD,
    ),
    "self_critical": {"start_from": "RUN"},
    **dict.fromkeys(("self_critical_samples", "self_critical_temperature"), DRAWN),
    "num_samples": {"search": "sample"},
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


def default(name):
    return OPTIONS[name][0]


def try_settings(chosen):
    """Config of some options with what these need; None and the reason if they are refused."""
    values = dict(BASE)
    for name, value in chosen.items():
        if value != default(name):
            values |= NEEDS.get(name, {})
    try:
        return from_flat(values | chosen), ""
    except UserError as error:
        return None, str(error)


def pairs():
    for (one, values), (other, others) in itertools.combinations(OPTIONS.items(), 2):
        for value, second in itertools.product(values, others):
            yield (one, value), (other, second)


def test_defaults_are_the_settings():
    flat = to_flat(Config())
    assert {name: flat[name] for name in OPTIONS} == {name: default(name) for name in OPTIONS}
    for name, values in OPTIONS.items():
        for value in values:
            config, reason = try_settings({name: value})
            assert config is not None, reason


def test_a_refused_pair_is_named_by_both():
    refused = 0
    for pair in pairs():
        config, reason = try_settings(dict(pair))
        if config is None:
            refused += 1
            for name, _ in pair:
                # Or by what the option is for: --reward by --attention=hard.
                named = (name, *NEEDS.get(name, {}))
                assert any(f"--{each}" in reason for each in named), (pair, reason)
    assert refused > 20


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
def test_pairs_that_make_no_sense(pair):
    assert try_settings(pair)[0] is None


def covering():
    """Few choices of all options that hold every pair that is not refused: greedily."""
    wanted = {frozenset(pair) for pair in pairs() if try_settings(dict(pair))[0] is not None}
    random = np.random.default_rng(0)
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
            chosen[name] = next(value for value in ranked if fits({**chosen, str(name): value}))
        held = {frozenset(pair) for pair in itertools.combinations(chosen.items(), 2)}
        assert held & wanted, chosen
        wanted -= held
        choices.append(chosen)
    return choices


def sorted_names(pair):
    return sorted(map(repr, pair))


def fits(chosen):
    """Whether the rest can still be chosen: at worst by default."""
    return try_settings(chosen)[0] is not None


CHOICES = covering()


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


@pytest.mark.parametrize("chosen", CHOICES, ids=[str(i) for i in range(len(CHOICES))])
def test_every_pair_works(chosen, vocabulary, vectors, monkeypatch):
    """A gradient that is a number and reaches all that learns, and captions."""
    if chosen["pretrained_embeddings"]:
        chosen = {**chosen, "pretrained_embeddings": vectors}
    config, reason = try_settings(chosen)
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
    # A score's bias cancels in the softmax, a dead ReLU passes nothing on; and two captions that
    # score the same teach nothing.
    assert moved > 0.7 * len(variables) or config.training.self_critical != "none"
    found = make_captions(model.generate(batch, config.decoding), vocabulary, [GRID[:2]])
    for captions in found:
        assert captions[0].alphas.shape == (len(captions[0].words), 2, 3)
        masses = captions[0].alphas.sum(axis=(1, 2))
        assert (masses < 1.0 + 1e-3).all()
        assert config.decoder.null_location or (masses > 1.0 - 1e-3).all()
        assert END not in captions[0].words
