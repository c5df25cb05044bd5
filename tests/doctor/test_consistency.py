"""Parts of a run, and data, that are not those that it was trained with."""

import shutil

import numpy as np
from planted_faults import assert_fault, change_weights, find, give_encoder, network_of, rewrite

from sat_tf.config import Config
from sat_tf.doctor import run_context
from sat_tf.doctor.results import Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.doctor.runner import examine
from sat_tf.vocabulary import Vocabulary


def test_another_runs_vocabulary(run):
    path = run / "vocabulary.json"
    own = Vocabulary.load(path)
    Vocabulary((*own.words[:3], *reversed(own.words[3:])), own.counts).save(path)
    found = dict(examine(RunContext(run, Config.load(run))))
    assert_fault(found.pop("files of the run"), "another vocabulary")
    assert {one.verdict for one in found.values()} == {Status.NOT_CHECKED}


def test_captions_that_are_not_as_they_should_be(run, photographs):
    with open(photographs / "captions.csv", "a") as file:
        file.write("none.png,a dog,train\n")
    assert_fault(find("data set", run, data_dir=str(photographs)), "captions.csv:182", "none.png")


def test_training_captions_of_other_words(run, photographs):
    rewrite(photographs, lambda captions: [text.replace("one", "patch") for text in captions])
    finding = find("vocabulary", run, data_dir=str(photographs))
    assert_fault(finding, "not in it (one)", "new (patch)")


def test_an_encoder_of_other_weights(image_batch, run):
    network = network_of(image_batch)
    layer = network.get_layer("shades")
    layer.set_weights([1.1 * weight for weight in layer.get_weights()])
    give_encoder(run, network, "tf")
    assert_fault(find("encoder", run), "root mean square")
    assert find("files of the run", run).verdict is Status.HEALTHY


def test_a_cache_of_other_images(image_batch, run, tmp_path):
    """Its index and its checksums are as they should be; the images' order is not."""
    cache = tmp_path / "features"
    shutil.copytree(image_batch / "features", cache)
    (folder,) = cache.glob("*/train")
    (path,) = folder.glob("shard-*.npy")
    np.save(path, np.load(path)[::-1])
    finding = find("feature cache", run, cache_dir=str(cache))
    assert_fault(finding, "other annotations")
    assert f"delete {folder}" in finding.advice
    shard = np.load(path)
    shard["checksum"][0] += 1
    np.save(path, shard)
    finding = find("feature cache", run, cache_dir=str(cache))
    assert_fault(finding, "features of image 0 are damaged")
    assert "run the same command" not in finding.evidence
    path.write_bytes(path.read_bytes()[:-40])
    assert_fault(find("feature cache", run, cache_dir=str(cache)), "1 of 1 shards are missing")
    # What needs annotations goes on without it.
    assert find("attention on h", run, cache_dir=str(cache)).verdict is Status.HEALTHY
    shutil.rmtree(cache)
    empty = find("feature cache", run, cache_dir=str(cache))
    assert empty.verdict is Status.NOT_NEEDED


def test_a_cache_of_an_image_that_was_replaced(run, photographs):
    """Among those that are not looked at, and of the same number: its size tells."""
    (photographs / "001.png").write_bytes((photographs / "002.png").read_bytes() + b" ")
    finding = find("feature cache", run, data_dir=str(photographs))
    assert_fault(finding, "144 images", "which are not these 144")


def test_weights_that_are_not_what_they_were(run):
    def blur(weights):
        kernel = weights["decoder/deep_output/words/kernel"]
        kernel.assign(0.5 * kernel)

    change_weights(run, blur)
    assert_fault(find("perplexity", run), "when the weights were saved, after epoch 10")


def test_weights_that_are_no_numbers(run):
    def spoil(weights):
        kernel = weights["decoder/deep_output/words/kernel"]
        kernel.assign(np.nan * kernel)

    change_weights(run, spoil)
    assert_fault(find("files of the run", run), "decoder/deep_output/words/kernel")


def test_a_scale_that_is_no_scale(run):
    change_weights(run, lambda weights: weights["locations/scale"].assign(0.0))
    assert_fault(find("encoder", run), "0 when the run began")


def test_a_training_that_stopped_before_it_had_weights_to_keep(run):
    shutil.rmtree(run / "best")
    assert_fault(find("files of the run", run), "best: holds no checkpoint")
    (run / "metrics.jsonl").unlink()
    finding = find("files of the run", run)
    assert_fault(finding, "stopped before its first validation")
    assert "go on" in finding.advice


def test_perplexity_of_a_part_tells_that_of_the_whole(run, monkeypatch):
    monkeypatch.setattr(run_context, "CAPTIONED", 10)
    finding = find("perplexity", run)
    assert finding.verdict is Status.HEALTHY
    assert "on 10 validation images" in finding.evidence
    assert finding.figures["low"] < finding.figures["now"] < finding.figures["high"]
