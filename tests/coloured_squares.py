"""Images of two squares, each a shade of red, and an encoder of red: learned in seconds.

The encoder takes RGB pixels of -1 to 1. If red and blue are swapped, its features are constant.
"""

import itertools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import Config, from_flat

SIZE, CELL = 32, 4
STEP = 39  # from shade to shade
SHADES = {"black": 60, "dark": 99, "dim": 138, "plain": 177, "bright": 216, "glowing": 255}
BACKGROUND = 10


def _draw(left: str, right: str, random: np.random.Generator) -> np.ndarray:
    """Return pixels with a square in each half: uint8 [32, 32, 3]."""
    pixels = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    for shade, start in ((left, 0), (right, SIZE // 2)):
        top, across = CELL * random.integers(0, 5), start + CELL * random.integers(0, 2)
        pixels[top : top + 3 * CELL, across : across + 2 * CELL, :1] = SHADES[shade]
    return pixels


def write_squares(folder: Path, train: int = 144, dev: int = 36) -> Path:
    """Write images and captions.csv, in which each pair of shades is equally frequent."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = ["image,caption,split"]
    pairs = list(itertools.product(SHADES, SHADES))
    for number in range(train + dev):
        if number % len(pairs) == 0:
            random.shuffle(pairs)
        left, right = pairs[number % len(pairs)]
        name, split = f"{number:03}.png", "train" if number < train else "dev"
        encoded = tf.io.encode_png(_draw(left, right, random)).numpy()
        (folder / name).write_bytes(encoded)
        rows.append(f"{name},a {left} square and then a {right} one,{split}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


def red_encoder(path: Path) -> Path:
    """Write a network from 32x32 pixels of -1 to 1 to 8x8 features, a channel for each shade.

    The channel of a shade is a triangular function of its red,
    relu(x - s + d) - 2 relu(x - s) + relu(x - s - d).
    """
    count, step = len(SHADES), STEP / 127.5
    knots = (np.arange(count + 2) * STEP + min(SHADES.values()) - STEP) / 127.5 - 1
    rises = np.zeros((1, 1, 3, count + 2))
    rises[:, :, 0] = 1 / step
    tents = np.zeros((1, 1, count + 2, count))
    for shade in range(count):
        tents[0, 0, shade : shade + 3, shade] = 1, -2, 1
    pixels = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.AveragePooling2D(CELL)(pixels)
    above = keras.layers.Conv2D(count + 2, 1, activation="relu", name="above")(pooled)
    shades = keras.layers.Conv2D(count, 1, activation="relu", name="shades", use_bias=False)(above)
    model = keras.Model(pixels, shades)
    model.get_layer("above").set_weights([rises, -knots / step])
    model.get_layer("shades").set_weights([tents])
    model.save(path)
    return path


def squares_settings(folder: Path, **changes) -> Config:
    """Return the config of a run on the squares and the encoder in a folder."""
    values = {
        "dataset": "files",
        "data_dir": str(folder),
        "image_size": SIZE,
        "resize": "stretch",
        "encoder": str(folder / "encoder.keras"),
        "preprocessing": "tf",
        "cache_dir": str(folder / "features"),
        "position": "coordinates",
        "embedding_size": 32,
        "hidden_size": 64,
        "attention_size": 32,
        "dropout": 0.0,
        "doubly_stochastic_weight": 0.01,
        "batch_size": 8,
        "learning_rate": 0.01,
        "learning_rate_schedule": "cosine",
        "max_epochs": 5,
        "patience": 0,
        "monitor": "perplexity",
        "max_length": 12,
        "log_attention": 0,
        "log_captions": 1,
    }
    return from_flat({**values, **changes})
