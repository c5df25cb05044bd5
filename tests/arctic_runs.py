"""Runs made of random models of arctic-captions, with an encoder that any such model can have."""

from pathlib import Path

import arctic_models
import keras

from sat_tf.captioner import Run
from sat_tf.config import Config, from_flat
from sat_tf.importers.arctic_files import read_arctic_model
from sat_tf.importers.arctic_run import write_run

SIDE, GRID = 6, (3, 2)  # of its image and its annotations


def write_encoder(path: Path, size: int) -> Path:
    """A network of one convolution that makes annotations of `size` numbers."""
    keras.utils.set_random_seed(3)
    strides = (SIDE // GRID[0], SIDE // GRID[1])
    pixels = keras.Input((SIDE, SIDE, 3))
    keras.Model(pixels, keras.layers.Conv2D(size, strides, strides)(pixels)).save(path)
    return path


def given_settings(encoder: Path, **changes) -> Config:
    values = {
        "encoder": str(encoder),
        "preprocessing": "none",
        "image_size": SIDE,
        "cache_features": False,
    }
    return from_flat({**values, **changes})


def import_model(folder: Path, options: dict, **changes) -> Run:
    """Writes a model into `folder`, imports it into `folder`/run, and reads that run."""
    paths = arctic_models.write_model(folder, options)
    encoder = write_encoder(folder / "encoder.keras", options["ctx_dim"])
    write_run(read_arctic_model(**paths), given_settings(encoder, **changes), folder / "run")
    return Run.load(folder / "run", Config.load(folder / "run"))
