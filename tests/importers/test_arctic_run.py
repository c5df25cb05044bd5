"""A model of arctic-captions as a run: the same words, looks and gates as by their equations."""

import arctic_models
import arctic_reference as reference
import arctic_runs
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.captioner import Captioner
from sat_tf.config import Config
from sat_tf.errors import UserError
from sat_tf.importers.arctic_files import ArcticModel, read_arctic_model
from sat_tf.importers.arctic_run import make_vocabulary, write_run
from sat_tf.model.attention import Chance
from sat_tf.model.hard_attention import given_places
from sat_tf.vocabulary import END, PAD, UNK

TOKENS = [3, 8, 1, 2, 10, 0]  # theirs; each is one more here
STEPS, L = len(TOKENS), 6
VARIANTS = {
    **arctic_models.VARIANTS,
    "deep but for dropout": {**arctic_models.DEEP, "use_dropout": False},
    "deep but for dropout in the LSTM": {**arctic_models.DEEP, "use_dropout_lstm": False},
    "dropout and the least of layers": {"use_dropout": True, "use_dropout_lstm": True},
    "the encoder's states added": {"lstm_encoder": True, "prev2out": True},
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Runs by variant, each made once."""
    runs = {}

    def run_of(variant, **changes):
        key = repr((variant, changes))
        if key not in runs:
            options = arctic_models.make_options(**variant)
            folder = tmp_path_factory.mktemp("model")
            runs[key] = options, arctic_runs.import_model(folder, options, **changes)
        return runs[key]

    return run_of


def grid(size, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *arctic_runs.GRID, size)).astype(np.float32)


def read(run, annotations, places=(), tokens=TOKENS):
    tokens = tf.constant([[token + 1 for token in tokens]])
    reading = run.model(annotations, tokens, tf.constant([0]), places=places)
    return {
        "probabilities": tf.nn.softmax(reading.logits)[0].numpy(),
        "alphas": reading.alphas[0].numpy(),
        "betas": reading.betas[0].numpy(),
    }


def expect(options, annotations, look=reference.at_expectation, zeros=0, tokens=TOKENS):
    locations = np.pad(annotations.reshape(L, -1), [(0, zeros), (0, 0)])
    weights = arctic_models.make_weights(options)
    return reference.read_caption(weights, options, locations, tokens, look)


def assert_same(found, expected):
    assert found["probabilities"][:, PAD].max() == 0
    found = {**found, "probabilities": found["probabilities"][:, 1:]}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("zeros", [False, True], ids=["", "with zeros"])
def test_it_reads_captions_as_theirs(imported, variant, zeros):
    options, run = imported(variant, null_location=zeros)
    annotations = grid(options["ctx_dim"])
    expected = expect(options, annotations, zeros=int(zeros))
    assert expected["alphas"].shape == (STEPS, L + zeros)
    assert_same(read(run, annotations), expected)


def deep_options(**changes):
    return {**arctic_models.DEEP, **changes}


@pytest.mark.parametrize("layers", [1, 2])
def test_it_looks_hard_at_the_likeliest_location_as_theirs(imported, layers):
    options, run = imported(deep_options(n_layers_lstm=layers))
    annotations, shape = grid(options["ctx_dim"]), [STEPS, 1, L]
    places = given_places("argmax", tf.constant(shape), layers, tf.constant([0, 0]))
    expected = expect(options, annotations, reference.at_argmax)
    assert_same(read(run, annotations, places), expected)
    soft = expect(options, annotations)["probabilities"]
    assert abs(expected["probabilities"] - soft).max() > 1e-3


def test_it_looks_hard_at_given_locations_as_theirs(imported):
    """Some steps of some layers take alpha itself."""
    options, run = imported(arctic_models.DEEP_ENCODER)
    annotations = grid(options["ctx_dim"])
    locations = [[0, 5], [None, 2], [3, None], [None, None], [1, 1], [4, 0]]
    places = tuple(
        Chance(
            tf.stack([1e6 * tf.one_hot([place or 0], L) for place in of_layer]),
            tf.constant([[[place is not None]] for place in of_layer]),
        )
        for of_layer in zip(*locations, strict=True)
    )
    expected = expect(options, annotations, reference.at_locations(locations))
    assert_same(read(run, annotations, places), expected)


def test_annotations_are_not_scaled_and_embeddings_are_theirs(imported):
    options, run = imported(arctic_models.PUBLISHED)
    assert run.model.locations.scale.numpy() == 1
    vectors = run.model.cell.embedding.embeddings.numpy()
    np.testing.assert_array_equal(vectors[1:], arctic_models.make_weights(options)["Wemb"])
    assert not vectors[PAD].any()


def test_dropout_is_that_of_their_training(imported):
    """In training both drop half of the states; what is left is as large here as it was there."""
    options, run = imported({"use_dropout": True, "use_dropout_lstm": True})
    rates = [run.config.decoder.dropout, run.config.decoder.lstm_dropout]
    assert rates == [0.5, 0.5]
    weights, cell = arctic_models.make_weights(options), run.model.cell
    h = tf.random.normal([2000, options["dim"]], seed=1)
    layer = cell.deep_output
    dropped = layer.hidden_dropout(h, training=True)
    kept = tf.where(dropped == 0, 0.0, h)
    assert 0.4 < tf.math.count_nonzero(kept) / tf.size(kept, tf.int64) < 0.6
    np.testing.assert_allclose(
        layer.of_hidden(dropped),
        kept.numpy() @ weights["ff_logit_lstm_W"] + weights["ff_logit_lstm_b"],
        atol=1e-5,
    )


def test_the_vocabulary_is_theirs_behind_our_entries(imported):
    _, run = imported({})
    assert run.vocabulary.words == ("<pad>", "<end>", "<unk>", *arctic_models.WORDS)
    assert run.vocabulary.encode(["café", "cat"]) == [6, UNK, END]


def test_tokens_without_words_are_left_out(tmp_path):
    """What they had of probability goes to the others, each by its own."""
    options = arctic_models.make_options(**arctic_models.PUBLISHED)
    whole = read_arctic_model(**arctic_models.write_model(tmp_path, options))
    model = ArcticModel(whole.options, whole.weights, whole.words[:-3])
    encoder = arctic_runs.write_encoder(tmp_path / "encoder.keras", options["ctx_dim"])
    write_run(model, arctic_runs.given_settings(encoder), tmp_path / "run")
    (run,) = Captioner.load(tmp_path / "run").runs
    assert len(run.vocabulary) == 9
    annotations, tokens = grid(options["ctx_dim"]), [3, 7, 1, 0]
    expected = expect(options, annotations, tokens=tokens)
    left = expected["probabilities"][:, :-3]
    assert left.sum(axis=1).max() < 0.95
    expected["probabilities"] = left / left.sum(axis=1, keepdims=True)
    assert_same(read(run, annotations, tokens=tokens), expected)


@pytest.mark.parametrize("word", ["<pad>", "<end>", "<unk>"])
def test_a_word_named_as_one_of_our_entries_is_refused(word):
    with pytest.raises(UserError, match=f"'{word}' as the word of token 3.*rename"):
        make_vocabulary(["a", word])


def test_another_encoder_is_refused_with_both_sizes(tmp_path):
    options = arctic_models.make_options()
    model = read_arctic_model(**arctic_models.write_model(tmp_path, options))
    encoder = arctic_runs.write_encoder(tmp_path / "encoder.keras", 5)
    with pytest.raises(UserError, match=r"annotations of 7 numbers.*encoder\.keras.*have 5"):
        write_run(model, arctic_runs.given_settings(encoder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(config, folder):
        raise OSError("the disk is full")

    monkeypatch.setattr(Config, "save", fail)
    with pytest.raises(OSError, match="disk is full"):
        arctic_runs.import_model(tmp_path, arctic_models.make_options())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dictionary.pkl",
        "encoder.keras",
        "model.npz",
        "model.npz.pkl",
    ]
