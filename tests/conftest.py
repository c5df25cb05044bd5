"""Fixtures of more than one file."""

import gc
import os

import pytest

# As the commands set it; TensorFlow reads it when a test first imports it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_collection_finish():
    """Modules are no garbage: to look for it in them takes a tenth of the tests' time."""
    gc.freeze()


@pytest.fixture
def without_java(monkeypatch):
    """METEOR, whose Java takes seconds to start, is left out of the scores: no program is found."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory):
    """The scenes and the encoder of `tiny_config`, rendered once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny_run(tiny_data_dir, tmp_path_factory):
    """A finished run, with what each of its steps did; see `tiny_run.train_observed`."""
    from tiny_run import tiny_config, train_observed

    workdir = tmp_path_factory.mktemp("finished") / "run"
    config = tiny_config(tiny_data_dir, log_attention=8, keep_checkpoints=True, save_freq=2)
    return train_observed(config, workdir, copy_to=workdir.with_name("killed"))
