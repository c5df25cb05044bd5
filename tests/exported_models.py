"""A run to export, and captions of the export in this process, which has TensorFlow already."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from tiny_run import tiny_config

from sat_tf.captioner import Captioner, Run
from sat_tf.config import DataConfig
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import build_encoder
from sat_tf.vocabulary import END, SPECIAL, Vocabulary


def caption_files(folder, files):
    """Return what `sat_tf.serving.check_export` writes, for the bytes of image files."""
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    outputs = serve(image_bytes=tf.constant(files))
    return {
        "captions": outputs["captions"][:, 0].numpy().astype(np.bytes_),
        "scores": outputs["scores"][:, 0].numpy(),
        "decoded": outputs["decoded"].numpy(),
        "seconds": np.zeros(2),
    }


def random_captioner(folder):
    """A run of random weights, so large that captions depend on the image."""
    # Images are cropped, so that attention does not cover all of them. The data are not there.
    sizes = {"embedding_size": 64, "hidden_size": 64}  # most of an export is weights
    config = tiny_config(folder, resize="crop", shorter_side=60, beam_size=2, **sizes)
    config = dataclasses.replace(config, data=DataConfig(dataset="flickr8k", data_dir="none"))
    words = (*SPECIAL, *(f"word{number}" for number in range(9)), "café")
    keras.utils.set_random_seed(1)
    encoder = build_encoder(config.encoder, config.images.image_size)
    model = CaptionModel(encoder, config.decoder, len(words))
    for weight in model.decoder.weights:
        deviation = 1.5 / np.sqrt(weight.shape[0]) if len(weight.shape) == 2 else 0.5
        values = tf.random.stateless_normal(weight.shape, [3, len(weight.path)])
        weight.assign(deviation * values)
    bias = model.decoder.deep_output.output_projection.bias
    bias.assign(bias + 1.5 * tf.one_hot(END, len(words)))
    return Captioner(Run(config, Vocabulary(words, [0] * len(words)), model))
