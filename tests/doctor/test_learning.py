"""Runs that learned, or say, what they should not."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from planted_faults import FIND, assert_fault, change_weights, find, keep_best_epoch, rewrite

from sat_tf.config import Config
from sat_tf.doctor.results import Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.vocabulary import END


@pytest.mark.parametrize(
    ("curves", "advice"),
    [
        ({"loss": [3, 2, 1, 1.1], "perplexity": [9, 4, 4.1, 5]}, ""),
        ({"loss": [3, 2, 1, 0.5], "perplexity": [4, 3, 2, 2.7]}, "--dropout"),
        ({"loss": [3, 2, 1], "perplexity": [2, 3, 4]}, "--dropout"),
        ({"loss": [4, 3, 2, 1], "perplexity": [9, 2, 2.3, 2]}, "--dropout"),
        ({"loss": [3, 2, np.nan], "perplexity": [4, 3, 2]}, "--dropout"),
        ({"loss": [3, 1, 2.5], "perplexity": [4, 4, 4]}, "--learning_rate"),
    ],
    ids=["healthy", "left behind", "from the start on", "chosen late", "no number", "blows up"],
)
def test_curves_that_come_apart(run, curves, advice):
    entries = [
        dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    keep_best_epoch(run, 3)
    finding = find("training curves", run)
    assert (finding.verdict is Status.FAULT) == bool(advice)
    assert advice in finding.advice


def test_words_that_the_vocabulary_lacks(run, photographs):
    rewrite(photographs, lambda captions: [text.replace("square", "box") for text in captions])
    finding = find("unknown words", run, data_dir=str(photographs))
    assert_fault(finding, "12.5% of train")
    assert "--vocabulary_size" in finding.advice


def test_dead_attention(run):
    def kill(weights):
        kernel = weights["decoder/lstm_0/attention/query_projection/kernel"]
        kernel.assign(tf.zeros_like(kernel))

    change_weights(run, kill)
    assert_fault(find("attention on h", run), "another caption's h 0.0 %")


def test_one_caption_for_all(run):
    def blind(weights):
        weights["locations/scale"].assign(1e6)

    change_weights(run, blind)
    assert_fault(find("captions alike", run), "3% of 36 captions differ", "100.0%")


def test_captions_that_do_not_end(run):
    def go_on(weights):
        bias = weights["decoder/deep_output/words/bias"]
        bias.assign(bias - 1e3 * tf.one_hot(END, bias.shape[0]))

    change_weights(run, go_on)
    assert_fault(find("captions cut", run), "100.0% are cut at --max_length=12")


def test_limits_that_captions_exceed(run):
    finding = find("captions cut", run, max_length=7)
    assert_fault(finding, "cut at --max_length=7", "100.0% are longer")
    assert finding.figures["cut"] > 0.5


def test_captions_left_out_of_the_training(run):
    config = Config.load(run)
    data = dataclasses.replace(config.data, max_caption_words=7)
    finding = FIND["captions cut"](RunContext(run, dataclasses.replace(config, data=data)))
    assert_fault(finding, "100.0% left out by --max_caption_words=7")
    assert finding.figures["cut"] == 0


def test_captions_that_slipped_by_a_line(run, photographs):
    rewrite(photographs, lambda captions: captions[1:] + captions[:1])
    assert_fault(find("images and references", run, data_dir=str(photographs)), "of train", "dev")


@pytest.mark.parametrize("slipped", [False, True])
def test_captions_of_one_place_that_slipped(run, photographs, slipped):
    """Where lines slip by one, the last caption of each image is the next image's."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    last = captions[1:] + captions[:1] if slipped else captions
    each = zip(names, captions, captions, last, splits, strict=True)
    lines = [f"{name},{one},{split}" for name, *three, split in each for one in three]
    path.write_text("\n".join([head, *lines]))
    finding = find("images and references", run, data_dir=str(photographs))
    assert max(finding.figures["train"], finding.figures["dev"]) < 0.25
    if slipped:
        assert_fault(finding, "counting caption 3 of an image alone")
    else:
        assert finding.verdict is Status.HEALTHY
