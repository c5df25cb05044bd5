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


def as_stored(jpeg):
    return tf.io.decode_jpeg(jpeg, channels=3).numpy()


def segment(marker, content):
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def after_the_start(jpeg, *inserted):
    return b"".join([jpeg[:2], *inserted, jpeg[2:]])


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(decode, orientation, endian):
    jpeg = encoded("JPEG", exif=exif(orientation, endian))
    stored = Image.fromarray(as_stored(jpeg))
    stored.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode(jpeg), ImageOps.exif_transpose(stored))


@pytest.mark.parametrize(
    "inserted",
    [
        [segment(0xFE, b"x" * 298)],
        [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000)] * 3,
        [b"\xff\xff\xff"],  # fill bytes, which may come before any marker
    ],
    ids=["comment", "xmp", "fill"],
)
def test_exif_after_other_segments_is_found(inserted):
    jpeg = after_the_start(encoded("JPEG", exif=exif(6)), *inserted)
    assert Image.open(io.BytesIO(jpeg)).getexif()[0x0112] == 6
    assert exif_orientation(tf.constant(jpeg)) == 6


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("left", range(10, len(exif(6)), 7))
def test_exif_is_not_read_beyond_its_segment(decode, left, endian):
    """What follows would complete the directory that was cut off."""
    whole = exif(6, endian)
    entry = whole.index((0x0112).to_bytes(2, "little" if endian == "<" else "big"))
    cut, rest = segment(0xE1, whole[:left]), segment(0xFE, whole[left + 4 :])
    jpeg = after_the_start(encoded("JPEG"), cut, rest)
    stored = as_stored(jpeg)
    expected = stored if left <= entry + 8 else np.rot90(stored, -1)
    np.testing.assert_array_equal(decode(jpeg), expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xe1\x00\x00Exif\x00\x00",
        b"\xff\xd8\xff\xfe\x00\x00" * 3,
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 60_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 60_000,
        b"\xff\xd8" + b"\xff" * 240_000,
        encoded("JPEG", exif=exif(6).replace(b"II*", b"XX*")),
        encoded("JPEG", exif=exif(6).replace(b"II*", b"II+")),
        encoded("JPEG", exif=exif(6))[:40],
        encoded("JPEG"),
        encoded("JPEG", exif=exif(9)),
        b"\xff\xd8" + segment(0xDA, b"") + segment(0xE1, exif(6)),
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


def test_cmyk_has_the_right_colours(decode):
    jpeg = encoded("JPEG", mode="CMYK", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    assert np.abs(decode(jpeg).numpy().astype(int) - expected).mean() < 2


def test_the_first_frame_of_an_animation_is_read(decode):
    first, second = (Image.fromarray(image).quantize(16) for image in (PIXELS, 255 - PIXELS))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode(file.getvalue()), first.convert("RGB"))


def test_sixteen_bits_become_eight(decode):
    deep = (PIXELS[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue())[..., 0], PIXELS[..., 0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded("JPEG")[:200],
        encoded("JPEG")[:-20],
        encoded("PNG")[:90],
        encoded("BMP", mode="P"),  # TensorFlow would show the numbers of its colours
        encoded("TIFF"),
    ],
)
def test_what_is_no_image_is_an_error(decode, data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(data)


def test_pipeline_and_export_give_the_pixels_of_the_eager_function(tmp_path):
    jpeg = encoded("JPEG", exif=exif(6))
    settings = ImageSettings(image_size=24, shorter_side=28)

    def prepare(data):
        return fit_image(decode_image(data), settings)

    expected = prepare(tf.constant(jpeg)).numpy()
    (mapped,) = tf.data.Dataset.from_tensors(jpeg).map(prepare)
    np.testing.assert_array_equal(mapped, expected)
    module = tf.Module()
    module.prepare = tf.function(prepare, input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path)).prepare(jpeg), expected)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (3000, 2), (20, 30), (256, 256), (300, 250)])
def test_every_size_becomes_the_square(shape, resize):
    pixels = tf.fill([*shape, 3], tf.constant(200, tf.uint8))
    fitted = fit_image(pixels, ImageSettings(image_size=96, shorter_side=128, resize=resize))
    assert fitted.shape == (96, 96, 3)
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_the_longest_strip_is_not_enlarged_as_a_whole():
    """It would be 64 million pixels long."""
    strip = tf.fill([1, 500_000, 3], tf.constant(200, tf.uint8))
    fitted = fit_image(strip, ImageSettings(image_size=96, shorter_side=128))
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


@pytest.mark.parametrize("shape", [(61, 97), (97, 61), (24, 150), (13, 9)])
def test_resizing_is_pillow_s_bicubic(shape):
    # Grays without extremes: Pillow clips and rounds between its two passes.
    noise = np.random.default_rng(0).integers(64, 192, [*shape, 3], dtype=np.uint8)
    settings = ImageSettings(image_size=24, shorter_side=24, resize="squash")
    fitted = fit_image(tf.constant(noise), settings)
    expected = Image.fromarray(noise).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.abs(fitted - np.asarray(expected, np.float32)).max() < 1.5


def test_a_long_strip_gives_its_middle():
    """It is cut before it is resized: the crop must be that of the whole strip."""
    strip = np.tile(np.arange(400) // 2, [4, 1])[..., np.newaxis].repeat(3, axis=-1)
    fitted = fit_image(
        tf.constant(strip.astype(np.uint8)), ImageSettings(image_size=8, shorter_side=8)
    )
    resized = tf.image.resize(strip, [8, 800], method="bicubic", antialias=True)
    np.testing.assert_allclose(fitted, resized[:, 396:404], atol=1e-3)


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
    with pytest.raises(UserError, match="no file's name"):
        read_image("a\0.jpg")
