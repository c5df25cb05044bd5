"""A run that trains in seconds, with a trainable encoder of two convolutions."""

import json
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import Config, from_flat
from sat_tf.model.weights import newest_checkpoint
from sat_tf.training import train as training
from sat_tf.training.checkpoints import Checkpoints
from sat_tf.workers import ALONE

IMAGE_SIZE = 48


def tiny_encoder(folder: Path) -> Path:
    """An untrained network from 48 x 48 pixels to 6 x 6 x 5, with batch normalisation."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / "tiny_encoder.keras"
    if not path.exists():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        keras.Sequential(
            [
                keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3)),
                layers.Rescaling(1 / 127.5, offset=-1),
                layers.Conv2D(4, 4, strides=4, activation="relu", name="conv1"),
                layers.Conv2D(5, 2, strides=2, use_bias=False, name="conv2"),
                layers.BatchNormalization(name="norm2"),
                layers.ReLU(name="relu2"),
            ]
        ).save(path)
    return path


def tiny_config(data_dir: Path, **changes) -> Config:
    """Twelve scenes, three minibatches an epoch, two epochs; `changes` are settings by name."""
    values = {
        "dataset": "shapes",
        "data_dir": str(data_dir),
        "shapes_train": 12,
        "shapes_dev": 4,
        "shapes_test": 4,
        "shapes_size": IMAGE_SIZE,
        "image_size": IMAGE_SIZE,
        "resize": "stretch",
        "encoder": str(tiny_encoder(data_dir)),
        "preprocessing": "none",
        "finetune_from": "all",
        "cache_features": False,
        "embedding_size": 8,
        "hidden_size": 9,
        "attention_size": 7,
        "batch_size": 20,
        "batch_by": "image",
        "learning_rate": 0.01,
        "max_epochs": 2,
        "max_length": 8,
        "log_captions": 1,
        "log_attention": 0,
    }
    return from_flat({**values, **changes})


class ObservedRun(NamedTuple):
    """A call of `train_and_evaluate`.

    workdir: of the run.
    finished: what it returned.
    losses: negative log-likelihood of each step.
    saved_at: the steps after which the state was saved.
    killed: `copy_to`.
    """

    workdir: Path
    finished: bool
    losses: list[float]
    saved_at: list[int]
    killed: Path | None


def train_observed(
    config,
    workdir,
    interrupt_after=None,
    spoil_at=None,
    copy_to=None,
    eager=False,
    number=signal.SIGINT,
    workers=ALONE,
) -> ObservedRun:
    """Train without Java; send a signal after a step, or make the loss of a step NaN.

    Args:
      config: of the run.
      workdir: of the run.
      interrupt_after: this many steps of this call.
      spoil_at: this step of this call.
      copy_to: where the folder is copied when the state is first saved, for a test that goes on
        as if the run had been killed then.
      eager: whether steps have no graph; few steps take less time than tracing one.
      number: of the signal.
      workers: see `train_and_evaluate`.
    """
    losses: list[float] = []
    saved_at: list[int] = []
    make_train_step, save = training.make_train_step, Checkpoints.save

    def observed_step(*args):
        train_step = make_train_step(*args)
        train_step = train_step.python_function if eager else train_step

        def step(batch):
            sums = train_step(batch)
            losses.append(float(sums.get("nll", np.nan)))
            if len(losses) == interrupt_after:
                signal.raise_signal(number)
            return {**sums, "nll": tf.constant(np.nan)} if len(losses) == spoil_at else sums

        return step

    def observed_save(self, progress):
        saved_at.append(progress.total_steps)
        save(self, progress)
        if copy_to and len(saved_at) == 1:
            shutil.copytree(workdir, copy_to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setattr(training, "make_train_step", observed_step)
        patch.setattr(Checkpoints, "save", observed_save)
        finished = training.train_and_evaluate(config, workdir, workers=workers)
    return ObservedRun(Path(workdir), finished, losses, saved_at, copy_to)


def saved_state(workdir):
    """The tensors of a run's last checkpoint; without its history, which has seconds."""
    reader = tf.train.load_checkpoint(newest_checkpoint(workdir / "checkpoints"))
    # Two files of one encoder differ by the time at which they are written.
    left_out = ("_CHECKPOINTABLE_OBJECT_GRAPH", "progress/", "save_counter/", "provenance/")
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(left_out)
    }


def assert_equal_states(workdir, other):
    found, expected = saved_state(workdir), saved_state(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def metrics_without_seconds(workdir):
    return [
        {name: value for name, value in json.loads(line).items() if "seconds" not in name}
        for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
