"""A run on coloured squares, and copies of it to plant faults in."""

import shutil

import pytest
from coloured_squares import red_encoder, squares_settings, write_squares

from sat_tf.training.train import train


@pytest.fixture(scope="session")
def image_batch(tmp_path_factory):
    """A folder with images, captions, an encoder and a run that learned from them."""
    folder = write_squares(tmp_path_factory.mktemp("image_batch"))
    red_encoder(folder / "encoder.keras")
    assert train(squares_settings(folder), folder / "run")
    return folder


@pytest.fixture
def run(image_batch, tmp_path):
    """A copy of the run, to plant faults in."""
    shutil.copytree(image_batch / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photographs(image_batch, tmp_path):
    """A copy of the images and captions, to plant faults in."""
    folder = tmp_path / "photographs"
    shutil.copytree(image_batch, folder, ignore=shutil.ignore_patterns("run", "features"))
    return folder
