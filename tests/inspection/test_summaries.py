"""Summaries: what TensorBoard reads back is what was written."""

import json

import numpy as np
import pytest
import tensorflow as tf
from attention_logs import inspection
from tensorboard.backend.event_processing.event_accumulator import (
    DEFAULT_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.plugins.image.metadata import PLUGIN_NAME as IMAGES
from tensorboard.util.tensor_util import make_ndarray

from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.summaries import safe_tag, write_inspection, write_scores, write_strip


@pytest.fixture(name="read")
def read_fixture(tmp_path):
    """Writes what a function writes, and returns its events as TensorBoard loads them."""

    def read(write) -> EventAccumulator:
        writer = tf.summary.create_file_writer(str(tmp_path))
        with writer.as_default():
            write()
        writer.close()
        return EventAccumulator(str(tmp_path), DEFAULT_SIZE_GUIDANCE | {"tensors": 0}).Reload()

    return read


def test_a_document_comes_back(read):
    one = inspection("dir/a.jpg", ["a", "ring"], [3, 12])
    events = read(lambda: write_inspection(one, 70))
    assert events.PluginTagToContent(PLUGIN_NAME).keys() == {"dir/a.jpg"}
    assert events.SummaryMetadata("dir/a.jpg").data_class == 2
    (event,) = events.Tensors("dir/a.jpg")
    assert event.step == 70
    assert json.loads(make_ndarray(event.tensor_proto).item()) == one.document()


def test_a_name_that_is_no_unicode_is_written_as_escapes(read):
    odd = b"caf\xe9.jpg".decode(errors="surrogateescape")
    assert safe_tag(odd) == r"caf\udce9.jpg"
    assert safe_tag("café/<b>.jpg") == "café/<b>.jpg"
    events = read(lambda: write_inspection(inspection(odd, ["a"], [0]), 1))
    (tag,) = events.Tags()["tensors"]
    document = json.loads(make_ndarray(events.Tensors(tag)[0].tensor_proto).item())
    assert document["image_id"] == odd


def test_a_strip_is_an_image(read):
    strip = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    events = read(lambda: write_strip("a.jpg", strip, 5))
    (tag,) = events.PluginTagToContent(IMAGES)
    assert tag == "strips/a.jpg"
    width, height, png = make_ndarray(events.Tensors(tag)[0].tensor_proto).tolist()
    assert (width, height) == (b"9", b"6")
    np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), strip)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("loss", "training/loss"),
        ("perplexity", "words/perplexity"),
        ("bleu_4_no_bp", "words/bleu_4_no_bp"),
        ("state_sensitivity", "attention/dependence"),
        ("attention_correctness", "attention/correctness"),
        ("correctness_uniform", "attention/correctness_uniform"),
        ("beta_content", "attention/beta_content"),
        ("true_captions", "truth/true_captions"),
        ("shuffled_true_captions", "truth/shuffled_true_captions"),
    ],
)
def test_a_score_is_a_curve_of_its_group(read, name, tag):
    events = read(lambda: write_scores({name: 0.5}, 30))
    (event,) = events.Tensors(tag)
    assert event.step == 30
    assert make_ndarray(event.tensor_proto) == pytest.approx(0.5)
    assert events.PluginTagToContent("scalars").keys() == {tag}
