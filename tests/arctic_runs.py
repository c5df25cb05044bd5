"""Random models of arctic-captions as models of this package, with an encoder any of them fits."""

import functools
from pathlib import Path

import arctic_models
import keras

from sat_tf.config import Config, from_flat
from sat_tf.importers.arctic_files import ArcticModel, ArcticOptions
from sat_tf.importers.arctic_model import build_caption_model, decoder_settings
from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import SPECIAL, Vocabulary

SIDE, GRID = 6, (3, 2)  # of the encoder's image and its features


@functools.cache
def make_encoder(size: int) -> keras.Model:
    """An encoder of one convolution, whose features have `size` channels."""
    keras.utils.set_random_seed(3)
    strides = (SIDE // GRID[0], SIDE // GRID[1])
    pixels = keras.Input((SIDE, SIDE, 3))
    return keras.Model(pixels, keras.layers.Conv2D(size, strides, strides)(pixels))


def write_encoder(path: Path, size: int) -> Path:
    make_encoder(size).save(path)
    return path


def make_arctic_model(options: dict, words: tuple[str, ...] = arctic_models.WORDS) -> ArcticModel:
    """The model as it is read from its files."""
    checked = ArcticOptions(**{name: options[name] for name in ArcticOptions.__dataclass_fields__})
    entries = (*SPECIAL, *words)
    vocabulary = Vocabulary(entries, [0] * len(entries))
    return ArcticModel(checked, arctic_models.make_weights(options), vocabulary)


def make_caption_model(model: ArcticModel, null_location: bool = False) -> CaptionModel:
    encoder = make_encoder(model.options.ctx_dim)
    return build_caption_model(model, encoder, decoder_settings(model.options, null_location))


def given_settings(encoder: Path, **changes) -> Config:
    values = {
        "encoder": str(encoder),
        "preprocessing": "none",
        "image_size": SIDE,
        "cache_features": False,
    }
    return from_flat({**values, **changes})
