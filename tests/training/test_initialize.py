"""Runs that start from another run, and what they may change."""

import dataclasses
import shutil

import numpy as np
import pytest
from tiny_run import tiny_config

from sat_tf.captioner import Captioner
from sat_tf.errors import UserError
from sat_tf.training.checkpoints import Checkpoints
from sat_tf.training.train import Trainer, train

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    assert train(tiny_config(data_dir, max_epochs=1), workdir)
    return workdir


def test_a_run_starts_with_the_best_weights_of_another(data_dir, finished, tmp_path):
    """And with its vocabulary, though its own captions would give another one."""
    start = Captioner.load(finished)
    config = tiny_config(
        data_dir, start_from=str(finished), attention="hard", dropout=0.1, shapes_train=3
    )
    trainer = Trainer(config, tmp_path / "new")
    assert trainer.vocabulary.fingerprint == start.vocabulary.fingerprint
    for own, theirs in zip(trainer.model.weights, start.models[0].weights, strict=True):
        np.testing.assert_array_equal(own, theirs, err_msg=own.path)


def test_a_finished_start_needs_the_other_run_no_more(data_dir, finished, tmp_path):
    config = tiny_config(
        data_dir, max_epochs=1, start_from=str(finished), self_critical="cider", batch_size=6
    )
    assert train(config, tmp_path / "new")
    moved = dataclasses.replace(
        config, training=dataclasses.replace(config.training, start_from="gone")
    )
    trainer = Trainer(moved, tmp_path / "new")
    assert {"score", "greedy_score", "penalty"} <= set(trainer.progress.history[0])
    assert trainer.run()
    assert Captioner.load(tmp_path / "new").evaluate("test").scores["bleu_1"] >= 0


def test_another_part_of_the_encoder_can_be_trained(data_dir, finished, tmp_path):
    config = tiny_config(data_dir, start_from=str(finished), finetune_from="conv2")
    model = Trainer(config, tmp_path / "new").model
    whole = Captioner.load(finished).models[0].encoder.trainable_variables
    assert 0 < len(model.encoder.trainable_variables) < len(whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_size": 10}, "--hidden_size=10"),
        ({"gate": "none", "lstm_layers": 2}, r"--lstm_layers=2 \(1 there\), --gate=none"),
        ({"image_size": 64}, "--image_size=64"),
        ({"encoder_layer": "norm2"}, "--encoder_layer=norm2"),
        ({"min_word_count": 3}, "--min_word_count=3"),
    ],
)
def test_another_model_is_refused_by_name(data_dir, finished, tmp_path, change, named):
    config = tiny_config(data_dir, start_from=str(finished), **change)
    with pytest.raises(UserError, match=named):
        Trainer(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_start_that_was_cut_off_is_made_again(data_dir, finished, tmp_path):
    """Killed before its first checkpoint, a run starts as if it were new."""
    path = tmp_path / "vectors.txt"
    path.write_text("red " + " ".join(["0.5"] * 8) + "\n")
    for changes in ({"start_from": str(finished)}, {"pretrained_embeddings": str(path)}):
        config = tiny_config(data_dir, **changes)
        workdir = tmp_path / next(iter(changes))
        first, second = (Trainer(config, workdir).model for _ in range(2))
        for own, theirs in zip(second.weights, first.weights, strict=True):
            np.testing.assert_array_equal(own, theirs, err_msg=own.path)


def test_a_model_from_elsewhere_is_not_trained_over(data_dir, finished, tmp_path):
    imported = shutil.copytree(finished, tmp_path / "imported")
    shutil.rmtree(imported / "checkpoints")
    with pytest.raises(UserError, match="--start_from="):
        Trainer(tiny_config(data_dir, max_epochs=1), imported)


def test_the_state_is_saved_within_an_epoch(data_dir, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, progress: saved.append(progress.total_steps)
    )
    train(tiny_config(data_dir, save_freq=2, max_epochs=1), tmp_path / "run")
    assert saved == [2, 3]


def test_a_missing_start_is_named(data_dir, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Trainer(tiny_config(data_dir, start_from=str(tmp_path / "nowhere")), tmp_path / "new")


def test_word_vectors_start_the_embeddings(data_dir, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("red " + " ".join(["0.5"] * 8) + "\n")
    config = tiny_config(
        data_dir, pretrained_embeddings=str(path), freeze_embeddings=True, max_epochs=1
    )
    trainer = Trainer(config, tmp_path / "run")
    red = trainer.vocabulary.encode(["red"])[0]
    assert (trainer.model.decoder.embedding.embeddings.numpy()[red] == 0.5).all()
    assert trainer.run()
    path.unlink()
    model = Captioner.load(tmp_path / "run").models[0]
    assert (model.decoder.embedding.embeddings.numpy()[red] == 0.5).all()
