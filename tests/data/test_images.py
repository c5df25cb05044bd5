"""From the bytes of an image file to the square that the encoder sees."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from sat_tf.config import ImageSettings
from sat_tf.data.images import decode_image, exif_orientation, fit_image, read_image
from sat_tf.errors import UserError
from sat_tf.model.encoder import Preprocessing

# Smooth, so that JPEG changes little, and different in every direction.
_Y, _X = np.mgrid[0:30, 0:40]
PIXELS = np.stack([5 * _X, 7 * _Y, 2 * _X + 3 * _Y], axis=-1).clip(0, 255).astype(np.uint8)


def encoded(kind, image=PIXELS, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif(orientation, endian="<"):
    header = Image.Exif()
    header[0x010F] = "a maker"
    header[0x0112] = orientation
    header.endian = endian
    return header.tobytes()


@pytest.fixture(scope="module")
def decode():
    """In a graph, as in the pipeline and in an export."""
    return tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(decode, orientation, endian):
    jpeg = encoded("JPEG", quality=95, exif=exif(orientation, endian))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))))
    pixels = decode(jpeg).numpy()
    assert pixels.shape == upright.shape
    # Decoders round differently; turned another way the pictures differ by 80 on average.
    assert np.abs(pixels.astype(int) - upright).mean() < 3


def test_exif_after_other_segments_is_found():
    jpeg = encoded("JPEG", exif=exif(6))
    comment = b"\xff\xfe" + (300).to_bytes(2, "big") + b"x" * 298
    assert exif_orientation(tf.constant(jpeg[:2] + comment + jpeg[2:])) == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xe1\x00\x00Exif\x00\x00",
        b"\xff\xd8\xff\xfe\x00\x00" * 3,
        encoded("JPEG", exif=exif(6))[:40],
        encoded("JPEG"),
        encoded("JPEG", exif=exif(9)),
        encoded("PNG"),
    ],
)
def test_what_has_no_whole_exif_is_upright(data):
    assert exif_orientation(tf.constant(data)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_header_breaks_the_reader(seed):
    random = np.random.default_rng(seed)
    jpeg = bytearray(encoded("JPEG", exif=exif(6))[:120])
    for place in random.integers(2, 120, 6):
        jpeg[place] = random.integers(256)
    assert 1 <= exif_orientation(tf.constant(bytes(jpeg))) <= 8


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [("PNG", "RGB", 0), ("BMP", "RGB", 0), ("PNG", "RGBA", 0), ("JPEG", "RGB", 3)],
)
def test_colour_images_are_read(decode, kind, mode, tolerance):
    options = {"quality": 95} if kind == "JPEG" else {}
    pixels = decode(encoded(kind, mode=mode, **options)).numpy()
    assert np.abs(pixels.astype(int) - PIXELS).mean() <= tolerance


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("PNG", "P")]
)
def test_other_modes_are_read_as_rgb(decode, kind, mode):
    assert decode(encoded(kind, mode=mode)).shape == (30, 40, 3)


def test_sixteen_bits_become_eight(decode):
    deep = (PIXELS[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue())[..., 0], PIXELS[..., 0])


@pytest.mark.parametrize("data", [b"", b"no image", encoded("JPEG")[:200], encoded("PNG")[:90]])
def test_what_is_no_image_is_an_error(decode, data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(data)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (3000, 2), (20, 30), (256, 256), (300, 250)])
def test_every_size_becomes_the_square(shape, resize):
    pixels = tf.fill([*shape, 3], tf.constant(200, tf.uint8))
    fitted = fit_image(pixels, ImageSettings(image_size=96, shorter_side=128, resize=resize))
    assert fitted.shape == (96, 96, 3)
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_crop_takes_the_centre_after_resizing():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, 48:80] = 255
    fitted = fit_image(
        tf.constant(marked), ImageSettings(image_size=32, shorter_side=32, resize="crop")
    ).numpy()
    assert fitted[:, 9:23].min() > 250
    assert fitted[:, :6].max() < 5
    assert fitted[:, 26:].max() < 5


def test_squash_keeps_the_whole_image():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, :64] = 255
    fitted = fit_image(tf.constant(marked), ImageSettings(image_size=32, resize="squash")).numpy()
    assert fitted[:, :14].min() > 250
    assert fitted[:, 18:].max() < 5


def test_an_image_of_the_right_size_stays_as_it_is():
    fitted = fit_image(tf.constant(PIXELS[:30, :30]), ImageSettings(image_size=30, resize="squash"))
    np.testing.assert_array_equal(fitted, PIXELS[:30, :30])


def test_values_stay_within_those_of_pixels():
    noise = np.random.default_rng(0).choice([0, 255], [200, 300, 3]).astype(np.uint8)
    fitted = fit_image(tf.constant(noise), ImageSettings(image_size=64, shorter_side=400))
    assert float(tf.reduce_min(fitted)) >= 0.0
    assert float(tf.reduce_max(fitted)) <= 255.0


def test_the_vgg_case_equals_keras():
    """One path from file to network: 256, 224, bicubic, then BGR less the means."""
    photograph = np.asarray(Image.fromarray(PIXELS).resize((320, 240), Image.Resampling.BICUBIC))
    fitted = fit_image(decode_image(encoded("PNG", photograph)), ImageSettings())
    resized = tf.image.resize(photograph, [256, 341], method="bicubic", antialias=True)
    expected = np.clip(resized[16:240, 58:282], 0, 255)
    np.testing.assert_allclose(fitted, expected, atol=1e-3)
    np.testing.assert_allclose(
        Preprocessing("caffe")(fitted[tf.newaxis]),
        keras.applications.vgg16.preprocess_input(expected[np.newaxis].copy()),
        atol=1e-3,
    )


def test_a_file_that_can_t_be_read_is_named(tmp_path):
    assert read_image(b"bytes") == b"bytes"
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_image(str(path))
