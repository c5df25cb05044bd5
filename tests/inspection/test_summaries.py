"""Summaries: what TensorBoard reads back is what was written."""

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from attention_logs import caption, inspection
from tensorboard.backend.event_processing.event_accumulator import (
    DEFAULT_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.plugins.image.metadata import PLUGIN_NAME as IMAGES
from tensorboard.util.tensor_util import make_ndarray

from sat_tf.captioning import Attention
from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.summaries import means, safe_tag, write_inspection, write_means, write_strip


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
    assert tag == "attention/a.jpg"
    width, height, png = make_ndarray(events.Tensors(tag)[0].tensor_proto).tolist()
    assert (width, height) == (b"9", b"6")
    np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), strip)


def test_means_are_of_the_words_of_the_best_captions():
    spread = np.full((1, 4, 4), 1 / 16, np.float32)  # an entropy of log 16
    wide = dataclasses.replace(
        caption(["a"], [0]), attention=(Attention(spread, np.array([0.9], np.float32)),)
    )
    other = caption(["x"], [0], beta=0.0)
    both = [
        dataclasses.replace(inspection("a", ["a"], [0]), captions=[wide, other]),
        inspection("b", ["two", "words"], [1, 2]),
    ]
    found = means(both)
    assert found["attention/beta"] == pytest.approx((0.9 + 0.5 + 0.5) / 3)
    assert found["attention/entropy"] == pytest.approx(math.log(16) / 3, rel=1e-5)


def test_without_words_there_are_no_means(read):
    empty = dataclasses.replace(inspection("a", ["a"], [0]), captions=[])
    assert means([empty]) == {} == means([])
    assert read(lambda: write_means([empty], 1)).Tags()["tensors"] == []


def test_means_are_scalars(read):
    events = read(lambda: write_means([inspection("a", ["a"], [0])], 30))
    (event,) = events.Tensors("attention/beta")
    assert event.step == 30
    assert make_ndarray(event.tensor_proto) == pytest.approx(0.5)
    assert events.PluginTagToContent("scalars").keys() == {"attention/beta", "attention/entropy"}
