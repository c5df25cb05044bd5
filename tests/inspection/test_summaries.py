"""TensorBoard summaries: what is read back equals what was written."""

import json

import numpy as np
import pytest
import tensorflow as tf
from attention_logs import make_record
from tensorboard.backend.event_processing.event_accumulator import (
    DEFAULT_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.plugins.image.metadata import PLUGIN_NAME as IMAGES
from tensorboard.util.tensor_util import make_ndarray

from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.figures import render
from sat_tf.inspection.summaries import safe_tag, write_document, write_figure, write_scores


@pytest.fixture(name="read")
def read_fixture(tmp_path):
    """Return a function that calls another to write, and reads the events as TensorBoard does."""

    def read(write) -> EventAccumulator:
        writer = tf.summary.create_file_writer(str(tmp_path))
        with writer.as_default():
            write()
        writer.close()
        return EventAccumulator(str(tmp_path), DEFAULT_SIZE_GUIDANCE | {"tensors": 0}).Reload()

    return read


def test_write_document_round_trip(read):
    record = make_record("dir/a.jpg", ["a", "ring"], [3, 12])
    events = read(lambda: write_document(record, 70))
    assert events.PluginTagToContent(PLUGIN_NAME).keys() == {"dir/a.jpg"}
    assert events.SummaryMetadata("dir/a.jpg").data_class == 2
    (event,) = events.Tensors("dir/a.jpg")
    assert event.step == 70
    assert json.loads(make_ndarray(event.tensor_proto).item()) == record.document()


def test_write_document_escapes_undecodable_names(read):
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    assert safe_tag(name) == r"caf\udce9.jpg"
    assert safe_tag("café/<b>.jpg") == "café/<b>.jpg"
    events = read(lambda: write_document(make_record(name, ["a"], [0]), 1))
    (tag,) = events.Tags()["tensors"]
    document = json.loads(make_ndarray(events.Tensors(tag)[0].tensor_proto).item())
    assert document["image_id"] == name


def test_write_figure_is_an_image(read):
    record = make_record("a.jpg", ["a", "ring"], [3, 12])
    events = read(lambda: write_figure(record, 5))
    (tag,) = events.PluginTagToContent(IMAGES)
    assert tag == "attention_figures/a.jpg"
    expected = render(record.figure())
    width, height, png = make_ndarray(events.Tensors(tag)[0].tensor_proto).tolist()
    assert (int(height), int(width)) == expected.shape[:2]
    np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), expected)


def test_write_scores_groups_curves(read):
    tags = {
        "loss": "training/loss",
        "perplexity": "words/perplexity",
        "bleu_4_no_bp": "words/bleu_4_no_bp",
        "state_sensitivity": "attention/state_sensitivity",
        "attention_correctness": "grounding/correctness",
        "correctness_uniform": "grounding/correctness_uniform",
        "beta_content": "attention/beta_content",
        "true_captions": "truth/true_captions",
        "shuffled_true_captions": "truth/shuffled_true_captions",
    }
    scores = {name: index / 8 for index, name in enumerate(tags)}
    events = read(lambda: write_scores(scores, 30))
    assert events.PluginTagToContent("scalars").keys() == set(tags.values())
    for name, tag in tags.items():
        (event,) = events.Tensors(tag)
        assert event.step == 30
        assert make_ndarray(event.tensor_proto) == scores[name]
