"""A run on coloured squares, and copies of it to plant faults in."""

import shutil

import pytest
from coloured_squares import red_encoder, squares_settings, write_squares

from sat_tf.training.loop import train


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A folder with images, captions, an encoder and a run that learned from them."""
    folder = write_squares(tmp_path_factory.mktemp("squares"))
    red_encoder(folder / "encoder.keras")
    assert train(squares_settings(folder), folder / "run")
    return folder


@pytest.fixture
def run(squares, tmp_path):
    """A copy of the run, to plant faults in."""
    shutil.copytree(squares / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photographs(squares, tmp_path):
    """A copy of the images and captions, to plant faults in."""
    folder = tmp_path / "photographs"
    shutil.copytree(squares, folder, ignore=shutil.ignore_patterns("run", "features"))
    return folder
