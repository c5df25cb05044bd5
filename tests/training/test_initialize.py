"""What runs start from: another run, pretrained embeddings, or a start that was cut off."""

import dataclasses
import shutil

import numpy as np
import pytest
from tiny_run import tiny_config, train_observed

from sat_tf.captioner import Captioner
from sat_tf.errors import UserError
from sat_tf.training.train import epoch_losses, prepare, train_and_evaluate

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def data_dir(tiny_data_dir):
    return tiny_data_dir


def assert_equal_weights(model, other):
    for weight, expected in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, expected, err_msg=weight.path)


@pytest.fixture(scope="module")
def other_run(data_dir, tmp_path_factory):
    """The folder of a run that others start from. Training is replaced by noise on its weights."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    run = prepare(tiny_config(data_dir), workdir)
    random = np.random.default_rng(0)
    for weight in run.model.trainable_variables:
        weight.assign_add(random.normal(scale=0.1, size=weight.shape))
    run.checkpoints.save_best(run.progress)
    return workdir


@pytest.fixture(scope="module")
def start(other_run):
    return Captioner.load(other_run)


@pytest.fixture(scope="module")
def started(data_dir, other_run, tmp_path_factory):
    """A run that starts from another one, before its first checkpoint."""
    config = tiny_config(
        data_dir, start_from=str(other_run), attention="hard", dropout=0.1, max_epochs=1
    )
    return prepare(config, tmp_path_factory.mktemp("started") / "run")


def test_run_starts_with_the_best_weights_of_another(start, started):
    """And with its vocabulary, although its own captions would give another one."""
    assert started.vocabulary.fingerprint == start.vocabulary.fingerprint
    assert_equal_weights(started.model, start.models[0])


def test_started_run_no_longer_needs_the_other(data_dir, other_run, tmp_path):
    config = tiny_config(
        data_dir,
        max_epochs=1,
        start_from=str(other_run),
        self_critical="cider",
        batch_size=6,
    )
    assert not train_observed(config, tmp_path / "new", interrupt_after=1, eager=True).finished
    moved = dataclasses.replace(
        config, training=dataclasses.replace(config.training, start_from="gone")
    )
    run = prepare(moved, tmp_path / "new")
    assert run.progress.total_steps == 1
    assert {"score", "greedy_score", "penalty"} <= set(epoch_losses(run))


def test_another_part_of_the_encoder_can_be_trained(data_dir, start, other_run, tmp_path):
    config = tiny_config(data_dir, start_from=str(other_run), finetune_from="conv2")
    model = prepare(config, tmp_path / "new").model
    whole = start.models[0].encoder.trainable_variables
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
def test_another_model_is_rejected_by_name(data_dir, other_run, tmp_path, change, named):
    config = tiny_config(data_dir, start_from=str(other_run), **change)
    with pytest.raises(UserError, match=named):
        prepare(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def write_embeddings(path):
    path.write_text("red " + " ".join(["0.5"] * 8) + "\n")
    return str(path)


def test_start_that_was_cut_off_is_made_again(started):
    """Killed before its first checkpoint, a run starts as if it were new."""
    again = prepare(started.config, started.workdir)
    assert_equal_weights(again.model, started.model)


def test_imported_model_is_not_trained_over(data_dir, other_run, tmp_path):
    imported = shutil.copytree(
        other_run, tmp_path / "imported", ignore=shutil.ignore_patterns("checkpoints")
    )
    with pytest.raises(UserError, match="--start_from="):
        train_and_evaluate(tiny_config(data_dir), imported)


def test_missing_start_is_named(data_dir, tmp_path):
    with pytest.raises(UserError, match=r"^--start_from=\S*nowhere: holds no run \(no such folder"):
        prepare(tiny_config(data_dir, start_from=str(tmp_path / "nowhere")), tmp_path / "new")


def test_pretrained_embeddings_are_frozen_and_resumed_without_their_file(data_dir, tmp_path):
    path = tmp_path / "vectors.txt"
    config = tiny_config(
        data_dir, pretrained_embeddings=write_embeddings(path), freeze_embeddings=True
    )
    run = prepare(config, tmp_path / "run")
    red = run.vocabulary.encode(["red"])[0]
    embeddings = run.model.decoder.embedding.embeddings
    assert (embeddings.numpy()[red] == 0.5).all()
    assert all(variable is not embeddings for variable in run.model.trainable_variables)
    again = prepare(config, tmp_path / "run")  # the start was cut off
    assert_equal_weights(again.model, run.model)
    again.checkpoints.save(again.progress)
    path.unlink()
    assert_equal_weights(prepare(config, tmp_path / "run").model, run.model)
