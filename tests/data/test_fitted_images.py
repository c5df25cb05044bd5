"""From decoded pixels to the square that the encoder sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from image_files import PIXELS, encoded
from PIL import Image

from sat_tf.config import ImageConfig
from sat_tf.data.images import crop_box, decode_image, resize_and_crop
from sat_tf.model.encoder import Preprocessing


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (3000, 2), (20, 30), (256, 256), (300, 250)])
def test_every_size_becomes_the_square(shape, resize):
    pixels = tf.fill([*shape, 3], tf.constant(200, tf.uint8))
    fitted = resize_and_crop(pixels, ImageConfig(image_size=96, shorter_side=128, resize=resize))
    assert fitted.shape == (96, 96, 3)
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_the_longest_strip_is_not_enlarged_as_a_whole():
    """It would be 64 million pixels long."""
    strip = tf.fill([1, 500_000, 3], tf.constant(200, tf.uint8))
    fitted = resize_and_crop(strip, ImageConfig(image_size=96, shorter_side=128))
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_crop_takes_the_centre_after_resizing():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, 48:80] = 255
    fitted = resize_and_crop(
        tf.constant(marked), ImageConfig(image_size=32, shorter_side=32, resize="crop")
    ).numpy()
    assert fitted[:, 9:23].min() > 250
    assert fitted[:, :6].max() < 5
    assert fitted[:, 26:].max() < 5


def test_squash_keeps_the_whole_image():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, :64] = 255
    fitted = resize_and_crop(
        tf.constant(marked), ImageConfig(image_size=32, resize="stretch")
    ).numpy()
    assert fitted[:, :14].min() > 250
    assert fitted[:, 18:].max() < 5


def test_an_image_of_the_right_size_stays_as_it_is():
    fitted = resize_and_crop(
        tf.constant(PIXELS[:30, :30]), ImageConfig(image_size=30, resize="stretch")
    )
    np.testing.assert_array_equal(fitted, PIXELS[:30, :30])


def test_the_longer_side_is_rounded_to_the_nearest():
    noise = np.random.default_rng(0).integers(64, 192, [61, 97, 3], dtype=np.uint8)
    resized = tf.image.resize(noise, [28, 45], method="bicubic", antialias=True)  # 44.52
    fitted = resize_and_crop(tf.constant(noise), ImageConfig(image_size=24, shorter_side=28))
    np.testing.assert_allclose(fitted, resized[2:26, 10:34], atol=1e-3)


@pytest.mark.parametrize("shape", [(61, 97), (97, 61), (24, 150), (13, 9)])
def test_resizing_is_pillow_s_bicubic(shape):
    # Grays without extremes: Pillow clips and rounds between its two passes.
    noise = np.random.default_rng(0).integers(64, 192, [*shape, 3], dtype=np.uint8)
    config = ImageConfig(image_size=24, shorter_side=24, resize="stretch")
    fitted = resize_and_crop(tf.constant(noise), config)
    expected = Image.fromarray(noise).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.abs(fitted - np.asarray(expected, np.float32)).max() < 1.5


# image_size, shorter_side, resize
CROP, SQUASH = ImageConfig(24, "crop", 28), ImageConfig(24, "stretch", 28)


@pytest.mark.parametrize("settings", [CROP, SQUASH], ids=["crop", "stretch"])
@pytest.mark.parametrize(
    "shape", [(60, 90), (90, 60), (64, 64), (61, 97), (97, 61), (28, 28), (3000, 40), (40, 3000)]
)
def test_the_square_shows_the_covered_box_and_nothing_else(shape, config):
    top, left, bottom, right = crop_box(tf.constant(shape), config).numpy()
    y, x = ((np.arange(side) + 0.5) / side for side in shape)
    is_inside = ((top < y) & (y < bottom))[:, np.newaxis] & ((left < x) & (x < right))
    red, blue = [255, 0, 0], [0, 0, 255]
    marked = np.where(is_inside[..., np.newaxis], blue, red).astype(np.uint8)
    fitted = resize_and_crop(tf.constant(marked), config).numpy()
    assert np.abs(fitted[3:-3, 3:-3] - blue).max() < 4  # beyond the blur of the border
    assert fitted[..., 2].min() > 60  # half of a border's pixel, less what bicubic overshoots


@pytest.mark.parametrize("settings", [CROP, SQUASH], ids=["crop", "stretch"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "shape", [(60, 90), (61, 97), (97, 61), (13, 9), (3000, 1), (1, 3000), (3001, 40), (300, 37)]
)
def test_the_covered_box_is_where_the_square_lies(shape, axis, config):
    """Of a ramp along one side, the square's middle tells exactly what was covered."""
    ramp = (np.arange(shape[axis]) + 0.5) / shape[axis]
    image = np.broadcast_to(np.expand_dims(ramp, 1 - axis), shape)[..., np.newaxis]
    fitted = resize_and_crop(tf.constant(image.repeat(3, axis=-1), tf.float32), config)
    middle = np.arange(6, 18) + 0.5
    slope, start = np.polyfit(middle, np.moveaxis(fitted.numpy(), axis, 0)[6:18, 12, 0], 1)
    box = crop_box(tf.constant(shape), config).numpy()
    if shape[axis] == 1:
        np.testing.assert_allclose(box[axis::2], [2 / 28, 26 / 28] if config == CROP else [0, 1])
    else:
        a_tenth = 0.1 / shape[axis]
        np.testing.assert_allclose(box[axis::2], [start, start + 24 * slope], atol=a_tenth)


def test_the_covered_box_in_a_graph():
    graph = tf.function(
        lambda shape: (crop_box(shape, ImageConfig()), crop_box(shape, SQUASH)),
        input_signature=[tf.TensorSpec([2], tf.int32)],
    )
    cropped, squashed = graph([512, 1024])
    np.testing.assert_array_equal(cropped, np.float32([1 / 16, 9 / 32, 15 / 16, 23 / 32]))
    np.testing.assert_array_equal(squashed, [0, 0, 1, 1])


def test_a_long_strip_gives_its_middle():
    """It is cut before it is resized: the crop must be that of the whole strip."""
    strip = np.tile(np.arange(400) // 2, [4, 1])[..., np.newaxis].repeat(3, axis=-1)
    fitted = resize_and_crop(
        tf.constant(strip.astype(np.uint8)), ImageConfig(image_size=8, shorter_side=8)
    )
    resized = tf.image.resize(strip, [8, 800], method="bicubic", antialias=True)
    np.testing.assert_allclose(fitted, resized[:, 396:404], atol=1e-3)


def test_values_stay_within_those_of_pixels():
    noise = np.random.default_rng(0).choice([0, 255], [200, 300, 3]).astype(np.uint8)
    fitted = resize_and_crop(tf.constant(noise), ImageConfig(image_size=64, shorter_side=400))
    assert float(tf.reduce_min(fitted)) >= 0.0
    assert float(tf.reduce_max(fitted)) <= 255.0


def test_the_vgg_case_equals_keras():
    """One path from file to network: 256, 224, bicubic, then BGR less the means."""
    thumbnail = np.asarray(Image.fromarray(PIXELS).resize((320, 240), Image.Resampling.BICUBIC))
    fitted = resize_and_crop(decode_image(encoded("PNG", thumbnail)), ImageConfig())
    resized = tf.image.resize(thumbnail, [256, 341], method="bicubic", antialias=True)
    expected = np.clip(resized[16:240, 58:282], 0, 255)
    np.testing.assert_allclose(fitted, expected, atol=1e-3)
    np.testing.assert_allclose(
        Preprocessing("caffe")(fitted[tf.newaxis]),
        keras.applications.vgg16.preprocess_input(expected[np.newaxis].copy()),
        atol=1e-3,
    )
