"""Images that can't be read, from the start of a run to its evaluation."""

import types

import numpy as np
import pytest
import tensorflow as tf
from coloured_squares import red_encoder, squares_settings, write_squares

from sat_tf import evaluator
from sat_tf.captioner import Captioner, Run
from sat_tf.config import override
from sat_tf.data.records import Record
from sat_tf.data.unreadable import write_left_out
from sat_tf.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.training import initialize
from sat_tf.training.initialize import readable_images
from sat_tf.training.train import train_and_evaluate


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Eleven images; one of each split is a web page, one is cut off where decoding alone tells."""
    folder = write_squares(tmp_path_factory.mktemp("squares"), train=8, dev=3)
    red_encoder(folder / "encoder.keras")
    for name in ("001.png", "009.png"):
        (folder / name).write_bytes(b"<html>404</html>")
    whole = (folder / "003.png").read_bytes()
    (folder / "003.png").write_bytes(whole[:60] + whole[-12:])
    return folder


def test_all_splits_are_checked_before_anything_is_written(squares, tmp_path):
    with pytest.raises(UserError) as caught:
        train_and_evaluate(squares_settings(squares), tmp_path / "run")
    assert "001.png: is a web page" in str(caught.value)
    assert "009.png: is a web page" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_does_without_the_same_images(squares, tmp_path, monkeypatch):
    config = squares_settings(squares, skip_unreadable=True)
    records = load_splits(config.data, ("train", "dev"))
    kept, left_out = readable_images(config, tmp_path, records)
    assert left_out == {"train": ["001.png", "003.png"], "dev": ["009.png"]}
    write_left_out(tmp_path, left_out)
    monkeypatch.setattr(initialize, "has_state", lambda path: True)
    content = {name: (squares / name).read_bytes() for name in ("001.png", "002.png")}
    try:
        # Repaired, but not a part of the run.
        (squares / "001.png").write_bytes(content["002.png"])
        assert readable_images(config, tmp_path, records) == (kept, left_out)
        # A part of the run that can't be read any more.
        (squares / "002.png").write_bytes(b"")
        with pytest.raises(UserError, match=r"002\.png: is empty\nrepair them"):
            readable_images(config, tmp_path, records)
    finally:
        for name, data in content.items():
            (squares / name).write_bytes(data)


@pytest.fixture
def evaluated(squares, monkeypatch):
    """Evaluate a split of a run without a model; return what is evaluated."""
    found = {}

    class Stub:
        def __init__(self, models, vocabulary, decoding, images, known):
            found["known"] = known

        def evaluate(self, records, *_):
            found["records"] = [record.image_id for record in records]

    monkeypatch.setattr(evaluator, "Evaluator", Stub)
    monkeypatch.setattr("sat_tf.metrics.text.training_captions", len)

    def evaluate(split, left_out, **changes):
        config = squares_settings(squares, cache_features=False, **changes)
        run = Run(config, None, types.SimpleNamespace(encoder=None), left_out)
        stub = types.SimpleNamespace(config=config, runs=[run], models=None, vocabulary=None)
        Captioner.evaluate(stub, split)
        return found

    return evaluate


def test_a_finished_run_is_evaluated_without_them(evaluated):
    """And novelty is that of the captions it was trained on."""
    found = evaluated("dev", {"train": ["000.png", "001.png"], "dev": ["009.png", "010.png"]})
    assert found == {"known": 6, "records": ["008.png"]}


def test_an_evaluation_leaves_out_what_decoding_alone_tells(evaluated):
    """A run that was trained with all its images; they were damaged since."""
    found = evaluated("train", {}, skip_unreadable=True)
    assert found["records"] == ["000.png", "002.png", "004.png", "005.png", "006.png", "007.png"]


def test_a_new_run_is_checked_again(tmp_path):
    """A folder without a state is no run yet, and its list no promise."""
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(np.zeros([4, 4, 3], np.uint8)).numpy())
    record = Record("a.png", str(tmp_path / "a.png"), ("black",))
    (tmp_path / "left_out_images.json").write_text('{"train": ["a.png"]}')
    config = override(squares_settings(tmp_path), skip_unreadable=True)
    kept, left_out = readable_images(config, tmp_path, {"train": [record]})
    assert (kept, left_out) == ({"train": (record,)}, {})
