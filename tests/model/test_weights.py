"""Checkpoints: complete or absent, found by their names, and of the run that they are in."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import Config, DecoderConfig
from sat_tf.errors import UserError
from sat_tf.model import weights
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.weights import (
    load_weights,
    newest_checkpoint,
    provenance,
    save_weights,
    write_checkpoint,
)
from sat_tf.vocabulary import Vocabulary

SIZES = {"embedding_size": 4, "hidden_size": 5, "attention_size": 3, "dropout": 0.0}
# A setting that is not its default.
PROVENANCE = {"vocabulary": "v" * 64, "encoder": "e" * 64, "settings": {"gate": "channel"}}


def make_model(seed=1, **changes):
    grid = keras.Input((2, 3, 6))
    keras.utils.set_random_seed(seed)
    config = DecoderConfig(**{**SIZES, **changes})
    return CaptionModel(keras.Model(grid, grid), config, vocabulary_size=9)


def learned(model):
    return [*model.flatten_grid.weights, *model.decoder.weights]


def assert_equal_weights(model, other):
    for weight, expected in zip(learned(model), learned(other), strict=True):
        np.testing.assert_array_equal(weight, expected, err_msg=weight.path)


def write_number(folder, *number, value=0.0, keep=False):
    write_checkpoint(tf.train.Checkpoint(x=tf.Variable(value)), folder, *number, keep=keep)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints_hold_every_weight(tmp_path):
    """Those of layers in lists too."""
    deep = {f"{name}_layers": 3 for name in ("attention", "initial", "lstm", "output")}
    one, other = (make_model(seed, lstm_encoder=True, **deep) for seed in (1, 2))
    for weight in learned(one):
        weight.assign(np.random.default_rng(3).normal(size=weight.shape))
    save_weights(one, tmp_path, PROVENANCE)
    load_weights(other, tmp_path, PROVENANCE)
    assert_equal_weights(other, one)


@pytest.mark.parametrize(
    "name",
    ["lr[3e-3]_bs8", "a\\b", "a*b?", "lr=0.003,bs=8", "two words", "'#%\"", "日本é", "x" * 200],
)
def test_a_folder_may_have_any_name(tmp_path, name):
    model = make_model()
    save_weights(model, tmp_path / name, PROVENANCE)
    other = make_model(2)
    load_weights(other, tmp_path / name, PROVENANCE)
    assert_equal_weights(other, model)


def test_the_newest_is_the_last_by_number_and_complete(tmp_path):
    assert newest_checkpoint(tmp_path / "none") is None
    for number in ((0, 30), (1, 0), (0, 200)):
        write_number(tmp_path, *number, keep=True)
    assert newest_checkpoint(tmp_path) == tmp_path / "ckpt-1-0"
    (tmp_path / "ckpt-1-0.data-00000-of-00001").unlink()
    assert newest_checkpoint(tmp_path) == tmp_path / "ckpt-0-200"


def test_those_before_are_removed_unless_kept(tmp_path):
    write_number(tmp_path, 1)
    write_number(tmp_path, 2, keep=True)
    assert len(names(tmp_path)) == 4
    write_number(tmp_path, 3)
    assert names(tmp_path) == ["ckpt-3.data-00000-of-00001", "ckpt-3.index"]


def test_a_pointer_file_is_neither_written_nor_read(tmp_path):
    model, other = make_model(), make_model(2)
    save_weights(model, tmp_path, PROVENANCE)
    assert "checkpoint" not in names(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"\0garbage")
    load_weights(other, tmp_path, PROVENANCE)
    assert_equal_weights(other, model)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("vocabulary", "w" * 64, r"another vocabulary \(fingerprint v.*vocabulary\.json has w"),
        ("encoder", "f" * 64, r"another encoder \(fingerprint e.*encoder\.keras has f"),
        ("settings", {"gate": "none"}, r"--gate=channel \(config\.json has none\)"),
        # A setting that was added since has had its default.
        ("settings", {"gate": "channel", "position": "coordinates"}, r"--position=none \("),
    ],
)
def test_weights_of_another_run_are_rejected(tmp_path, part, value, message):
    model = make_model()
    save_weights(model, tmp_path, PROVENANCE)
    with pytest.raises(UserError, match=message):
        load_weights(model, tmp_path, {**PROVENANCE, part: value})


def test_weights_that_the_model_does_not_use_are_rejected(tmp_path):
    save_weights(make_model(gate="scalar"), tmp_path, PROVENANCE)
    with pytest.raises(UserError, match=r"does not fit the run's config\.json"):
        load_weights(make_model(gate="none"), tmp_path, PROVENANCE)


def test_damaged_weights_are_rejected_without_advice_of_tensorflow(tmp_path):
    save_weights(make_model(), tmp_path, PROVENANCE)
    (index,) = tmp_path.glob("*.index")
    index.write_bytes(bytes(100))
    with pytest.raises(UserError, match="can't be read as a checkpoint of sat_tf: put the files"):
        load_weights(make_model(), tmp_path, PROVENANCE)


def test_provenance_is_of_all_that_makes_the_model(tmp_path):
    def of(config, words=("a",), encoder=b"encoder"):
        (tmp_path / "encoder.keras").write_bytes(encoder)
        vocabulary = Vocabulary.build([list(words)], size=0, min_count=1)
        return provenance(tmp_path, config, vocabulary)

    config = Config()
    changed = [
        of(config, words=("a", "b")),
        of(config, encoder=b"another"),
        *(
            of(dataclasses.replace(config, decoder=DecoderConfig(**{name: value})))
            for name, value in {
                "output_activation": "relu",
                "output_uses_embedding": False,
                "output_uses_context": False,
                "gate": "none",
                "attention_query": "hidden_and_word",
                "null_location": True,
                "attention": "hard",
            }.items()
        ),
        of(dataclasses.replace(config, images=dataclasses.replace(config.images, image_size=32))),
    ]
    assert all(other != of(config) for other in changed)
    assert len({str(other) for other in changed}) == len(changed)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    old, new = make_model(1), make_model(2)
    save_weights(old, tmp_path, PROVENANCE)
    load = weights.tf.train.load_checkpoint

    def load_while_replaced(path):
        monkeypatch.undo()
        checkpoint = tf.train.Checkpoint(**weights.learned_weights(new, PROVENANCE))
        write_checkpoint(checkpoint, tmp_path, 2)
        return load(path)

    monkeypatch.setattr(weights.tf.train, "load_checkpoint", load_while_replaced)
    loaded = make_model(3)
    load_weights(loaded, tmp_path, PROVENANCE)
    assert_equal_weights(loaded, new)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    write_number(tmp_path, 1)

    def fail(*_):
        message = "part-00000; No space left on device"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    checkpoint = tf.train.Checkpoint(x=tf.Variable(0.0))
    monkeypatch.setattr(tf.train.Checkpoint, "write", fail)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_checkpoint(checkpoint, tmp_path, 2)
    assert raised.value.filename == str(tmp_path / "ckpt-2")
    assert names(tmp_path) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index"]
