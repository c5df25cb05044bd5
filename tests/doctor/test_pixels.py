"""Pixels, channels and grids in another way than the encoder expects them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from planted_faults import FIND, assert_fault, change_images, find, give_encoder, network_of

from sat_tf.config import Config, EncoderConfig
from sat_tf.doctor.results import Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.model.encoder import resolve_encoder


def test_images_saved_as_0_to_1(run, photographs):
    for path in photographs.glob("*.png"):
        pixels = tf.io.decode_png(path.read_bytes())
        path.write_bytes(tf.io.encode_png(pixels // 255).numpy())
    finding = find("pixel range", run, data_dir=str(photographs))
    assert_fault(finding, "0 to 1", "black or blank")


def test_one_picture_for_all(run, photographs):
    change_images(photographs, lambda pixels: np.indices(pixels.shape).sum(0).astype(np.uint8))
    assert_fault(find("pixel range", run, data_dir=str(photographs)), "all show the same picture")


def test_pixels_of_another_range(image_batch, run):
    """The network takes -1 to 1 and is given 0 to 255: all it sees is saturated or nothing."""
    give_encoder(run, network_of(image_batch), "none")
    finding = find("pixel range", run)
    assert_fault(finding, "--preprocessing=none")
    assert "--preprocessing=tf" in finding.advice or "--preprocessing=torch" in finding.advice


@pytest.mark.parametrize(
    ("preprocessing", "checks"),
    [("tf", {"pixel range", "channel order"}), ("caffe", set()), ("auto", set())],
)
def test_what_imagenet_s_own_weights_were_trained_on_is_known(run, preprocessing, checks):
    config = Config.load(run)
    encoder = EncoderConfig(encoder="vgg16", preprocessing=preprocessing)
    resolved = resolve_encoder(encoder)
    patient = RunContext(run, dataclasses.replace(config, encoder=resolved))
    faults = {
        name
        for name in ("pixel range", "channel order")
        if FIND[name](patient).verdict is Status.FAULT
    }
    assert faults == checks


def test_red_and_blue_exchanged(image_batch, run):
    """A network that looks for red where it is given blue."""
    network = network_of(image_batch)
    kernel, bias = network.get_layer("above").get_weights()
    network.get_layer("above").set_weights([kernel[:, :, ::-1], bias])
    give_encoder(run, network, "tf")
    assert_fault(find("channel order", run), "sees RGB", "100% of 64 images")
    assert_fault(find("overfits 16 captions", run), "nats of each of 16 training captions (2.8 if")


def test_grey_images_do_not_tell_red_from_blue(run, photographs):
    change_images(photographs, lambda pixels: np.repeat(pixels[..., :1], 3, axis=2))
    assert find("channel order", run, data_dir=str(photographs)).verdict is Status.NOT_NEEDED


@pytest.mark.parametrize(
    "turn",
    [
        keras.layers.Permute((2, 1, 3)),
        lambda grid: keras.ops.flip(grid, axis=1),
        lambda grid: keras.ops.flip(grid, axis=2),
        # As who reshapes channels first without transposing them.
        lambda grid: keras.layers.Reshape(grid.shape[1:])(keras.layers.Permute((3, 1, 2))(grid)),
    ],
    ids=["transposed", "upside down", "mirrored", "channels first"],
)
def test_a_grid_in_another_order(image_batch, run, turn):
    network = network_of(image_batch)
    give_encoder(run, keras.Model(network.inputs, turn(network.outputs[0])), "tf")
    assert_fault(find("grid order", run), "of the side away")


def test_a_patch_is_seen_on_white(run, photographs):
    change_images(photographs, lambda pixels: np.where(pixels == 10, 255, pixels).astype(np.uint8))
    assert find("grid order", run, data_dir=str(photographs)).verdict is Status.HEALTHY


def test_two_captions_of_images_that_look_alike(image_batch, run, photographs):
    """A coin's nat, spread over eight words, is less than what a word may cost."""
    network = network_of(image_batch)
    layer = network.get_layer("shades")
    layer.set_weights([0 * weight for weight in layer.get_weights()])
    give_encoder(run, network, "tf")
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[:2], rows[-1]]))
    finding = find("overfits 16 captions", run, data_dir=str(photographs))
    assert_fault(finding, "nats of each of 2 training captions (0.7 if")
    assert finding.figures["nats_per_word"] < 0.1
