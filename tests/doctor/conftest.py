"""A run trained on coloured squares, once per session, and copies of it to plant faults in."""

import shutil

import pytest
from coloured_squares import red_encoder, squares_settings, write_squares

from sat_tf.config import Config
from sat_tf.doctor.run_context import RunContext
from sat_tf.training.train import train_and_evaluate


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A folder with images, captions, an encoder, a feature cache and a trained run."""
    folder = write_squares(tmp_path_factory.mktemp("squares"))
    red_encoder(folder / "encoder.keras")
    assert train_and_evaluate(squares_settings(folder), folder / "run")
    return folder


@pytest.fixture(scope="session")
def context(squares):
    """The run without faults, loaded and traced once per session."""
    return RunContext(squares / "run", Config.load(squares / "run"))


@pytest.fixture
def weights(context):
    """The weights of `context` by path, to plant faults in; they are restored afterwards."""
    variables = {weight.path: weight for weight in context.run.model.weights}
    values = {path: weight.numpy() for path, weight in variables.items()}
    computed = {name: context.__dict__.pop(name, None) for name in ("evaluation", "falls")}
    yield variables
    for path, value in values.items():
        variables[path].assign(value)
    for name, value in computed.items():
        context.__dict__.pop(name, None)
        if value:
            context.__dict__[name] = value


@pytest.fixture
def run(squares, tmp_path):
    """A copy of the run's folder, to plant faults in."""
    shutil.copytree(squares / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photographs(squares, tmp_path):
    """A copy of the images and captions, to plant faults in."""
    folder = tmp_path / "photographs"
    shutil.copytree(squares, folder, ignore=shutil.ignore_patterns("run", "features"))
    return folder
