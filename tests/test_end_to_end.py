"""From an empty folder to scores and captions, and everything that may go wrong on the way."""

import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import tiny_config

from sat_tf.captioner import Captioner
from sat_tf.config import Config
from sat_tf.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.metrics.registry import SCORES
from sat_tf.training import train as training
from sat_tf.training.step import make_train_step
from sat_tf.training.train import Trainer, train

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A run that was trained without a break, and the loss of each of its steps."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    losses = []
    with pytest.MonkeyPatch.context() as patch:
        watch_losses(patch, losses)
        config = tiny_config(data_dir, log_attention=8, keep_checkpoints=True)
        assert train(config, workdir)
    return workdir, losses


def watch_losses(patch, losses, interrupt_after=(), spoil_at=None):
    """Notes each step's loss; sends SIGINT after some of them; makes one not a number."""

    def watched(*args):
        step = make_train_step(*args)

        def run(batch):
            sums = step(batch)
            losses.append(float(sums["nll"]))
            if len(losses) in interrupt_after:
                signal.raise_signal(signal.SIGINT)
            if len(losses) == spoil_at:
                return {**sums, "nll": tf.constant(np.nan)}
            return sums

        return run

    patch.setattr(training, "make_train_step", watched)


def weights(workdir):
    model = Captioner.load(workdir).models[0]
    return [w.numpy() for w in (*model.encoder.weights, *model.decoder.weights)]


def test_a_run_leaves_its_files(finished):
    workdir, losses = finished
    assert len(losses) == 6  # 12 scenes of 5 captions in minibatches of 20, two epochs
    epochs = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in epochs] == [1, 2]
    assert {"bleu_4", "perplexity", "true_objects", "loss"} <= set(epochs[0])
    # Slow scores are computed in validations only where they are monitored.
    monitors = {name for name, score in SCORES.items() if score.can_monitor and not score.is_slow}
    assert monitors <= set(epochs[0])
    assert list((workdir / "tensorboard").glob("events*"))
    assert Config.load(workdir).encoder.preprocessing == "caffe"
    assert len(list((workdir / "epochs").glob("*.index"))) == 2  # they were asked for


def test_an_interrupted_run_goes_on_to_the_bit(finished, data_dir, tmp_path, monkeypatch, capsys):
    """Within an epoch, at its end, at its first step; and where it was interrupted before."""
    workdir, expected = finished
    losses: list[float] = []
    watch_losses(monkeypatch, losses, interrupt_after=(2, 3, 4))
    for steps in (2, 3, 4):
        assert not train(tiny_config(data_dir), tmp_path)
        assert "same command again" in capsys.readouterr().out
        assert len(losses) == steps
    assert train(tiny_config(data_dir), tmp_path)
    assert losses == expected
    for resumed, whole in zip(weights(tmp_path), weights(workdir), strict=True):
        np.testing.assert_array_equal(resumed, whole)
    timeless = [
        [
            {name: value for name, value in json.loads(line).items() if "seconds" not in name}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (tmp_path, workdir)
    ]
    assert timeless[0] == timeless[1]


def test_what_is_drawn_is_drawn_again_after_an_interruption(data_dir, tmp_path, monkeypatch):
    """Places, words, masks and the baseline of hard attention go on where they stopped."""
    config = tiny_config(
        data_dir,
        attention="hard",
        scheduled_sampling=0.5,
        lstm_dropout=0.2,
        lstm_layers=2,
        optimizer="rmsprop",  # of all it has most to remember
        batch_size=10,  # six steps
        max_epochs=1,
        log_attention=1,
    )
    whole: list[float] = []
    watch_losses(monkeypatch, whole)
    assert train(config, tmp_path / "whole")
    losses: list[float] = []
    watch_losses(monkeypatch, losses, interrupt_after=(2,))
    assert not train(config, tmp_path / "resumed")
    assert train(config, tmp_path / "resumed")
    assert len(whole) == 6
    assert losses == whole
    for resumed, expected in zip(
        weights(tmp_path / "resumed"), weights(tmp_path / "whole"), strict=True
    ):
        np.testing.assert_array_equal(resumed, expected)
    drawn = Captioner.load(tmp_path / "whole", attention_inference="sample", sampling_seed=3)
    assert drawn.evaluate("test").scores["perplexity"] > 1


def test_a_finished_run_is_not_trained_again(finished, data_dir, monkeypatch):
    losses: list[float] = []
    watch_losses(monkeypatch, losses)
    assert train(tiny_config(data_dir), finished[0])
    assert not losses


def test_other_settings_are_refused_by_name(finished, data_dir):
    with pytest.raises(UserError, match="--hidden_size"):
        train(tiny_config(data_dir, hidden_size=10), finished[0])


def test_a_loss_that_is_not_finite_stops_the_run(data_dir, tmp_path, monkeypatch):
    watch_losses(monkeypatch, [], spoil_at=5)
    config = tiny_config(data_dir, optimizer="sgd")
    with pytest.raises(UserError, match=r"step 5 \(epoch 2\)"):
        train(config, tmp_path)
    assert Trainer(config, tmp_path).progress.epoch == 1


@pytest.fixture(scope="module")
def rounded(data_dir, tmp_path_factory):
    """A run in bfloat16, of few words."""
    workdir = tmp_path_factory.mktemp("rounded") / "run"
    config = tiny_config(
        data_dir, precision="bfloat16", vocabulary_size=9, max_epochs=1, log_attention=1
    )
    assert train(config, workdir)
    return workdir


def test_bfloat16_trains_and_captions(rounded):
    assert Captioner.load(rounded).evaluate("test").scores["perplexity"] > 1


def test_a_split_is_scored_each_image_once(finished):
    scored = Captioner.load(finished[0]).evaluate("test")
    assert len(scored.captions) == len(scored.records) == 4
    assert {"bleu_1", "bleu_4_no_bp", "true_captions", "pointing_uniform"} <= set(scored.scores)


def test_captions_have_as_many_words_as_allowed(finished):
    scored = Captioner.load(finished[0], min_length=2, max_length=2).evaluate("test")
    assert {len(caption.words) for caption in scored.captions} == {2}


def test_image_files_are_captioned_as_in_the_data_set(finished, tmp_path):
    captioner = Captioner.load(finished[0])
    scored = captioner.evaluate("test")
    paths = []
    for record in scored.records:
        path = tmp_path / f"{record.image_id}.png"
        path.write_bytes(record.image)
        paths.append(path)
    captions = captioner.caption(paths)
    assert [str(caption) for caption in captions] == [c.text for c in scored.captions]
    rows, columns = captioner.models[0].grid
    for caption in captions:
        assert caption.alphas.shape == (len(caption.words), rows, columns)


@pytest.fixture(scope="module")
def second(data_dir, tmp_path_factory):
    """A run on the same captions, from other random weights, by another optimizer."""
    workdir = tmp_path_factory.mktemp("second") / "run"
    assert train(tiny_config(data_dir, seed=1, max_epochs=1, optimizer="adadelta"), workdir)
    return workdir


def test_an_ensemble_is_scored_by_all_its_members(finished, second):
    each = [
        Captioner.load(*workdirs).evaluate("test").scores["perplexity"]
        for workdirs in ([finished[0]], [second], [finished[0], second])
    ]
    assert len({round(perplexity, 4) for perplexity in each}) == 3
    assert each[2] < max(each[:2])


def test_an_ensemble_of_two_vocabularies_is_refused(finished, rounded):
    with pytest.raises(UserError, match="has another vocabulary than"):
        Captioner.load(finished[0], rounded)


def test_a_foreign_vocabulary_is_refused(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    path = run / "vocabulary.json"
    document = json.loads(path.read_text())
    document["words"][3:5] = document["words"][4], document["words"][3]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"vocabulary\.json"):
        Captioner.load(run)
    # A whole vocabulary of another run: its own fingerprint fits, the checkpoint's does not.
    from sat_tf.vocabulary import Vocabulary

    Vocabulary(document["words"], document["counts"]).save(path)
    with pytest.raises(UserError, match="another vocabulary"):
        Captioner.load(run)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "encoder.keras", "best"])
def test_a_run_with_a_part_missing_is_named(finished, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    part = run / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(UserError, match=name):
        Captioner.load(run)


@pytest.mark.parametrize(
    ("files", "damage"),
    [
        ("*.index", lambda file: file.write_bytes(b"nonsense")),
        ("*.data*", lambda file: file.write_bytes(file.read_bytes()[:500])),
        ("*.data*", lambda file: file.unlink()),
    ],
)
def test_a_damaged_checkpoint_is_named(finished, tmp_path, files, damage):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for file in (run / "best").glob(files):
        damage(file)
    with pytest.raises(UserError, match="best"):
        Captioner.load(run)


def test_a_cached_run_equals_one_that_encodes(data_dir, finished, tmp_path, monkeypatch):
    """The same frozen encoder, from the cache in float16 and afresh: nearly the same losses."""
    encoder = finished[0] / "encoder.keras"
    losses: list[float] = []
    scores = []
    watch_losses(monkeypatch, losses)
    for cached in (True, False):
        config = tiny_config(
            data_dir,
            encoder=str(encoder),
            encoder_layer="",
            encoder_weights="imagenet",
            finetune_from="",
            preprocessing="none",
            cache_features=cached,
            cache_dir=str(tmp_path / "features"),
            max_epochs=1,
            log_attention=1,
        )
        workdir = tmp_path / str(cached)
        assert train(config, workdir)
        scores.append(Captioner.load(workdir).evaluate("test").scores["perplexity"])
    assert losses[:3] == pytest.approx(losses[3:], rel=2e-5)
    assert scores[0] == pytest.approx(scores[1], rel=2e-5)
    assert (tmp_path / "features").exists()


def test_attention_of_the_same_images_is_written_at_each_validation(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sat_tf.inspection import PLUGIN_NAME

    events = EventAccumulator(str(finished[0] / "tensorboard"), {"tensors": 0}).Reload()
    images = events.summary_metadata
    records = load_splits(Config.load(finished[0]).data, ("dev",))["dev"]
    drawn = {record.image_id: record.objects.objects for record in records}
    inspected = [tag for tag, data in images.items() if data.plugin_data.plugin_name == PLUGIN_NAME]
    assert len(inspected) == 4  # all of the validation split, which has fewer than eight
    for tag in inspected:
        documents = [json.loads(event.tensor_proto.string_val[0]) for event in events.Tensors(tag)]
        assert [event.step for event in events.Tensors(tag)] == [3, 6]
        assert [document["image_id"] for document in documents] == [tag] * 2
        assert documents[0]["captions"] != documents[1]["captions"]
        shown = [(thing["name"], tuple(thing["box"])) for thing in documents[0]["objects"]]
        assert shown == drawn[tag]
        assert {tag, f"attention_figures/{tag}"} <= set(images)
    assert {"words/bleu_4", "attention/entropy", "attention/state_sensitivity"} <= set(images)
