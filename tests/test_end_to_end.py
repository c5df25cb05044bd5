"""From an empty folder to scores and captions, and everything that may go wrong on the way."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import (
    assert_equal_states,
    metrics_without_seconds,
    saved_state,
    tiny_config,
    train_observed,
)

from sat_tf.captioner import Captioner
from sat_tf.config import Config, override
from sat_tf.data.feature_cache import FeatureCache
from sat_tf.data.pipeline import image_batches
from sat_tf.datasets import load_splits
from sat_tf.doctor.run_context import RunContext
from sat_tf.errors import UserError
from sat_tf.evaluator import Evaluator
from sat_tf.metrics.registry import SCORES
from sat_tf.model.encoder import encoder_fingerprint
from sat_tf.model.weights import provenance, save_weights
from sat_tf.storage import exclusive_lock
from sat_tf.training import train as training
from sat_tf.training.checkpoints import Checkpoints
from sat_tf.training.logger import TrainingLogger
from sat_tf.training.schedule import Progress
from sat_tf.training.train import (
    batch_plan,
    batches,
    prepare,
    train_and_evaluate,
    train_epoch,
)
from sat_tf.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def data_dir(tiny_data_dir):
    return tiny_data_dir


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run.workdir, tmp_path / "run")


def test_run_leaves_its_files(tiny_run):
    workdir = tiny_run.workdir
    assert tiny_run.finished
    assert len(tiny_run.losses) == 6  # 12 scenes of 5 captions in minibatches of 20, two epochs
    assert tiny_run.saved_at == [2, 3, 4, 6, 6]  # --save_freq=2, and the ends of the epochs
    epochs = metrics_without_seconds(workdir)
    assert [entry["epoch"] for entry in epochs] == [1, 2]
    monitors = {name for name, score in SCORES.items() if score.can_monitor}
    # METEOR, which takes Java and seconds, is computed where it is monitored.
    assert monitors - set(epochs[0]) <= {"meteor"}
    assert {"loss", "penalty", "learning_rate"} <= set(epochs[0])
    assert list((workdir / "tensorboard").glob("events*"))
    assert Config.load(workdir).encoder.preprocessing == "none"
    assert len(list((workdir / "epochs").glob("*.index"))) == 2  # --keep_checkpoints


def test_interrupted_run_resumes_bit_exactly(tiny_run, data_dir, tmp_path, capsys):
    """Killed within the first epoch, and interrupted at its end; losses are read more often."""
    config = tiny_config(data_dir, log_every=1)
    workdir = shutil.copytree(tiny_run.killed, tmp_path / "run")
    part = train_observed(config, workdir, interrupt_after=1)
    assert not part.finished
    assert "same command again" in capsys.readouterr().out
    rest = train_observed(config, workdir)
    assert tiny_run.losses[:2] + part.losses + rest.losses == tiny_run.losses
    assert_equal_states(workdir, tiny_run.workdir)
    assert metrics_without_seconds(workdir) == metrics_without_seconds(tiny_run.workdir)


def test_random_numbers_resume_bit_exactly(data_dir, tmp_path):
    """Locations, words, dropout masks, the reward baseline of hard attention, the loss's scale."""
    config = tiny_config(
        data_dir,
        precision="float16",
        attention="hard",
        scheduled_sampling=0.5,
        lstm_dropout=0.2,
        lstm_layers=2,
        optimizer="rmsprop",  # has the most state
        batch_size=5,  # steps enough that no run comes to a validation
        max_caption_words=6,
        save_freq=1,
    )
    # Without a graph: three steps take less time than tracing two.
    whole = train_observed(
        config, tmp_path / "whole", interrupt_after=2, copy_to=tmp_path / "killed", eager=True
    )
    rest = train_observed(config, whole.killed, interrupt_after=1, eager=True)
    assert len(whole.losses) == 2
    assert rest.losses == whole.losses[1:]
    assert_equal_states(whole.killed, whole.workdir)
    baselines = [v for name, v in saved_state(whole.workdir).items() if "reward_baseline" in name]
    assert len(baselines) == 1
    assert baselines[0] != 0


def test_finished_run_is_not_trained_again(tiny_run, data_dir):
    again = train_observed(tiny_config(data_dir), tiny_run.workdir)
    assert again.finished
    assert not again.losses


def test_other_settings_are_rejected_by_name(tiny_run, data_dir):
    with pytest.raises(UserError, match="--hidden_size"):
        train_and_evaluate(tiny_config(data_dir, hidden_size=10), tiny_run.workdir)


def test_a_run_is_trained_once_at_a_time(data_dir, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with (
        exclusive_lock(workdir / ".lock"),
        pytest.raises(UserError, match="another training is at work there"),
    ):
        train_and_evaluate(tiny_config(data_dir), workdir)


def test_a_mistake_leaves_no_folder(data_dir, tmp_path):
    config = tiny_config(data_dir, encoder="none.keras")
    with pytest.raises(UserError, match=r"none\.keras"):
        train_and_evaluate(config, tmp_path / "new" / "run")
    assert list(tmp_path.glob("new/*")) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("x"), "is no folder"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which is no folder"),
    ],
)
def test_what_is_no_folder_is_named(data_dir, tmp_path, make, message):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=f"--workdir=.*run: {message}"):
        train_and_evaluate(tiny_config(data_dir), tmp_path / "run")


def test_a_state_that_is_lost_is_missed(data_dir, copied_run):
    """Not trained again from the start, which would replace the best weights."""
    shutil.rmtree(copied_run / "checkpoints")
    with pytest.raises(UserError, match="has lost the state of its training"):
        train_and_evaluate(tiny_config(data_dir), copied_run)


def test_loss_that_is_not_finite_stops_the_run(data_dir, tmp_path):
    config = tiny_config(data_dir, optimizer="sgd", save_freq=2, batch_size=5, max_caption_words=6)
    with pytest.raises(UserError, match=r"step 3 \(epoch 1\)"):
        train_observed(config, tmp_path, spoil_at=3, eager=True)
    assert prepare(config, tmp_path).progress.total_steps == 2


@pytest.fixture(scope="module")
def prepared(data_dir, tmp_path_factory):
    """A run of six steps an epoch that has not been trained."""
    return prepare(tiny_config(data_dir, batch_size=10), tmp_path_factory.mktemp("new") / "run")


@pytest.mark.parametrize(
    ("settings", "taken", "saves"),
    [
        ({"log_every": 1}, 3, 0),
        ({"log_every": 1, "save_freq": 1}, 3, 2),
        ({"log_every": 2}, 4, 0),
        ({"log_every": 10}, 6, 0),  # the epoch has six steps
        ({"log_every": 10, "save_freq": 2}, 4, 1),
    ],
)
def test_first_loss_that_is_not_finite_is_named_some_steps_later(
    prepared, monkeypatch, settings, taken, saves
):
    monkeypatch.setattr(training, "batches", lambda run, plan, start: iter(plan[start:]))
    config = override(prepared.config, **settings)
    run = dataclasses.replace(
        prepared, config=config, progress=Progress(), checkpoints=mock.create_autospec(Checkpoints)
    )
    steps = []

    def train_step(batch):
        steps.append(batch)
        nll = np.nan if len(steps) >= 3 else 1.0
        sums = {"nll": nll, "penalty": 0.0, "captions": 10.0, "words": 50.0}
        return {name: tf.constant(value) for name, value in sums.items()}

    logger = mock.create_autospec(TrainingLogger)
    with pytest.raises(UserError, match=r"step 3 \(epoch 1\)"):
        train_epoch(run, train_step, logger, [])
    assert len(steps) == taken
    assert run.progress.total_steps == 2
    assert run.checkpoints.save.call_count == saves


def test_batches_may_be_prefetched_to_a_gpu(prepared, monkeypatch):
    """The processor takes the place of the GPU."""
    plan = batch_plan(prepared.captions, prepared.config.training, 0)
    expected = list(batches(prepared, plan, 4))
    gpus = [tf.config.LogicalDevice("/device:CPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    found = list(batches(prepared, plan, 4))
    assert len(found) == len(expected) == 2
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope="module")
def bfloat16_run(data_dir, tmp_path_factory):
    """A run in bfloat16, with a vocabulary of its own."""
    # One beam: the search of the logged attention is traced sooner.
    few = {"vocabulary_size": 9, "max_epochs": 1, "log_attention": 1, "beam_size": 1}
    config = tiny_config(data_dir, precision="bfloat16", **few)
    return train_observed(config, tmp_path_factory.mktemp("bfloat16") / "run").workdir


def test_bfloat16_trains_and_captions(bfloat16_run, test_result):
    assert metrics_without_seconds(bfloat16_run)[0]["perplexity"] > 1
    captioner = Captioner.load(bfloat16_run, beam_size=1)
    (captions,) = captioner.caption_images([captioner.read_image(test_result.records[0].image)])
    assert np.isfinite(captions[0].score)


@pytest.fixture(scope="module")
def captioner(tiny_run):
    return Captioner.load(tiny_run.workdir)


@pytest.fixture(scope="module")
def test_result(captioner):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        return captioner.evaluate("test")


def test_each_image_of_a_split_is_scored_once(test_result):
    assert len(test_result.captions) == len(test_result.records) == 4
    expected = {"bleu_1", "bleu_4_no_bp", "true_captions", "reference_pointing_uniform"}
    assert expected <= set(test_result.scores)


def test_image_files_are_captioned_as_in_the_data_set(captioner, test_result, tmp_path):
    paths = []
    for record in test_result.records:
        path = tmp_path / f"{record.image_id}.png"
        path.write_bytes(record.image)
        paths.append(path)
    captions = captioner.caption(paths)
    assert [str(caption) for caption in captions] == [c.text for c in test_result.captions]
    rows, columns = captioner.models[0].grid
    for caption in captions:
        assert caption.alphas.shape == (len(caption.words), rows, columns)


def test_ensemble_is_scored_by_all_its_members(tiny_run, copied_run, test_result):
    """And its captions have as many words as allowed."""
    (run,) = Captioner.load(copied_run).runs
    output = run.model.decoder.deep_output.output_projection
    for weight in output.weights:
        weight.assign(tf.zeros_like(weight))
    save_weights(run.model, copied_run / "best", provenance(copied_run, run.config, run.vocabulary))
    uniform = len(run.vocabulary)  # the perplexity where all tokens are equally probable
    allowed = {"beam_size": 1, "min_length": 2, "max_length": 2}
    result = Captioner.load(tiny_run.workdir, copied_run, **allowed).evaluate("test")
    alone = test_result.scores["perplexity"]
    assert len({round(value, 4) for value in (alone, uniform, result.scores["perplexity"])}) == 3
    assert result.scores["perplexity"] < max(alone, uniform)
    assert {len(caption.words) for caption in result.captions} == {2}


def test_ensemble_of_two_vocabularies_is_rejected(tiny_run, bfloat16_run):
    with pytest.raises(UserError, match="has another vocabulary than"):
        Captioner.load(tiny_run.workdir, bfloat16_run)


def test_foreign_vocabulary_is_rejected(copied_run):
    path = copied_run / "vocabulary.json"
    document = json.loads(path.read_text())
    document["words"][3:5] = document["words"][4], document["words"][3]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"vocabulary\.json"):
        Captioner.load(copied_run)
    # A valid vocabulary of another run: its own fingerprint fits, the checkpoint's does not.
    Vocabulary(document["words"], document["counts"]).save(path)
    with pytest.raises(UserError, match="another vocabulary"):
        Captioner.load(copied_run)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "encoder.keras", "best"])
def test_missing_part_of_a_run_is_named(copied_run, name):
    part = copied_run / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(UserError, match=name):
        Captioner.load(copied_run)


@pytest.mark.parametrize(
    ("files", "damage"),
    [
        ("*.index", lambda file: file.write_bytes(b"nonsense")),
        ("*.data*", lambda file: file.write_bytes(file.read_bytes()[:500])),
        ("*.data*", lambda file: file.unlink()),
    ],
)
def test_damaged_checkpoint_is_named(copied_run, files, damage):
    for file in (copied_run / "best").glob(files):
        damage(file)
    with pytest.raises(UserError, match="best"):
        Captioner.load(copied_run)


def test_cached_run_equals_one_that_encodes(data_dir, tiny_run, tmp_path):
    """The same frozen encoder, from the cache in float16 and anew: nearly the same losses."""
    losses = []
    for cached in (True, False):
        config = tiny_config(
            data_dir,
            encoder=str(tiny_run.workdir / "encoder.keras"),
            finetune_from="",
            cache_features=cached,
            cache_dir=str(tmp_path / "features"),
            max_caption_words=6,
        )
        run = train_observed(config, tmp_path / str(cached), interrupt_after=1, eager=True)
        losses.append(run.losses)
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    assert (tmp_path / "features").exists()


def test_every_use_of_a_run_encodes_at_its_encoder_precision(
    data_dir, tiny_run, tmp_path, monkeypatch
):
    """Training, evaluation and the doctor read one cache, and captioning computes as it does."""
    features = tmp_path / "features"
    settings = {
        "encoder": str(tiny_run.workdir / "encoder.keras"),
        "finetune_from": "",
        "cache_features": True,
        "cache_dir": str(features),
    }
    of_training = prepare(
        tiny_config(data_dir, precision="bfloat16", **settings), tmp_path / "float32"
    )
    (of_float32,) = features.iterdir()
    config = tiny_config(data_dir, encoder_precision="bfloat16", **settings)
    run = prepare(config, tmp_path / "run")
    save_weights(
        run.model,
        tmp_path / "run" / "best",
        provenance(tmp_path / "run", run.config, run.vocabulary),
    )
    captioner = Captioner.load(tmp_path / "run", beam_size=1)
    # What would be evaluated: the evaluation itself takes longer to trace than all of this.
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, records, sources, *_: sources)
    (source,) = captioner.evaluate("dev")
    (of_bfloat16,) = {*features.iterdir()} - {of_float32}
    images = [captioner.read_image(record.image).inputs[0] for record in run.records["dev"]]
    found = captioner.models[0].encode_images({"images": tf.constant(np.stack(images))})
    assert found.dtype == "bfloat16"
    cache = RunContext(tmp_path / "run", config).cache("dev")
    assert cache.folder == of_bfloat16
    cached = cache.read(np.arange(len(images)))
    (evaluated,) = image_batches(len(images), source, len(images))
    np.testing.assert_array_equal(evaluated["features"], cached)
    # The cache's encoder is compiled, which rounds at other places.
    np.testing.assert_allclose(cached, tf.cast(found, tf.float32), rtol=0.02, atol=1e-3)
    fingerprint = encoder_fingerprint(of_training.model.encoder, config.images)
    exact = FeatureCache(of_float32, run.records["dev"], fingerprint, cache.shape).read(
        np.arange(len(images))
    )
    assert not np.array_equal(cached, exact)
    np.testing.assert_allclose(cached, exact, atol=0.03 * exact.max())


def test_attention_of_the_same_images_is_logged_after_each_epoch(tiny_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sat_tf.inspection import PLUGIN_NAME

    events = EventAccumulator(str(tiny_run.workdir / "tensorboard"), {"tensors": 0}).Reload()
    images = events.summary_metadata
    records = load_splits(Config.load(tiny_run.workdir).data, ("dev",))["dev"]
    objects = {record.image_id: record.objects.objects for record in records}
    logged = [tag for tag, data in images.items() if data.plugin_data.plugin_name == PLUGIN_NAME]
    assert len(logged) == 4  # all of the validation split, which has fewer than eight
    for tag in logged:
        documents = [json.loads(event.tensor_proto.string_val[0]) for event in events.Tensors(tag)]
        assert [event.step for event in events.Tensors(tag)] == [3, 6]
        assert [document["image_id"] for document in documents] == [tag] * 2
        assert documents[0]["captions"] != documents[1]["captions"]
        shown = [(one["name"], tuple(one["box"])) for one in documents[0]["objects"]]
        assert shown == list(objects[tag])
    assert {"words/bleu_4", "attention/entropy"} <= set(images)
