"""The run that was trained on coloured squares, and copies of it to plant faults in."""

import shutil

import pytest

from sat_tf.config import Config
from sat_tf.doctor.run_context import RunContext


@pytest.fixture(scope="session")
def context(squares):
    """The run without faults, loaded and traced once per session."""
    return RunContext(squares / "run", Config.load(squares / "run"))


@pytest.fixture
def weights(context):
    """The weights of `context` by path, to plant faults in; they are restored afterwards."""
    variables = {weight.path: weight for weight in context.run.model.weights}
    values = {path: weight.numpy() for path, weight in variables.items()}
    evaluation = context.__dict__.pop("evaluation", None)
    yield variables
    for path, value in values.items():
        variables[path].assign(value)
    context.__dict__.pop("evaluation", None)
    if evaluation:
        context.__dict__["evaluation"] = evaluation


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
