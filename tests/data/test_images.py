"""From the bytes of an image file to its pixels."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from image_files import PIXELS, changed, encoded, exif, one_colour_gif, one_colour_png, png_chunk
from PIL import Image, ImageOps

from sat_tf.config import ImageConfig
from sat_tf.data.images import MOST_PIXELS, decode_image, read_image, resize_and_crop
from sat_tf.errors import UserError


@pytest.fixture(scope="module")
def decode():
    """In a graph, as in the pipeline and in an export."""
    return tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])


def as_stored(jpeg):
    return tf.io.decode_jpeg(jpeg, channels=3).numpy()


def animation(kind, *images):
    first, *others = (Image.fromarray(image).quantize(16) for image in images)
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(decode, orientation, endian):
    jpeg = encoded("JPEG", exif=exif(orientation, endian))
    stored = Image.fromarray(as_stored(jpeg))
    stored.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode(jpeg), ImageOps.exif_transpose(stored))


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("BMP", "RGB", 0),
        ("PNG", "RGBA", 0),
        ("JPEG", "RGB", 3),
        ("WEBP", "RGB", 0),
        ("WEBP", "RGBA", 0),
    ],
)
def test_colour_images_are_read(decode, kind, mode, tolerance):
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
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


def test_alpha_is_dropped(decode):
    """Where it hides all, there are still colours."""
    hidden = np.dstack([PIXELS, np.zeros_like(PIXELS[..., 0])])
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        np.testing.assert_array_equal(decode(encoded(kind, hidden, "RGBA", **options)), PIXELS)


def test_the_first_frame_of_an_animation_is_read(decode):
    first = Image.fromarray(PIXELS).quantize(16).convert("RGB")
    np.testing.assert_array_equal(decode(animation("GIF", PIXELS, 255 - PIXELS)), first)


def test_a_frame_beside_the_origin_is_read_whole(decode):
    gif = encoded("GIF", mode="P")
    place = gif.index(b",\0\0\0\0", 13) + 1
    moved = changed(gif, place, struct.pack("<HH", 7, 5))
    np.testing.assert_array_equal(decode(moved), decode(gif))


def test_an_animated_webp_image_is_refused(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode(animation("WEBP", PIXELS, 255 - PIXELS))


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
        encoded("BMP", mode="P"),  # TensorFlow would show the numbers of its colours
        encoded("TIFF"),
        changed(encoded("WEBP", exif=exif(6)), 24, b"\x09\0\0\x09\0\0"),  # 10 x 10, says VP8X
    ],
)
def test_what_is_no_image_is_an_error(decode, data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(data)


@pytest.mark.parametrize("shape", [(30, 40), (1, 1)])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("GIF", "P", {"interlace": False}),
        ("GIF", "P", {"interlace": True, "transparency": 3}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exif": exif(6)}),
    ],
)
def test_whole_files_are_read_and_cut_ones_refused(decode, kind, mode, options, shape):
    noise = np.random.default_rng(0).integers(0, 256, [*shape, 4], dtype=np.uint8)
    deep = mode == "I;16"
    whole = encoded(kind, noise[..., 0].astype(np.uint16) if deep else noise, mode, **options)
    assert decode(whole).shape == (*shape, 3)
    # A GIF's and a JPEG's end marker, of one byte and two, tell nothing of the image.
    most = len(whole) - {"GIF": 1, "JPEG": 2}.get(kind, 0)
    for length in {*range(0, most, 1 + most // 40), *range(max(most - 20, 0), most)}:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(whole[:length])


def with_sides(kind, width, height):
    """A small image whose header tells of a great one."""
    if kind == "PNG":
        png = encoded(kind)
        header = struct.pack(">II", width, height) + png[24:29]
        return changed(png, 8, png_chunk(b"IHDR", header))
    if kind == "JPEG":
        jpeg = encoded(kind)
        return changed(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))
    if kind == "GIF":
        gif = encoded(kind, mode="P")
        return changed(gif, gif.index(b",\0\0\0\0", 13) + 5, struct.pack("<HH", width, height))
    if kind == "BMP":
        return changed(encoded(kind), 18, struct.pack("<ii", width, -height))
    return changed(encoded(kind), 26, struct.pack("<HH", width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_header_of_a_great_image_is_enough_to_refuse_it(decode, kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
        decode(with_sides(kind, 16_000, MOST_PIXELS // 16_000 + 1))
    assert decode(with_sides(kind, 40, 30)).shape == (30, 40, 3)


def test_sides_whose_product_is_beyond_64_bits_are_refused(decode):
    for sides in ((2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (2**31, 2**31)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
            decode(with_sides("PNG", *sides))


def test_the_most_pixels_may_be_set():
    assert decode_image(encoded("PNG"), max_pixels=30 * 40).shape == (30, 40, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
        decode_image(encoded("PNG"), max_pixels=30 * 40 - 1)


# Prints, for each file: whether it was read, and by how many MB that raised the greatest memory.
MEASURE = """
import json, pathlib, resource, sys
import tensorflow as tf
from sat_tf.data.images import decode_image

def measure(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        was_read = decode_image(tf.io.read_file(path)).shape.rank == 3
    except tf.errors.InvalidArgumentError:
        was_read = False
    return was_read, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

print(json.dumps([measure(path) for path in sys.argv[1:]]))
"""


@pytest.mark.slow
def test_bombs_take_no_memory(tmp_path):
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(7_900_000), 9))
    png = encoded("PNG")
    files = {
        "small.png": png,  # what comes first takes memory for itself
        "small.gif": encoded("GIF", mode="P"),
        "pixels.png": one_colour_png(20_000),  # would be 1.2 GB
        "pixels.gif": one_colour_gif(12_000),  # 0.6 GB
        "texts.png": png[:33] + 100 * text + png[33:],  # 0.8 GB
        "frames.gif": one_colour_gif(1000, frames=1000),  # 1 GB, but for 3 MB of the first frame
    }
    for name, data in files.items():
        assert len(data) < 2_000_000
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in files)]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert [was_read for was_read, _ in measured] == [True, True, False, False, False, True]
    assert max(grown for _, grown in measured[2:]) < 100


def test_pipeline_and_export_give_the_pixels_of_the_eager_function(tmp_path):
    jpeg = encoded("JPEG", exif=exif(6))
    config = ImageConfig(image_size=24, shorter_side=28)

    def prepare(data):
        return resize_and_crop(decode_image(data), config)

    expected = prepare(tf.constant(jpeg)).numpy()
    (mapped,) = tf.data.Dataset.from_tensors(jpeg).map(prepare)
    np.testing.assert_array_equal(mapped, expected)
    module = tf.Module()
    module.prepare = tf.function(prepare, input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path)).prepare
    np.testing.assert_array_equal(loaded(jpeg), expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
        loaded(with_sides("GIF", 16_000, 16_000))


def test_a_file_that_can_t_be_read_is_named(tmp_path):
    assert read_image(b"bytes") == b"bytes"
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_image(str(path))
    with pytest.raises(UserError, match="no file's name"):
        read_image("a\0.jpg")
